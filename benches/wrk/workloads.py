"""The workloads, the files they ask for, and the bars that oneloop is held to."""

import os
import random
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
FILES = 1000
PIPELINED = 16
RANGE = (50_000, 50_999)
MTIME_S = 1_700_000_000
SIZES = {"1k.bin": KIB, "10k.bin": 10 * KIB, "100k.bin": 100 * KIB, "1m.bin": MIB, "100m.bin": 100 * MIB}


@dataclass(frozen=True)
class Bar:
    """At most `factor` times what `peer` takes, or at most `factor` units if `peer` is None."""

    factor: float
    peer: str | None
    # What is held to it of all that a round measures.
    key: str = "figure"

    def text(self, unit: str) -> str:
        if self.peer:
            return f"≤ {self.factor:.2f} × {self.peer}"
        return ("" if self.key == "figure" else f"{self.key} ") + f"≤ {self.factor:g} {unit}"

    def met(self, figure: float, ratios: dict[str, float]) -> bool | None:
        """None when the peer was not measured."""
        if self.peer is None:
            return figure <= self.factor
        return ratios[self.peer] <= self.factor if self.peer in ratios else None


@dataclass(frozen=True)
class Workload:
    """What is asked for, how, and what has to come back."""

    name: str
    title: str
    bars: tuple[Bar, ...]
    path: str = "/1k.bin"
    # cpu: µs of server CPU a request under wrk; the others are measured in ways of their own.
    kind: str = "cpu"
    # How the limit server is to answer; PATH and DIRECTORY stand for the file and the folder of files.
    limit: tuple[str, ...] = ("file", "PATH")
    connections: int = 64
    status: int = 200
    headers: tuple[str, ...] = ()
    script: tuple[str, ...] = ()
    # Threads or processes of the server, and threads of wrk. With two, both share both cores.
    workers: int = 1
    # Whom it is measured with, if not with the usual ones.
    servers: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        return {"cpu": "µs", "rate": "ms", "idle": "B", "idle-load": "×", "calls": "calls"}[self.kind]

    @property
    def large(self) -> bool:
        """So large that requests are counted by the bytes that came: many are cut off when the time is over."""
        return SIZES.get(self.path[1:], 0) >= MIB


def limit(factor: float) -> Bar:
    return Bar(factor, "limit")


def nginx(factor: float) -> Bar:
    return Bar(factor, "nginx")


def units(figure: float, key: str = "figure") -> Bar:
    return Bar(figure, None, key)


WITH_UNSANDBOXED = ("limit", "oneloop", "unsandboxed", "nginx", "lighttpd", "h2o", "sws")
IF_MODIFIED_SINCE = f"If-Modified-Since: {formatdate(MTIME_S, usegmt=True)}"

WORKLOADS = (
    Workload("1k", "1 KiB", (limit(1.10), nginx(0.70)), servers=WITH_UNSANDBOXED),
    Workload("1k-512", "1 KiB, 512 connections", (limit(1.12),), connections=512),
    Workload("10k", "10 KiB", (limit(1.10),), "/10k.bin", servers=WITH_UNSANDBOXED),
    Workload("100k", "100 KiB", (limit(1.05),), "/100k.bin", servers=WITH_UNSANDBOXED),
    Workload("1m", "1 MiB", (limit(1.05),), "/1m.bin", servers=WITH_UNSANDBOXED),
    Workload("100m", "100 MiB, 8 connections", (nginx(1.00),), "/100m.bin", connections=8),
    Workload("files", "1,000 files of 0.5 to 64 KiB", (limit(1.15),), "/files/0", limit=("files", "DIRECTORY"),
             script=("files", str(FILES)), servers=WITH_UNSANDBOXED),
    Workload("close", "Connection: close", (nginx(1.00),), limit=("close", "PATH"),
             headers=("Connection: close",),
             servers=("limit", "oneloop", "sharded", "nginx", "lighttpd", "h2o", "sws")),
    Workload("close-2", "Connection: close, two workers", (nginx(1.15),), headers=("Connection: close",), workers=2,
             servers=("oneloop", "sharded", "nginx")),
    Workload("pipelined", f"1 KiB, pipelined × {PIPELINED}", (units(0.8),), script=("pipeline", str(PIPELINED))),
    Workload("304", "304 Not Modified", (limit(1.10),), limit=("not-modified", "PATH"), status=304,
             headers=(IF_MODIFIED_SINCE,)),
    Workload("404", "404 Not Found", (limit(1.10),), "/missing.bin", limit=("not-found",), status=404),
    Workload("range", "1,000 bytes of 100 KiB", (limit(1.12),), "/100k.bin",
             limit=("range", "PATH", *map(str, RANGE)), status=206, headers=("Range: bytes={}-{}".format(*RANGE),)),
    Workload("rate", "p99 at a fixed rate", (units(3),), kind="rate"),
    Workload("idle", "memory of an idle connection", (units(256),), kind="idle"),
    Workload("idle-load", "1 KiB beside 10,000 idle connections", (units(1.05), units(1.05, "slowdown")),
             kind="idle-load", servers=("oneloop",)),
    Workload("calls", "system calls a request", (units(2.3),), kind="calls"),
)
SMOKE = ("1k", "1k-512", "pipelined")


def make_site(root: Path) -> None:
    """Random bytes, so that a server that mixes up files or offsets is found out."""
    generator = random.Random(1)
    for name, size in SIZES.items():
        write(root / name, generator.randbytes(size))
    (root / "files").mkdir()
    for number in range(FILES):
        # As many small as large ones on a logarithmic scale, like the files of real sites.
        write(root / "files" / str(number), generator.randbytes(int(512 * 128 ** generator.random())))


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    os.utime(path, (MTIME_S, MTIME_S))
