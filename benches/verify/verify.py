"""Whether oneloop answers rightly under load. Started by `run`, which builds and isolates."""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import load
from compare import REPOSITORY, isolate, note
from servers import descriptors_max, listens

PORT = 18090
WORKERS = 2
FILES = 1000
# What beats on the server while it is watched: connections, fields and the words for load.lua.
LOADS = {
    "keep-alive": (64, (), ("files", str(FILES))),
    "close": (32, ("Connection: close",), ("files", str(FILES))),
    "pipelined": (16, (), ("files", str(FILES), "16")),
}
# Beyond the time of the run: for a client that waits in vain, and for descriptors to be closed.
PATIENCE_S = 30
SETTLE_S = 5


class Descriptors:
    """What a process has open, by kind."""

    def __init__(self, process: int):
        self.sockets = self.files = self.others = 0
        for entry in Path(f"/proc/{process}/fd").iterdir():
            try:
                target = os.readlink(entry)
            except FileNotFoundError:
                continue
            if target.startswith("socket:"):
                self.sockets += 1
            elif target.startswith("/"):
                self.files += 1
            else:
                self.others += 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descriptors) and vars(self) == vars(other)

    def __str__(self) -> str:
        return f"{self.sockets} sockets, {self.files} files, {self.others} others"


class Proof:
    """One run: the server, those who load it, the client that looks, and what was found."""

    def __init__(self, oneloop: str, build: Path, directory: Path, seconds: int):
        self.failures: list[str] = []
        self.rows: list[tuple[str, str]] = []
        self._build = build
        self._directory = directory
        self._seconds = seconds
        self._output = directory / "output"
        (directory / "site").mkdir()
        command = [oneloop, str(directory / "site"), f"--listen=127.0.0.1:{PORT}", f"--workers={WORKERS}",
                   "--access-log=off", "--quiet"]
        with open(self._output, "wb") as output:
            self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def run(self) -> None:
        try:
            if not listens(PORT, self._server):
                raise load.LoadError("the server does not start")
            # By then the server has noticed that nobody asks anything of it on the connection that found it.
            time.sleep(SETTLE_S / 2)
            before = Descriptors(self._server.pid)
            self._beat()
            self._row("descriptors before", before)
            self._check_descriptors(before)
        except (OSError, load.LoadError, subprocess.TimeoutExpired) as error:
            self.failures.append(str(error))
        finally:
            self._stop()

    def _beat(self) -> None:
        """Lets everybody ask at the same time, until all of them are done."""
        verify = subprocess.Popen([str(self._build / "verify"), str(self._directory), str(PORT), str(self._seconds)],
                                  stdout=subprocess.PIPE, text=True)
        running = {}
        try:
            if verify.stdout.readline() != "ready\n":
                raise load.LoadError("verify cannot make its files")
            for name, (connections, headers, words) in LOADS.items():
                command = load.wrk_command(PORT, "/files/0", connections, headers, self._seconds, words)
                running[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            time.sleep(self._seconds / 2)
            self._row("descriptors meanwhile", Descriptors(self._server.pid))
            self._judge_verify(verify, verify.communicate(timeout=self._seconds + PATIENCE_S)[0])
            for name, wrk in running.items():
                self._judge_wrk(name, wrk.communicate(timeout=PATIENCE_S)[0])
        finally:
            for process in (verify, *running.values()):
                process.kill()
                process.communicate()

    def _judge_verify(self, verify: subprocess.Popen, output: str) -> None:
        if verify.returncode != 0:
            self.failures.append("verify fails")
            return
        report = json.loads(output)
        by_status = ", ".join(f"{count:,} × {status}" for status, count in report["by_status"].items())
        self._row("responses verified",
                  f"{report['responses']:,} on {report['connections']:,} connections: {by_status}")
        self._row("bytes compared", f"{report['content_bytes']:,}")
        self._row("versions", f"{report['versions']:,} by rename; {report['replaced']:,} answers from one that was "
                              f"replaced, {report['oldest_ms']:,} ms before at most")
        self._row("wrong", str(report["wrong"]))
        if report["wrong"]:
            self.failures.append(f"{report['wrong']} wrong answers")
        if not report["responses"] or not report["versions"]:
            self.failures.append("nothing was verified")

    def _judge_wrk(self, name: str, output: str) -> None:
        report = load.wrk_report(output)
        errors = {kind: report[kind] for kind in ("status_errors", "connection_errors", "timeouts") if report[kind]}
        requests_per_s = report["requests"] / report["duration_us"] * 1e6
        self._row(f"wrk {name}", f"{report['requests']:,} requests, {requests_per_s:,.0f} a second, "
                                 f"{report['bytes'] / 1e6:,.0f} MB, {sum(errors.values())} errors")
        if errors or not report["requests"]:
            self.failures.append(f"wrk {name}: {report['requests']} requests, {errors}")

    def _check_descriptors(self, before: Descriptors) -> None:
        """Connections are closed when their clients are gone, and files when the server opens everything anew."""
        after = self._settled(lambda now: now.sockets == before.sockets)
        self._row("descriptors after", f"{after}")
        self._server.send_signal(signal.SIGHUP)
        anew = self._settled(lambda now: now == before)
        self._row("descriptors after HUP", anew)
        if after.sockets != before.sockets or after.files > before.files + WORKERS * FILES or anew != before:
            self.failures.append("descriptors are left open")

    def _settled(self, is_settled) -> Descriptors:
        deadline = time.monotonic() + SETTLE_S
        while True:
            now = Descriptors(self._server.pid)
            if is_settled(now) or time.monotonic() > deadline:
                return now
            time.sleep(0.05)

    def _stop(self) -> None:
        early = self._server.poll() is not None
        self._server.terminate()
        try:
            status = self._server.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            status = self._server.wait()
        said = self._output.read_text(errors="replace").strip()
        self._row("server", f"exit code {status}, " + (f"said: {said}" if said else "no complaints"))
        if early or status != 0 or said:
            self.failures.append("the server did not end well" if not said else f"the server said: {said}")

    def _row(self, name: str, value: object) -> None:
        self.rows.append((name, str(value)))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="benches/verify/run", description="Whether oneloop answers rightly while it is loaded and files change.")
    parser.add_argument("seconds", type=int, nargs="?", default=60, help="how long (60)")
    parser.add_argument("--oneloop", metavar="PATH", help="examine this program instead of target/release/oneloop")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        note("wrk is not installed (try benches/wrk/run --install)")
        return 2
    build = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors_max(),) * 2)
    isolate()
    with tempfile.TemporaryDirectory(prefix="oneloop-verify-") as directory:
        proof = Proof(options.oneloop or str(build / "oneloop"), build, Path(directory), max(options.seconds, 1))
        proof.run()
    width = max(len(name) for name, _ in proof.rows)
    print("\n".join(f"{name.ljust(width)}  {value}" for name, value in proof.rows))
    for failure in proof.failures:
        note(f"FAILED: {failure}")
    return 1 if proof.failures else 0


if __name__ == "__main__":
    sys.exit(main())
