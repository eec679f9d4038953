"""Whether a server answers a workload correctly: asked by a client that has nothing in common with wrk."""

import socket
from pathlib import Path

from servers import Server
from workloads import FILES, PIPELINED, RANGE, Workload

Answer = tuple[int, dict[str, str], bytes]


class WrongAnswer(Exception):
    """What was asked, and how the answer differs from what it has to be."""


class Client:
    """A connection, and what of its answers was not read yet."""

    def __init__(self, port: int):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._input = self._socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self._input.close()
        self._socket.close()

    def send(self, path: str, headers: tuple[str, ...] = (), times: int = 1) -> None:
        lines = (f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", "")
        self._socket.sendall("\r\n".join(lines).encode() * times)

    def receive(self) -> Answer:
        status_line = self._input.readline().decode("latin-1").split()
        if len(status_line) < 2 or not status_line[1].isdigit():
            raise WrongAnswer(f"no status line but {status_line}")
        status = int(status_line[1])
        headers = {}
        while (line := self._input.readline().strip()):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, self._input.read(0 if status == 304 else int(headers["content-length"]))

    def at_end(self) -> bool:
        return self._input.read(1) == b""


def expect(what: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise WrongAnswer(f"{what} {actual!r} instead of {expected!r}" if len(repr(actual)) < 80 else f"wrong {what}")


def ask(client: Client, path: str, headers: tuple[str, ...] = ()) -> Answer:
    client.send(path, headers)
    return client.receive()


def entity_tag(server: Server, path: str) -> str | None:
    with Client(server.port) as client:
        return ask(client, path)[1].get("etag")


def check(server: Server, workload: Workload, headers: tuple[str, ...], root: Path) -> None:
    """Raises WrongAnswer unless status, length and bytes are right, twice on one connection."""
    try:
        with Client(server.port) as client:
            if workload.script[:1] == ("files",):
                check_files(client, root)
            elif workload.script[:1] == ("pipeline",):
                client.send(workload.path, headers, PIPELINED)
                for _ in range(PIPELINED):
                    check_answer(client.receive(), workload, root)
            else:
                check_answer(ask(client, workload.path, headers), workload, root)
                if "Connection: close" in headers:
                    expect("the end of the connection", client.at_end(), True)
                else:
                    check_answer(ask(client, workload.path, headers), workload, root)
    except (WrongAnswer, OSError, KeyError) as error:
        raise WrongAnswer(f"{server.name}, {workload.name}: {error}") from error


def check_files(client: Client, root: Path) -> None:
    for number in range(FILES):
        status, _, content = ask(client, f"/files/{number}")
        expect("status", status, 200)
        expect("content", content, (root / "files" / str(number)).read_bytes())


def check_answer(answer: Answer, workload: Workload, root: Path) -> None:
    status, headers, content = answer
    expect("status", status, workload.status)
    if status == 200:
        expect("content", content, (root / workload.path[1:]).read_bytes())
    elif status == 206:
        whole = (root / workload.path[1:]).read_bytes()
        first, last = RANGE
        expect("Content-Range", headers.get("content-range"), f"bytes {first}-{last}/{len(whole)}")
        expect("content", content, whole[first:last + 1])
