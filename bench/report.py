"""What the figures come to: the table, the chart, and the machine they are of."""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil

from bench.measure import KINDS, Figures

_NAMES: Final = {
    "service": "this service",
    "tutorial": "tutorial",
    "node": "Fastify + pg + jose",
    "floor": "floor: no token, no database",
}
_DRIVER: Final = "driver: psycopg2 alone, statements/s"
_PACKAGES: Final = ("fastapi", "sqlmodel", "sqlalchemy", "psycopg2-binary", "uvicorn", "uvloop")


@dataclass(frozen=True)
class Row:
    """One promise: what it is about, how much was to be reached, and what was measured."""

    title: str
    target: str
    measured: str = "not measured: see --scale"
    holds: bool | None = None


def machine() -> dict[str, Any]:
    """Tell what the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def rows(figures: Figures) -> list[Row]:
    """Give the table's rows; one that was not measured says so."""
    return [
        *_against_others(figures),
        _token_check(figures),
        _statements(figures),
        _round_trips(figures),
        _scale(figures),
        _storm(figures),
        _workers(figures),
        _memory(figures),
    ]


def _against_others(figures: Figures) -> Iterable[Row]:
    for kind, title, other, least in (
        ("list", "list 20 tasks, requests/s, against tutorial", "tutorial", 4),
        ("get", "get one, against tutorial", "tutorial", 4),
        ("create", "create, against tutorial", "tutorial", 5),
        ("patch", "patch, against tutorial", "tutorial", 5),
        ("list", "list, against floor", "floor", 0.3),
    ):
        per_second = figures["per_second"]
        ours, theirs = (median(per_second[name][kind]) for name in ("service", other))
        ratio = ours / theirs
        yield Row(
            title,
            f"{least} x",
            f"{ratio:.2f} x ({ours:,.0f} against {theirs:,.0f})",
            ratio >= least,
        )


def _token_check(figures: Figures) -> Row:
    check = figures["token_check"]
    share = check["seconds"] / check["list_cpu_seconds"]
    return Row(
        "cost of checking a token seen before",
        "under 5 % of a list request",
        f"{share:.1%} ({check['seconds'] * 1e6:.1f} of {check['list_cpu_seconds'] * 1e6:.0f} µs"
        " of processor time)",
        share < 0.05,
    )


def _statements(figures: Figures) -> Row:
    counts = figures["statements"]
    others = {name: each for name, each in counts.items() if each != 1}
    return Row(
        "database statements for each task endpoint",
        "exactly 1, no BEGIN, no ping",
        ", ".join(f"{name}: {each:g}" for name, each in others.items())
        or f"1 for each of the {len(counts)}",
        not others,
    )


def _round_trips(figures: Figures) -> Row:
    round_trips = figures["round_trips"]
    return Row(
        "latency with 25 ms added each way to the database",
        "under 1.15 round trips",
        ", ".join(f"{kind} {each:.2f}" for kind, each in round_trips.items()),
        max(round_trips.values()) < 1.15,
    )


def _scale(figures: Figures) -> Row:
    title = (
        "get/list/create/patch with 10,000,000 tasks of 100,000 users against 10,000 tasks of 100"
    )
    target = "under 1.2 x the time"
    if "scale" not in figures:
        return Row(title, target)
    small, large = figures["scale"]["small"], figures["scale"]["large"]
    ratios = {kind: median(large[kind]) / median(small[kind]) for kind in KINDS}
    few, many = (figures["scale_tasks"][name] for name in ("small", "large"))
    return Row(
        title,
        target,
        ", ".join(f"{kind} {ratios[kind]:.2f} x" for kind in ("get", "list", "create", "patch"))
        + ("" if many == 10_000_000 else f" ({many:,} against {few:,})"),
        max(ratios.values()) < 1.2,
    )


def _storm(figures: Figures) -> Row:
    storm = {name: median(each) for name, each in figures["storm"].items()}
    ratio = storm["storm"] / storm["idle"]
    return Row(
        "p99 of list during a storm of sign-ups (8 clients) against idle",
        "under 3 x",
        f"{ratio:.2f} x ({storm['storm'] * 1000:.1f} against {storm['idle'] * 1000:.1f} ms, with"
        f" {storm['sign_ups_per_second']:.1f} sign-ups/s)",
        ratio < 3,
    )


def _workers(figures: Figures) -> Row:
    one, two = (median(figures["workers"][name]) for name in ("one", "two"))
    cores = figures["machine"]["cores"]
    room = cores > 3  # two for the processes, and as many for what they talk to
    return Row(
        "requests/s with two processes against one (two cores free)",
        "over 1.7 x where the load generator leaves room",
        f"{two / one:.2f} x ({two:,.0f} against {one:,.0f})"
        + ("" if room else f"; no room: wrk and PostgreSQL share the {cores} cores"),
        two / one > 1.7 if room else None,
    )


def _memory(figures: Figures) -> Row:
    sizes = figures["memory"]
    requests, last = sizes[-1]
    half = next(size for done, size in sizes if done >= requests / 2)
    growth = last / half - 1
    return Row(
        f"memory of one process after {figures['memory_requests']:,} requests of"
        f" {figures['memory_users']:,} users",
        "under 150 MB, and flat",
        f"{last:.0f} MB ({growth:+.1%} in the second half)",
        last < 150 and growth < 0.02,
    )


def table(figures: Figures) -> str:
    """Give all of it in Markdown."""
    marks = {True: "yes", False: "**no**", None: ""}
    per_second = figures["per_second"]
    lines = [
        "| | at least | measured | |",
        "|---|---|---|---|",
        *(
            f"| {row.title} | {row.target} | {row.measured} | {marks[row.holds]} |"
            for row in rows(figures)
        ),
        "",
        f"Requests/s, medians of {figures['rounds']} interleaved rounds:",
        "",
        f"| | {' | '.join(KINDS)} |",
        f"|---{'|---:' * len(KINDS)}|",
    ]
    for name, kinds in per_second.items():
        medians = " | ".join(f"{median(kinds[kind]):,.0f}" for kind in KINDS)
        lines.append(f"| {_NAMES.get(name, _DRIVER)} | {medians} |")
    host = figures["machine"]
    lines += [
        "",
        f"{host['cores']} cores ({host['processor']}), {host['memory_gib']} GiB, {host['system']},"
        f" Python {host['python']}, "
        + ", ".join(f"{name} {number}" for name, number in host["packages"].items())
        + f"; one process on one core, {figures['connections']} connections, 20 tasks a user.",
    ]
    return "\n".join(lines) + "\n"


_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px }
.small { font-size: 12px; fill: #57606a }
.service { fill: #0969da } .tutorial { fill: #bf8700 } .node { fill: #1a7f37 }
.floor { fill: #b1b8c0 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 }
  .service { fill: #4493f8 } .tutorial { fill: #d29922 } .node { fill: #3fb950 }
  .floor { fill: #59626d }
}
"""
_WIDTH: Final = 720
_LEFT: Final = 70
_BAR: Final = 15
_GAP: Final = 14


def chart(figures: Figures) -> str:
    """Draw the requests a second as an SVG that fits a light page and a dark one."""
    per_second = {
        name: {kind: median(each) for kind, each in figures["per_second"][name].items()}
        for name in _NAMES
        if name in figures["per_second"]
    }
    longest = max(max(kinds.values()) for kinds in per_second.values())
    step = (_WIDTH - _LEFT - 60) / longest
    heading = "Requests a second, one process on one core (longer is better)"
    parts = [f'<text class="title" x="8" y="22">{heading}</text>']
    x = _LEFT
    for name in per_second:
        parts.append(f'<rect class="{name}" x="{x}" y="36" width="12" height="12" rx="2"/>')
        parts.append(_small(x + 17, 46, _NAMES[name]))
        x += 40 + 7 * len(_NAMES[name])
    y = 66
    spoken = []
    for kind in KINDS:
        middle = y + len(per_second) * _BAR / 2 + 4
        parts.append(f'<text x="{_LEFT - 10}" y="{middle:g}" text-anchor="end">{kind}</text>')
        for name, kinds in per_second.items():
            width = kinds[kind] * step
            count = f"{kinds[kind]:,.0f}"
            parts += [
                _bar(name, y, width),
                _small(_LEFT + width + 6, y + _BAR - 4, count),
            ]
            spoken.append(f"{kind}, {_NAMES[name]}: {count}")
            y += _BAR
        y += _GAP
    label = escape(f"{heading}. {'; '.join(spoken)}")
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}"'
        f' height="{y}" role="img" aria-label="{label}">'
    )
    return "\n".join((head, f"<style>{_STYLE}</style>", *parts, "</svg>\n"))


def _bar(name: str, y: int, width: float) -> str:
    return (
        f'<rect class="{name}" x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" rx="2"/>'
    )


def _small(x: float, y: int, text: str) -> str:
    return f'<text class="small" x="{x:.1f}" y="{y}">{escape(text)}</text>'
