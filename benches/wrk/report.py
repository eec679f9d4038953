"""What was measured, as a table for the terminal, as JSON and as a chart."""

import json
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from statistics import median

from servers import NAMES
from workloads import WORKLOADS, Workload

OURS = "oneloop"


@dataclass
class Result:
    """The rounds of one workload, by server."""

    workload: Workload
    rounds: dict[str, list[dict]] = field(default_factory=dict)

    def median(self, server: str, key: str = "figure") -> float | None:
        values = [measured[key] for measured in self.rounds.get(server, []) if key in measured]
        return median(values) if values else None

    def spread(self, server: str) -> float | None:
        """From the least to the most, as a share of the median."""
        figures = [measured["figure"] for measured in self.rounds.get(server, [])]
        return (max(figures) - min(figures)) / median(figures) if len(figures) > 1 and median(figures) else None

    def ratios(self, name: str = OURS) -> dict[str, float]:
        """A server's figure over that of each other: the median over the rounds, as a round has one kind of noise."""
        ours = [measured["figure"] for measured in self.rounds.get(name, [])]
        ratios = {}
        for peer, measured in self.rounds.items():
            pairs = [(own, other["figure"]) for own, other in zip(ours, measured) if other["figure"] > 0]
            if peer != name and pairs:
                ratios[peer] = median(own / other for own, other in pairs)
        return ratios

    def verdict(self) -> str:
        figure = self.median(OURS)
        if figure is None:
            return "–"
        verdicts = [bar.met(self.median(OURS, bar.key), self.ratios()) for bar in self.workload.bars]
        if False in verdicts:
            return "NOT MET"
        return "?" if None in verdicts else "met"

    def bar(self) -> str:
        return ", ".join(bar.text(self.workload.unit) for bar in self.workload.bars)


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 100 else f"{value:.2f}"


def share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def aligned(rows: list[list[str]]) -> str:
    """The first column to the left, the others to the right, but for a last one of words."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                               for column, (cell, width) in enumerate(zip(row, widths))) for row in rows)


def bars() -> str:
    return aligned([["name", "workload", "unit", "bar"]] + [
        [workload.name, workload.title, workload.unit, Result(workload).bar()] for workload in WORKLOADS])


def table(results: list[Result], machine: dict) -> str:
    """The figures and ratios, then the rounds behind them."""
    measured = [name for name in NAMES if any(name in result.rounds for result in results)]
    parts = [conditions(machine)]
    if measured != [OURS]:
        parts.append(comparison(results, measured))
    parts.append(details(results, measured))
    return "\n\n".join(part for part in parts if part) + "\n"


def comparison(results: list[Result], measured: list[str]) -> str:
    rows = [["workload", "unit", *measured, "/limit", "/nginx", "unsandboxed/limit", "sharded/nginx", "spread", "bar", ""]]
    for result in results:
        ratios = result.ratios()
        rows.append([result.workload.title, result.workload.unit,
                     *(number(result.median(name)) for name in measured),
                     *(number(ratios.get(peer)) for peer in ("limit", "nginx")),
                     number(result.ratios("unsandboxed").get("limit")),
                     number(result.ratios("sharded").get("nginx")),
                     share(result.spread(OURS)), result.bar(), result.verdict()])
    return f"{aligned(rows)}\n/limit, /nginx: oneloop's figure over theirs; spread: of oneloop's, least to most"


def details(results: list[Result], measured: list[str]) -> str:
    rows = [["workload", "server", "figure", "spread", "requests/s", "p50 µs", "p99 µs", "busy"]]
    for result in results:
        for name in measured:
            if name in result.rounds and result.workload.kind in ("cpu", "rate", "idle-load"):
                slowdown = result.median(name, "slowdown")
                rows.append([result.workload.title, name, f"{number(result.median(name))} {result.workload.unit}"
                             + (f", slowdown {number(slowdown)}" if slowdown else ""),
                             share(result.spread(name)),
                             # wrk sometimes has no percentiles, and says 0.
                             *(f"{result.median(name, key):,.0f}" if result.median(name, key) else "–"
                               for key in ("requests_per_s", "p50_us", "p99_us")),
                             share(result.median(name, "server_busy"))])
    return aligned(rows) if len(rows) > 1 else ""


def conditions(machine: dict) -> str:
    versions = ", ".join(f"{name} {version}".strip() for name, version in machine["servers"].items())
    return (f"{machine['date']}, Linux {machine['kernel']}, {machine['cpu']}, "
            f"{machine['rounds']} × {machine['seconds']} s, {machine['network']['congestion_control']}\n{versions}\n"
            "µs: server CPU a request")


def write(directory: Path, results: list[Result], machine: dict, failures: list[str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    content = {**machine, "failures": failures, "workloads": {result.workload.name: {
        "title": result.workload.title, "unit": result.workload.unit, "bar": result.bar(),
        "verdict": result.verdict(), "ratios": result.ratios(),
        "servers": {name: {"median": result.median(name), "spread": result.spread(name), "rounds": rounds}
                    for name, rounds in result.rounds.items()}} for result in results}}
    (directory / "latest.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    (directory / "latest.svg").write_text(chart(results, machine))


# The chart: a group for each workload, a bar for each server, its length the CPU a request relative to nginx.

COLOURS = {"limit": "#a8adb5", "oneloop": "#e4572e", "sharded": "#f2a48e", "unsandboxed": "#f7cdbf", "nginx": "#3a6ea5", "lighttpd": "#6d9bc9",
           "h2o": "#9dbbd8", "sws": "#8577b3"}
WIDTH, LABELS, VALUES = 820, 200, 120
BAR, BAR_STEP, GROUP_GAP, TOP, BOTTOM = 9, 11, 14, 86, 60
RATIO_MAX = 2.5
STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.small { font-size: 10px; fill: #57606a }
.ours { font-weight: 600; fill: #24292f }
line { stroke: #8c959f; stroke-width: 1; stroke-dasharray: 2 4; opacity: 0.6 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .ours { fill: #e6edf3 }
}
"""


def chart(results: list[Result], machine: dict) -> str:
    groups = [result for result in results if result.workload.kind == "cpu" and result.rounds]
    measured = [name for name in NAMES if any(name in result.rounds for result in groups)]
    base = "nginx" if "nginx" in measured else OURS
    unit = (WIDTH - LABELS - VALUES) / RATIO_MAX
    parts, y = [], TOP
    for result in groups:
        names = [name for name in measured if name in result.rounds]
        parts.append(text(LABELS - 10, y + len(names) * BAR_STEP / 2 + 3, result.workload.title, anchor="end"))
        for name in names:
            parts.append(bar(result, name, base, y, unit))
            y += BAR_STEP
        y += GROUP_GAP
    line = f'<line x1="{LABELS + unit:.1f}" x2="{LABELS + unit:.1f}" y1="{TOP - 8}" y2="{y - GROUP_GAP + 4}"/>'
    footer = [text(16, y + 14 + 14 * number, row, "small") for number, row in enumerate(footnotes(machine, base))]
    height = y + BOTTOM
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img">',
        f"<title>Server CPU a request, relative to {base}</title>", f"<style>{STYLE}</style>",
        text(16, 26, "Server CPU a request (shorter is better)", "title"), *legend(measured), line, *parts, *footer,
        "</svg>", ""])


def bar(result: Result, name: str, base: str, y: float, unit: float) -> str:
    value = result.median(name)
    reference = result.median(base)
    ratio = value / reference if reference else RATIO_MAX
    length = max(min(ratio, RATIO_MAX) * unit, 1)
    # What does not fit is cut off, and says by how much.
    label = f"{number(value)} µs" + (f"  ({ratio:.1f} ×)" if ratio > RATIO_MAX else "")
    return (f'<rect x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" rx="1.5" fill="{COLOURS[name]}"/>'
            + text(LABELS + length + 5, y + 8, label, "small ours" if name == OURS else "small"))


def legend(names: list[str]) -> list[str]:
    parts, x = [], 16
    for name in names:
        parts.append(f'<rect x="{x}" y="46" width="11" height="11" rx="2" fill="{COLOURS[name]}"/>')
        parts.append(text(x + 16, 56, name, "ours" if name == OURS else None))
        x += 34 + 7 * len(name)
    return parts


def footnotes(machine: dict, base: str) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in machine["servers"].items() if version)
    return [f"{machine['date']} · Linux {machine['kernel']} · {machine['cpu']} · one worker on one core, wrk on another",
            f"median of {machine['rounds']} interleaved rounds of {machine['seconds']} s · dashed: {base} · "
            "limit: a bare epoll loop with canned answers", versions]


def text(x: float, y: float, content: str, kind: str | None = None, anchor: str = "start") -> str:
    css = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}>{escape(content)}</text>'
