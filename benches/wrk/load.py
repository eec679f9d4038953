"""The ways to load a server, and what is measured meanwhile. Each gives the figure of one round and what explains it."""

import json
import math
import os
import re
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

from check import Client
from servers import Server, descriptors_max, pinned
from workloads import SIZES, Workload

HERE = Path(__file__).parent
HELD_CONNECTIONS = 10_000
DESCRIPTORS_TO_SPARE = 500
PACE_CONNECTIONS = 64


class LoadError(Exception):
    """Requests that were not answered as they have to be."""


def wrk(port: int, workload: Workload, headers: tuple[str, ...], seconds: float,
        cores: list[int]) -> dict:
    """Runs wrk and gives what load.lua reports. Any error of wrk is one of the run."""
    command = wrk_command(port, workload.path, workload.connections, headers, seconds, workload.script,
                          workload.workers)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          preexec_fn=pinned(cores))
    report = wrk_report(done.stdout)
    expected_status_errors = report["requests"] if workload.status >= 400 else 0
    if report["requests"] == 0:
        raise LoadError("no answers at all")
    if report["connection_errors"] or report["timeouts"] or report["status_errors"] != expected_status_errors:
        raise LoadError(f"{report['connection_errors']} errors of connections, {report['timeouts']} timeouts, "
                        f"{report['status_errors']} answers from 400 on in {report['requests']}")
    return report


def wrk_command(port: int, path: str, connections: int, headers: tuple[str, ...], seconds: float,
                script: tuple[str, ...], threads: int = 1) -> list[str]:
    return ["wrk", f"--threads={threads}", f"--connections={connections}", f"--duration={math.ceil(seconds)}s",
            "--timeout=10s", "--latency", f"--script={HERE / 'load.lua'}",
            *(f"--header={header}" for header in headers), f"http://127.0.0.1:{port}{path}", "--", *script]


def wrk_report(output: str) -> dict:
    """What load.lua wrote at the end of all that wrk wrote."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise LoadError(f"wrk fails: {output.strip()}")
    return json.loads(lines[-1])


def measure_cpu(server: Server, workload: Workload, headers: tuple[str, ...], seconds: float,
                cores: list[int]) -> dict:
    before_ns = server.cpu_ns()
    report = wrk(server.port, workload, headers, seconds, cores)
    cpu_ns = server.cpu_ns() - before_ns
    requests = report["bytes"] / SIZES[workload.path[1:]] if workload.large else report["requests"]
    duration_s = report["duration_us"] / 1e6
    return {"figure": cpu_ns / 1e3 / requests, "requests_per_s": requests / duration_s,
            "p50_us": report["p50_us"], "p99_us": report["p99_us"], "server_busy": cpu_ns / 1e9 / duration_s}


def measure_rate(server: Server, workload: Workload, requests_per_s: int, seconds: float,
                 cores: list[int], pace: Path) -> dict:
    command = [str(pace), str(server.port), workload.path, str(PACE_CONNECTIONS), str(requests_per_s), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=pinned(cores))
    if done.returncode != 0:
        raise LoadError(f"pace fails: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    return {"figure": report["p99_us"] / 1e3, "requests_per_s": report["answered"] / seconds,
            "p50_us": report["p50_us"], "p99_us": report["p99_us"]}


def measure_idle(server: Server, workload: Workload) -> dict:
    """Resident memory that the server grows by for each connection that it keeps after one answer."""
    for _ in range(100):
        with Client(server.port) as client:
            client.send(workload.path)
            client.receive()
    before_bytes = server.resident_bytes()
    with held_connections(server, workload) as held:
        time.sleep(0.5)
        bytes_each = (server.resident_bytes() - before_bytes) / held
    return {"figure": bytes_each, "connections": held}


@contextmanager
def held_connections(server: Server, workload: Workload):
    """As many connections as can be, after one answer each; gives their number. In the end some must answer still."""
    held = min(HELD_CONNECTIONS, descriptors_max() - DESCRIPTORS_TO_SPARE)
    clients = []
    try:
        for _ in range(held):
            clients.append(Client(server.port))
            clients[-1].send(workload.path)
            clients[-1].receive()
        yield held
        for client in clients[:: held // 100]:
            client.send(workload.path)
            client.receive()
    finally:
        for client in clients:
            client.__exit__()


def measure_idle_load(server: Server, workload: Workload, seconds: float, cores: list[int],
                      held_first: bool) -> dict:
    """What a request costs, and how many there are, with idle connections held over the same without them."""
    def measure(held: bool) -> dict:
        with held_connections(server, workload) if held else nullcontext():
            return measure_cpu(server, workload, workload.headers, seconds, cores)
    # By turns which comes first, lest one of them always meet what the other left.
    measured = {held: measure(held) for held in (held_first, not held_first)}
    held, calm = measured[True], measured[False]
    return {**held, "figure": held["figure"] / calm["figure"], "held_us": held["figure"], "calm_us": calm["figure"],
            "slowdown": calm["requests_per_s"] / held["requests_per_s"], "calm_requests_per_s": calm["requests_per_s"]}


def measure_calls(server: Server, workload: Workload, seconds: float, cores: list[int]) -> dict:
    """All system calls of the server under strace while wrk runs, accepting and closing included."""
    with tempfile.NamedTemporaryFile(mode="r") as counts:
        command = ["strace", "-c", "-f", "-o", counts.name]
        command += [f"--attach={process}" for process in server.processes()]
        strace = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_until_traced(server)
            report = wrk(server.port, workload, workload.headers, seconds, cores)
        finally:
            strace.send_signal(signal.SIGINT)
            strace.wait(10)
        calls = [(int(calls), name) for calls, name in
                 re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) (?: *\d+)? +(\w+)$", counts.read(), re.MULTILINE)
                 if name != "total"]
    each = {name: round(count / report["requests"], 3) for count, name in sorted(calls, reverse=True)[:6]}
    return {"figure": sum(count for count, _ in calls) / report["requests"], "calls": each}


def wait_until_traced(server: Server) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        statuses = [path.read_text() for process in server.processes()
                    for path in Path(f"/proc/{process}/task").glob("*/status")]
        if all(re.search(r"^TracerPid:\t[1-9]", status, re.MULTILINE) for status in statuses):
            return
        time.sleep(0.02)
    raise LoadError(f"strace cannot attach to {server.name}")
