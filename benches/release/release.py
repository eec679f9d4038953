"""Whether releases are switched without anybody noticing. Started by `run`, which builds and isolates."""

import argparse
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import load
from compare import REPOSITORY, isolate, note
from servers import descriptors_max, listens
from verify import Descriptors

PORT = 18091
WORKERS = 2
SWITCHES_A_MINUTE = 1000
# As many as the server keeps, and the one that it serves: what a page of any of them names is always there.
RELEASES = 4
KEEP_S = 3
FILES = 100
MODIFIED_S = 1_700_000_000
# What the checking client asks for: names, and bytes; each release has a few more than the one before.
CHECKED = {"index.html": 2_000, "held.css": 100_000, "large.bin": 2_000_000}
CLIENTS = 4
SEEN_WITHIN_S = 1.5
PATIENCE_S = 30
SETTLE_S = 10


class Wrong(Exception):
    """An answer that should not have come."""


def content(release: int, name: str, length: int) -> bytes:
    line = f"release {release} of {name}\n".encode()
    return (line * (length // len(line) + 1))[:length]


class Releases:
    """The directories, and the link to one of them."""

    def __init__(self, directory: Path):
        self._directory = directory
        self.current = directory / "current"
        # By the tag that oneloop makes of the time and the length: whose it is, and what it has to be.
        self.by_tag: dict[str, tuple[int, str, bytes]] = {}
        for release in range(RELEASES):
            files = {name: content(release, name, length + release) for name, length in CHECKED.items()}
            files[self.asset(release)] = content(release, "asset", 20_000)
            for name, body in files.items():
                tag = f'"{(MODIFIED_S + release) * 10**9:x}-{len(body):x}"'
                self._write(release, name, body)
                self.by_tag[name + tag] = (release, name, body)
            for number in range(FILES):
                self._write(release, f"files/{number}", content(release, str(number), 100 * number))
        self.current.symlink_to("0")

    @staticmethod
    def asset(release: int) -> str:
        return f"app.{release}a1b2c3d{release}.js"

    def _write(self, release: int, name: str, body: bytes) -> None:
        path = self._directory / str(release) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        os.utime(path, (MODIFIED_S + release,) * 2)

    def switch(self, release: int) -> None:
        following = self._directory / "next"
        following.symlink_to(str(release))
        following.rename(self.current)


class Client:
    """A connection that looks at every byte."""

    def __init__(self, releases: Releases):
        self._releases = releases
        self._socket = socket.create_connection(("127.0.0.1", PORT), timeout=PATIENCE_S)
        self._input = self._socket.makefile("rb")

    def get(self, name: str, part: tuple[int, int] | None = None) -> int:
        """The release that an answer is of, all of it."""
        field = f"Range: bytes={part[0]}-{part[1]}\r\n" if part else ""
        self._socket.sendall(f"GET /{name} HTTP/1.1\r\nHost: a\r\n{field}\r\n".encode())
        status = self._input.readline().decode().split(" ")[1:2]
        fields = {}
        while line := self._input.readline().strip().decode():
            key, _, value = line.partition(": ")
            fields[key.lower()] = value
        body = self._input.read(int(fields.get("content-length", 0)))
        if status != ["206" if part else "200"]:
            raise Wrong(f"{name}: status {status}")
        release, _, expected = self._releases.by_tag.get(name + fields["etag"], (None, None, None))
        if release is None:
            raise Wrong(f"{name}: the tag {fields['etag']} of no release")
        if part:
            if fields["content-range"] != f"bytes {part[0]}-{part[1]}/{len(expected)}":
                raise Wrong(f"{name}: {fields['content-range']} of release {release}")
            expected = expected[part[0]:part[1] + 1]
        if body != expected:
            raise Wrong(f"{name}: a tag of release {release}, and other bytes")
        return release

    def close(self) -> None:
        self._input.close()
        self._socket.close()


class Checker(threading.Thread):
    """Asks as a browser does: a page, and then what the page names."""

    def __init__(self, releases: Releases, until: float):
        super().__init__()
        self._releases, self._until = releases, until
        self.answers, self.former, self.seen, self.failures = 0, 0, set(), []

    def run(self) -> None:
        while time.monotonic() < self._until and len(self.failures) < 10:
            try:
                client = Client(self._releases)
                for _ in range(50):
                    self._visit(client)
                    if time.monotonic() >= self._until:
                        break
                client.close()
            except (OSError, ValueError, KeyError, Wrong) as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    def _visit(self, client: Client) -> None:
        page = client.get("index.html")
        self.seen.add(page)
        client.get(Releases.asset(page))
        self.former += client.get("held.css") != page
        client.get("held.css", (1_000, 1_999))
        client.get("large.bin")
        client.get("large.bin", (1_500_000, 1_900_000))
        self.answers += 6


class Proof:
    """One run."""

    def __init__(self, oneloop: str, directory: Path, seconds: int):
        self.failures: list[str] = []
        self.rows: list[tuple[str, str]] = []
        self._seconds = seconds
        self._releases = Releases(directory)
        self._output = directory / "output"
        command = [oneloop, str(self._releases.current), f"--listen=127.0.0.1:{PORT}", f"--workers={WORKERS}",
                   f"--keep-release={KEEP_S}s", "--cache-check=1h", "--access-log=off"]
        with open(self._output, "wb") as output:
            self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def run(self) -> None:
        try:
            if not listens(PORT, self._server):
                raise load.LoadError("the server does not start")
            time.sleep(1)
            before = Descriptors(self._server.pid)
            self._switch_under_load()
            self._check_descriptors(before)
        except (OSError, load.LoadError, Wrong, subprocess.TimeoutExpired) as error:
            self.failures.append(str(error))
        finally:
            self._server.terminate()
            if self._server.wait(PATIENCE_S) != 0:
                self.failures.append(f"the server ended with {self._server.returncode}")

    def _switch_under_load(self) -> None:
        checkers = [Checker(self._releases, time.monotonic() + self._seconds) for _ in range(CLIENTS)]
        command = load.wrk_command(PORT, "/files/0", 32, (), self._seconds, ("files", str(FILES)))
        wrk = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for checker in checkers:
            checker.start()
        resident = []
        try:
            took = self._switch(resident)
        finally:
            for checker in checkers:
                checker.join()
            output = wrk.communicate(timeout=self._seconds + PATIENCE_S)[0]
        said = self._output.read_text().count("another release is served")
        took_ms = sorted(1000 * seconds for seconds in took)
        self._row("switches", f"{len(took):,}, of which the server says {said:,}; seen after "
                              f"{statistics.median(took_ms):.1f} ms in the median, {took_ms[-1]:.1f} ms at most")
        if said != len(took):
            self.failures.append(f"{len(took)} switches, and {said} that the server says")
        answers, former = sum(checker.answers for checker in checkers), sum(checker.former for checker in checkers)
        self._row("answers checked", f"{answers:,} to the byte, from {RELEASES} releases, "
                                     f"{former:,} times a switch between a page and its style")
        wrong = [failure for checker in checkers for failure in checker.failures]
        self.failures.extend(wrong)
        if not answers or any(len(checker.seen) < RELEASES for checker in checkers):
            self.failures.append("not all releases were seen")
        self._row("failed or mixed", len(wrong))
        report = load.wrk_report(output)
        errors = sum(report[kind] for kind in ("status_errors", "connection_errors", "timeouts"))
        self._row("wrk", f"{report['requests']:,} requests, {errors} errors")
        if errors or not report["requests"]:
            self.failures.append(f"wrk: {report}")
        self._row("resident memory", f"{resident[len(resident) // 10]:,} KiB after a tenth, {resident[-1]:,} KiB at the end")

    def _switch(self, resident: list[int]) -> list[float]:
        """How long each switch took to be seen."""
        probe = Client(self._releases)
        took = []
        count = self._seconds * SWITCHES_A_MINUTE // 60
        due = time.monotonic()
        for number in range(1, count + 1):
            release = number % RELEASES
            self._releases.switch(release)
            start = time.monotonic()
            self._server.send_signal(signal.SIGHUP)
            while probe.get("index.html") != release:
                if time.monotonic() > start + SEEN_WITHIN_S:
                    raise Wrong(f"switch {number} is not seen")
                time.sleep(0.001)
            took.append(time.monotonic() - start)
            resident.append(self._resident_kib())
            due += 60 / SWITCHES_A_MINUTE
            time.sleep(max(0, due - time.monotonic()))
        probe.close()
        return took

    def _resident_kib(self) -> int:
        status = Path(f"/proc/{self._server.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))

    def _check_descriptors(self, before: Descriptors) -> None:
        """The former releases are given back after their time, and what is cached with a HUP."""
        self._row("descriptors before", before)
        time.sleep(KEEP_S + 1.5)
        self._server.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + SETTLE_S
        while (after := Descriptors(self._server.pid)) != before and time.monotonic() < deadline:
            time.sleep(0.05)
        self._row("descriptors after", after)
        if after != before:
            self.failures.append("descriptors are left open")

    def _row(self, name: str, value: object) -> None:
        self.rows.append((name, str(value)))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="benches/release/run",
        description=f"Whether {SWITCHES_A_MINUTE} switches of release a minute fail nobody, mix nothing and leak nothing.")
    parser.add_argument("seconds", type=int, nargs="?", default=60, help="how long (60)")
    parser.add_argument("--oneloop", metavar="PATH", help="examine this program instead of target/release/oneloop")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        note("wrk is not installed (try benches/wrk/run --install)")
        return 2
    build = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors_max(),) * 2)
    isolate()
    with tempfile.TemporaryDirectory(prefix="oneloop-release-") as directory:
        proof = Proof(options.oneloop or str(build / "oneloop"), Path(directory), max(options.seconds, 1))
        proof.run()
    width = max((len(name) for name, _ in proof.rows), default=0)
    print("\n".join(f"{name.ljust(width)}  {value}" for name, value in proof.rows))
    for failure in proof.failures:
        note(f"FAILED: {failure}")
    return 1 if proof.failures else 0


if __name__ == "__main__":
    sys.exit(main())
