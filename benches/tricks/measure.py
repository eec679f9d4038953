"""Measures oneloop beside itself with one trick less, under connections that carry one request. Started by `run`."""

import argparse
import os
import resource
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "wrk"))

import compare  # noqa: E402
import load  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402
from check import check  # noqa: E402
from workloads import WORKLOADS, make_site  # noqa: E402

# A header timeout below five seconds: the kernel does not hold connections back until a request is there.
NO_DEFER = "--header-timeout=4s"
# By name: the binary, its flags, the variant that it is compared with, and what is left out.
VARIANTS = {
    "robin": ("base", ("--accept=robin",), None, "nothing"),
    "wake-each": ("wake-each", ("--accept=robin",), "robin", "batches: each connection is announced by itself"),
    "always-wake": ("always-wake", ("--accept=robin",), "robin", "the asleep flag: every wake is a system call"),
    "poll-between": ("poll-between", ("--accept=robin",), "robin", "accepting on: a poll before each accept"),
    "register-first": ("register-first", ("--accept=robin",), "robin", "the first recv before the registration"),
    "no-defer": ("base", ("--accept=robin", NO_DEFER), "robin", "TCP_DEFER_ACCEPT"),
    "sharded": ("base", ("--accept=sharded",), "robin", "the hand-off: each worker accepts for itself"),
    "sharded-register-first": ("register-first", ("--accept=sharded",), "sharded",
                               "the first recv before the registration"),
    "sharded-no-defer": ("base", ("--accept=sharded", NO_DEFER), "sharded", "TCP_DEFER_ACCEPT"),
}
WORKLOAD_NAMES = ("close", "close-2")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/tricks/run", description=__doc__)
    parser.add_argument("--workload", choices=WORKLOAD_NAMES, default="close-2",
                        help="connections for one worker or for two, which share both cores with wrk (close-2)")
    parser.add_argument("--only", type=compare.words(list(VARIANTS)), default=list(VARIANTS), metavar="NAMES",
                        help=f"variants, separated by commas: {', '.join(VARIANTS)}")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (7)")
    parser.add_argument("--seconds", type=int, default=2, help="seconds of each round (2)")
    parser.add_argument("--reuse", action="store_true", help="measure what was built the last time")
    parser.add_argument("--binaries", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def start_all(options: argparse.Namespace, workload, site: Path, run: Path,
              started: dict[str, servers.Server]) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    for number, name in enumerate(options.only):
        binary, flags, *_ = VARIANTS[name]
        program, version, config, arguments = servers.PROGRAMS["oneloop"]
        servers.PROGRAMS[name] = (program, version, config, (*arguments, *flags))
        server = servers.Server(name, str(options.binaries / binary), run, compare.FIRST_PORT + number, cores)
        started[name] = server
        server.start(workload, site)
        check(server, workload, workload.headers, site)


def measure(options: argparse.Namespace, workload, started: dict[str, servers.Server]) -> tuple[dict, dict]:
    """The rounds of every variant, interleaved, and then the system calls of each."""
    cores = sorted(os.sched_getaffinity(0))[2 - workload.workers:2]
    rounds: dict[str, list[float]] = {name: [] for name in started}
    names = list(started)
    for name in names:
        load.wrk(started[name].port, workload, workload.headers, compare.WARM_UP_S, cores)
    for number in range(options.rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            measured = load.measure_cpu(started[name], workload, workload.headers, options.seconds, cores)
            rounds[name].append(measured["figure"])
            compare.note(f"{name:>22} {measured['figure']:8.3f} µs {measured['requests_per_s']:10,.0f} requests/s")
    traced = replace(workload, kind="calls")
    calls = {}
    if shutil.which("strace"):
        for name in names:
            calls[name] = load.measure_calls(started[name], traced, options.seconds, cores)
    return rounds, calls


def table(rounds: dict[str, list[float]], calls: dict[str, dict]) -> str:
    rows = [["left out", "variant", "beside", "CPU µs", "ratio", "spread", "calls", "ratio", "most of them"]]
    for name, figures in rounds.items():
        base, what = VARIANTS[name][2:]
        spread = (max(figures) - min(figures)) / median(figures)
        ratio = calls_ratio = None
        if base in rounds:
            ratio = median(own / other for own, other in zip(figures, rounds[base]))
            if calls:
                calls_ratio = calls[name]["figure"] / calls[base]["figure"]
        traced = calls.get(name, {})
        most = ", ".join(f"{call} {count:.2f}" for call, count in traced.get("calls", {}).items() if count >= 0.01)
        rows.append([what, name, base or "–", report.number(median(figures)), report.number(ratio),
                     report.share(spread), report.number(traced.get("figure")), report.number(calls_ratio), most])
    return report.aligned(rows)


def main() -> int:
    options = parse_options()
    resource.setrlimit(resource.RLIMIT_NOFILE, (servers.descriptors_max(),) * 2)
    network = compare.isolate()
    workload = next(workload for workload in WORKLOADS if workload.name == options.workload)
    started: dict[str, servers.Server] = {}
    with tempfile.TemporaryDirectory(prefix="oneloop-tricks-") as directory:
        site, run = Path(directory) / "site", Path(directory) / "run"
        Path(directory).chmod(0o755)
        site.mkdir()
        run.mkdir()
        make_site(site)
        try:
            start_all(options, workload, site, run, started)
            rounds, calls = measure(options, workload, started)
        finally:
            for server in started.values():
                server.stop()
    print(f"{workload.title}: medians of {options.rounds} × {options.seconds} s, {network['congestion_control']}; "
          "CPU and system calls of the server a request; ratios to the variant beside\n")
    print(table(rounds, calls))
    return 0


if __name__ == "__main__":
    sys.exit(main())
