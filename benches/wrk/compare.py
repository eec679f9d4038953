"""Measures what a request costs oneloop and its peers. Started by `run`, which builds and isolates."""

import argparse
import fcntl
import os
import platform
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import load
import report
import servers
from check import WrongAnswer, check, entity_tag
from servers import Server
from workloads import SMOKE, WORKLOADS, Workload, make_site

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
FIRST_PORT = 18080
WARM_UP_S = 1
CALLS_ROUNDS_MAX = 2
BUSY_SHARE_MAX = 0.05


class Comparison:
    """What a run measures, where, and what went wrong."""

    def __init__(self, options: argparse.Namespace, site: Path, run: Path):
        self.options = options
        self.failures: list[str] = []
        self.results: list[report.Result] = []
        self._site = site
        self._build = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"
        self.servers = self._find_servers(run)

    def _find_servers(self, run: Path) -> list[Server]:
        found = []
        for number, name in enumerate(self.options.servers):
            program = servers.find_program(name, self._build, self.options.oneloop)
            if program and os.access(program, os.X_OK):
                found.append(Server(name, program, run, FIRST_PORT + number, self.options.cores))
            else:
                flag = "--install-sws" if name == "sws" else "--install"
                note(f"SKIPPED: {name} is not installed (try {flag})")
        return found

    def measure(self, workload: Workload) -> None:
        if workload.kind == "calls" and not shutil.which("strace"):
            note(f"SKIPPED: {workload.name} needs strace (try --install)")
            return
        result = report.Result(workload)
        running = []
        try:
            for server in self.servers:
                if server.name in (workload.servers or servers.USUAL) and self._start(server, workload):
                    running.append(server)
            headers = {server: self._headers(server, workload) for server in running}
            running = [server for server in running if self._answers(server, workload, headers[server])]
            rounds = min(self.options.rounds, CALLS_ROUNDS_MAX) if workload.kind == "calls" else self.options.rounds
            if workload.kind == "idle":
                rounds = 1
            for number in range(rounds):
                # Each round begins with another server, lest one be always measured after the same neighbour.
                turn = number % max(len(running), 1)
                for server in running[turn:] + running[:turn]:
                    self._round(result, server, workload, headers[server])
        finally:
            for server in self.servers:
                server.stop()
        self.results.append(result)

    def _start(self, server: Server, workload: Workload) -> bool:
        try:
            server.start(workload, self._site)
            return True
        except RuntimeError as error:
            self._fail(str(error))
            return False

    def _headers(self, server: Server, workload: Workload) -> tuple[str, ...]:
        if workload.status != 304:
            return workload.headers
        # As browsers do: both the date, and the tag if the server gave one.
        tag = entity_tag(server, workload.path)
        return (*workload.headers, f"If-None-Match: {tag}") if tag else workload.headers

    def _answers(self, server: Server, workload: Workload, headers: tuple[str, ...]) -> bool:
        try:
            check(server, workload, headers, self._site)
            return True
        except WrongAnswer as error:
            self._fail(f"WRONG ANSWER: {error}")
            return False

    def _round(self, result: report.Result, server: Server, workload: Workload, headers: tuple[str, ...]) -> None:
        seconds, cores = self.options.seconds, self.options.cores[2 - workload.workers:]
        try:
            if workload.kind in ("cpu", "rate", "idle-load") and server.name not in result.rounds:
                load.wrk(server.port, workload, headers, WARM_UP_S, cores)
            if workload.kind == "cpu":
                measured = load.measure_cpu(server, workload, headers, seconds, cores)
            elif workload.kind == "rate":
                measured = load.measure_rate(server, workload, self.options.rate, seconds, cores, self._build / "pace")
            elif workload.kind == "idle":
                measured = load.measure_idle(server, workload)
            elif workload.kind == "idle-load":
                # Every other round the other way round.
                held_first = len(result.rounds.get(server.name, ())) % 2 == 1
                measured = load.measure_idle_load(server, workload, seconds, cores, held_first)
            else:
                measured = load.measure_calls(server, workload, seconds, cores)
        except (load.LoadError, WrongAnswer, OSError) as error:
            self._fail(f"ERRORS: {server.name}, {workload.name}: {error}")
            return
        result.rounds.setdefault(server.name, []).append(measured)
        note(f"{workload.name:>10} {server.name:<9} {measured['figure']:10.3f} {workload.unit:<5} "
             f"{measured.get('requests_per_s', 0):12,.0f} requests/s")

    def _fail(self, failure: str) -> None:
        self.failures.append(failure)
        note(failure)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/wrk/run", description="Compares oneloop with its peers under wrk.")
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--only", type=words(names), default=names, metavar="NAMES",
                        help=f"workloads, separated by commas: {', '.join(names)}")
    parser.add_argument("--servers", type=words(servers.NAMES), default=list(servers.NAMES), metavar="NAMES",
                        help=f"servers, separated by commas: {', '.join(servers.NAMES)}")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each workload (7)")
    parser.add_argument("--seconds", type=int, default=2, help="seconds of each round (2)")
    parser.add_argument("--rate", type=int, default=100_000, help="requests/s of the workload `rate` (100000)")
    parser.add_argument("--cores", type=lambda text: [int(core) for core in text.split(",")],
                        help="the core of the server and the core of wrk (the first two); two workers share both")
    parser.add_argument("--oneloop", metavar="PATH", help="measure this program instead of target/release/oneloop")
    parser.add_argument("--results", type=Path, metavar="DIRECTORY",
                        help="where latest.json and latest.svg go (benches/wrk/results, if everything was measured)")
    parser.add_argument("--smoke", action="store_true",
                        help=f"only oneloop, one round of {', '.join(SMOKE)}: does it serve without an error?")
    parser.add_argument("--list", action="store_true", help="list the workloads and their bars")
    parser.add_argument("--install", action="store_true", help="install wrk, nginx, lighttpd, h2o and strace by apt-get")
    parser.add_argument("--install-sws", action="store_true", help="build static-web-server; takes minutes")
    options = parser.parse_args()
    if options.smoke:
        options.only, options.servers, options.rounds = list(SMOKE), ["oneloop"], 1
    elif options.results is None and options.only == names and options.servers == list(servers.NAMES):
        options.results = HERE / "results"
    if options.cores is None:
        cores = sorted(os.sched_getaffinity(0))
        options.cores = [cores[0], cores[min(1, len(cores) - 1)]]
    return options


def words(known):
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for word in chosen:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
        return [word for word in known if word in chosen]
    return parse


def isolate() -> dict:
    """Prepares the network namespace that `run` has made, and says what the network is like."""
    congestion_control = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    if os.environ.get("ONELOOP_BENCH_NAMESPACE"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            get_flags, set_flags, up = 0x8913, 0x8914, 1
            request = fcntl.ioctl(any_socket, get_flags, struct.pack("16sH14x", b"lo", 0))
            flags = struct.unpack_from("16sH", request)[1]
            fcntl.ioctl(any_socket, set_flags, struct.pack("16sH14x", b"lo", flags | up))
        choose_congestion_control(congestion_control)
    else:
        note("NOTE: no network namespace can be made here: measuring in that of the machine, "
             f"with congestion control {congestion_control.read_text().strip()}")
    return {"namespace": bool(os.environ.get("ONELOOP_BENCH_NAMESPACE")),
            "congestion_control": congestion_control.read_text().strip()}


def choose_congestion_control(setting: Path) -> None:
    """Those that pace by estimated bandwidth, like BBR, distort what is measured over loopback."""
    for name in ("cubic", "reno"):
        try:
            setting.write_text(name)
            return
        except OSError:
            note(f"NOTE: {name} is not among net.ipv4.tcp_allowed_congestion_control, so no namespace may have it")


def warn_of_noise(cores: list[int]) -> None:
    if cores[0] == cores[1]:
        note("NOTE: there is one core only: the server and wrk share it")
    before = busy_jiffies(cores)
    time.sleep(1)
    share = (busy_jiffies(cores) - before) / os.sysconf("SC_CLK_TCK") / len(set(cores))
    if share > BUSY_SHARE_MAX:
        note(f"NOTE: others keep the cores busy, {min(share, 1):.0%} of the time: expect noise")


def busy_jiffies(cores: list[int]) -> int:
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    wanted = {f"cpu{core}" for core in cores}
    # All but idle and iowait.
    return sum(sum(map(int, line[1:4])) + sum(map(int, line[6:9])) for line in lines if line and line[0] in wanted)


def describe(options: argparse.Namespace, network: dict, compared: list[Server]) -> dict:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    commit = subprocess.run(["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"],
                            capture_output=True, text=True, check=False).stdout.strip()
    return {"date": time.strftime("%Y-%m-%d"), "kernel": platform.release(),
            "cpu": model.group(1) if model else platform.machine(), "cores": os.cpu_count(), "commit": commit,
            "rounds": options.rounds, "seconds": options.seconds, "rate_per_s": options.rate, "network": network,
            "servers": {server.name: server.version() for server in compared}}


def main() -> int:
    options = parse_options()
    if options.list:
        print(report.bars())
        return 0
    if not shutil.which("wrk"):
        note("wrk is not installed (try --install)")
        return 2
    # The servers inherit it: each of them may hold as many connections as the system allows.
    resource.setrlimit(resource.RLIMIT_NOFILE, (servers.descriptors_max(),) * 2)
    network = isolate()
    warn_of_noise(options.cores)
    with tempfile.TemporaryDirectory(prefix="oneloop-bench-") as directory:
        site, run = Path(directory) / "site", Path(directory) / "run"
        Path(directory).chmod(0o755)
        site.mkdir()
        run.mkdir()
        make_site(site)
        comparison = Comparison(options, site, run)
        for workload in WORKLOADS:
            if workload.name in options.only:
                comparison.measure(workload)
        machine = describe(options, network, comparison.servers)

    print(report.table(comparison.results, machine))
    if options.results:
        report.write(options.results, comparison.results, machine, comparison.failures)
    for failure in comparison.failures:
        note(failure)
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
