"""The servers: how each is configured, started, watched and stopped."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from workloads import Workload

CONNECTIONS_MAX = 16384
IDLE_S = 300

NGINX = """
daemon off;
worker_processes {workers};
worker_rlimit_nofile {descriptors};
error_log {run}/error.log crit;
pid {run}/nginx.pid;
events {{ worker_connections {connections}; }}
http {{
    default_type application/octet-stream;
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    open_file_cache max=4096 inactive=60s;
    open_file_cache_valid 1s;
    keepalive_timeout {idle_s}s;
    keepalive_requests 1000000000;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    server {{
        listen 127.0.0.1:{port} deferred reuseport backlog=4096;
        root {root};
        log_not_found off;
    }}
}}
"""

LIGHTTPD = """
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{run}/error.log"
server.pid-file = "{run}/lighttpd.pid"
server.event-handler = "linux-sysepoll"
server.network-backend = "sendfile"
server.listen-backlog = 4096
server.max-worker = 0
server.max-fds = {descriptors}
server.max-connections = {connections}
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = {idle_s}
mimetype.assign = ("" => "application/octet-stream")
"""

H2O = """
num-threads: {workers}
max-connections: {connections}
error-log: {run}/error.log
pid-file: {run}/h2o.pid
http1-request-timeout: {idle_s}
http1-upgrade-to-http2: OFF
file.send-compressed: OFF
listen:
  host: 127.0.0.1
  port: {port}
hosts:
  default:
    paths:
      /:
        file.dir: {root}
"""

# By name: the program, how it is asked for its version, its configuration, and its arguments.
PROGRAMS = {
    "limit": ("limit", (), None, ()),
    "oneloop": ("oneloop", ("--version",), None, (
        "{root}", "--listen=127.0.0.1:{port}", "--workers={workers}", "--idle-timeout={idle_s}s",
        "--access-log=off", "--quiet")),
    # The same, but that each worker accepts for itself: it makes a difference where connections are short.
    "sharded": ("oneloop", ("--version",), None, (
        "{root}", "--listen=127.0.0.1:{port}", "--workers={workers}", "--idle-timeout={idle_s}s",
        "--access-log=off", "--quiet", "--accept=sharded")),
    # The same, but outside of its sandbox: what that costs, as no peer has one.
    "unsandboxed": ("oneloop", ("--version",), None, (
        "{root}", "--listen=127.0.0.1:{port}", "--workers={workers}", "--idle-timeout={idle_s}s",
        "--access-log=off", "--quiet", "--sandbox=off")),
    "nginx": ("nginx", ("-v",), NGINX, ("-p", "{run}", "-c", "{config}")),
    "lighttpd": ("lighttpd", ("-v",), LIGHTTPD, ("-D", "-f", "{config}")),
    "h2o": ("h2o", ("--version",), H2O, ("-m", "worker", "-c", "{config}")),
    "sws": ("static-web-server", ("--version",), None, (
        "--root={root}", "--host=127.0.0.1", "--port={port}", "--threads-multiplier=1", "--log-level=error",
        "--compression=false", "--security-headers=false")),
}
NAMES = tuple(PROGRAMS)
# Those that are measured where a workload names none.
USUAL = tuple(name for name in NAMES if name not in ("sharded", "unsandboxed"))


class Server:
    """One program that is to be measured. It runs between `start` and `stop`."""

    def __init__(self, name: str, program: str, run: Path, port: int, cores: list[int]):
        self.name = name
        self.port = port
        self._program = program
        self._cores = cores
        self._run = run / name
        self._run.mkdir()
        # Servers that give up root write here as someone else.
        self._run.chmod(0o777)
        self._process: subprocess.Popen | None = None

    def version(self) -> str:
        arguments = PROGRAMS[self.name][1]
        if not arguments:
            return ""
        done = subprocess.run([self._program, *arguments], capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr)
        return found.group() if found else "?"

    def start(self, workload: Workload, root: Path) -> None:
        """Starts it and waits until it listens."""
        _, _, config, arguments = PROGRAMS[self.name]
        values = {"root": root, "port": self.port, "run": self._run, "config": self._run / "config",
                  "idle_s": IDLE_S, "connections": CONNECTIONS_MAX, "descriptors": descriptors_max(),
                  "workers": workload.workers}
        if self.name == "limit":
            places = {"PATH": str(root) + workload.path, "DIRECTORY": str(root / "files")}
            arguments = ("{port}", *(places.get(word, word) for word in workload.limit))
        if config:
            (self._run / "config").write_text(config.format(**values))
        command = [self._program, *(argument.format(**values) for argument in arguments)]
        with open(self._run / "output", "wb") as output:
            # A session of its own, by which its processes are found.
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                             start_new_session=True, preexec_fn=pinned(self._cores[:workload.workers]))
        self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> None:
        if listens(self.port, self._process):
            return
        output = (self._run / "output").read_text(errors="replace")
        raise RuntimeError(f"{self.name} does not start: {output.strip() or 'it says nothing'}")

    def processes(self) -> list[int]:
        session = self._process.pid
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and session_of(entry) == session]

    def cpu_ns(self) -> int:
        """Time on a processor so far, in user mode and in the kernel, of all its threads."""
        return sum(int(task.read_text().split()[0])
                   for process in self.processes()
                   for task in Path(f"/proc/{process}/task").glob("*/schedstat"))

    def resident_bytes(self) -> int:
        pages = sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in self.processes())
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        if self._process is None:
            return
        for end in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                os.kill(self._process.pid, end)
                try:
                    self._process.wait(5)
                except subprocess.TimeoutExpired:
                    continue
        for orphan in self.processes():
            os.kill(orphan, signal.SIGKILL)
        self._process = None


def listens(port: int, process: subprocess.Popen) -> bool:
    """Waits until the process does; not for ever."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            time.sleep(0.02)
    return False


def session_of(process: str) -> int | None:
    try:
        # The name in parentheses may hold anything; the state, the parent and the group come before the session.
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return None


def descriptors_max() -> int:
    import resource
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def pinned(cores: list[int]):
    return lambda: os.sched_setaffinity(0, cores)


def find_program(name: str, build: Path, oneloop: str | None) -> str | None:
    program = PROGRAMS[name][0]
    if program == "oneloop" and oneloop:
        return oneloop
    if program in ("oneloop", "limit"):
        return str(build / program)
    return shutil.which(program)
