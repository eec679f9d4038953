"""Where the CPU time of a request goes: by system call and by function, for oneloop and beside it. Started by `profile`."""

import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import compare
import load
import servers
from check import entity_tag
from workloads import WORKLOADS, Workload, make_site

NAMES = ("304", "range", "100k", "close")
SAMPLES_PER_S = 4000
FUNCTIONS = 24
# Files that were changed a moment ago are not held in memory.
SETTLED_AFTER_S = 3.5
CALL = re.compile(r"(?:_+(?:x64_|arm64_|se_|do_)?sys_|do_(?=writev))(?:new)?(\w+)")
USER, INTERRUPTS = "(user mode)", "(interrupts)"
# The same call by the name of its newer form.
ALIASES = {"sendfile64": "sendfile", "epoll_pwait": "epoll_wait"}


def sample(server: servers.Server, workload: Workload, headers: tuple[str, ...], seconds: int,
           cores: list[int]) -> tuple[float, list[tuple[str, str]]]:
    """µs of CPU a request, and where it was spent meanwhile."""
    with tempfile.NamedTemporaryFile() as data:
        processes = ",".join(map(str, server.processes()))
        perf = subprocess.Popen(["perf", "record", "--quiet", "--event=cpu-clock", f"--freq={SAMPLES_PER_S}", "-g",
                                 f"--pid={processes}", f"--output={data.name}"], stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            figure = load.measure_cpu(server, workload, headers, seconds, cores)["figure"]
        finally:
            perf.terminate()
            perf.wait()
        script = subprocess.run(["perf", "script", "--fields=ip,sym", f"--input={data.name}"], capture_output=True,
                                text=True, errors="replace", check=True)
    blocks = [block.split("\n") for block in script.stdout.strip("\n").split("\n\n")]
    frames = [[tuple((line.split(maxsplit=1) + ["?"])[:2]) for line in block if line.strip()] for block in blocks]
    return figure, [place(stack) for stack in frames if stack]


def place(stack: list[tuple[str, str]]) -> tuple[str, str]:
    """Which call a stack of addresses and functions belongs to, and the innermost function with whose it is."""
    address, function = stack[0]
    # The kernel has the upper half of all addresses.
    is_kernel = int(address, 16) >= 1 << 63
    found = next((match.group(1) for _, name in stack if (match := CALL.match(name))), None)
    call = ALIASES.get(found, found) or (INTERRUPTS if is_kernel else USER)
    return call, f"{function} [{'kernel' if is_kernel else 'user'}]"


def print_profile(workload: Workload, profiles: dict[str, tuple[float, list[tuple[str, str]]]]) -> None:
    print(f"\n{workload.title}: µs of server CPU a request\n")
    calls = {name: shares(figure, [stack[0] for stack in stacks]) for name, (figure, stacks) in profiles.items()}
    everywhere = collections.Counter()
    for counts in calls.values():
        everywhere.update(counts)
    print_rows(["spent in", *profiles], [
        [call, *(f"{counts[call]:.2f}" for counts in calls.values())] for call, total in everywhere.most_common()
        if total >= 0.02] + [["all", *(f"{figure:.2f}" for figure, _ in profiles.values())]])
    functions = {name: shares(figure, [stack[1] for stack in stacks]) for name, (figure, stacks) in profiles.items()}
    if "oneloop" not in functions:
        return
    everywhere = functions["oneloop"]
    for side in ("[kernel]", "[user]"):
        most = [name for name, _ in everywhere.most_common() if name.endswith(side)][:FUNCTIONS]
        print()
        print_rows([f"functions {side}, by what they take of oneloop", *profiles], [
            [name.removesuffix(f" {side}"), *(f"{counts[name]:.3f}" for counts in functions.values())] for name in most])


def shares(figure: float, names: list[str]) -> collections.Counter:
    return collections.Counter({name: figure * count / len(names)
                                for name, count in collections.Counter(names).items()})


def print_rows(head: list[str], rows: list[list[str]]) -> None:
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(row) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(prog="benches/wrk/profile", description=__doc__)
    parser.add_argument("--only", type=lambda text: text.split(","), default=NAMES, help=f"workloads ({','.join(NAMES)})")
    parser.add_argument("--servers", type=lambda text: text.split(","), default=["limit", "oneloop"],
                        help="limit,oneloop; nginx too")
    parser.add_argument("--seconds", type=int, default=5, help="of each profile (5)")
    options = parser.parse_args()
    compare.isolate()
    cores = sorted(os.sched_getaffinity(0))
    cores = [cores[0], cores[min(1, len(cores) - 1)]]
    build = Path(os.environ["CARGO_TARGET_DIR"]) / "release"
    with tempfile.TemporaryDirectory(prefix="oneloop-profile-") as directory:
        site = Path(directory) / "site"
        Path(directory).chmod(0o755)
        site.mkdir()
        make_site(site)
        time.sleep(SETTLED_AFTER_S)
        known = [servers.Server(name, servers.find_program(name, build, None), Path(directory), 18080 + number, cores)
                 for number, name in enumerate(options.servers)]
        for workload in (workload for workload in WORKLOADS if workload.name in options.only):
            profiles = {}
            for server in known:
                server.start(workload, site)
                try:
                    tag = entity_tag(server, workload.path) if workload.status == 304 else None
                    headers = (*workload.headers, *([f"If-None-Match: {tag}"] if tag else []))
                    load.wrk(server.port, workload, headers, 1, cores[1:])
                    profiles[server.name] = sample(server, workload, headers, options.seconds, cores[1:])
                finally:
                    server.stop()
            print_profile(workload, profiles)
    return 0


if __name__ == "__main__":
    sys.exit(main())
