"""The report: a table in Markdown, and a chart."""

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil

KINDS: Final = ("list", "get", "create", "patch")
COLORS: Final = {"service": "#2f81f7", "tutorial": "#bf8700", "floor": "#8b949e"}
LABELS: Final = {
    "service": "this service",
    "tutorial": "tutorial",
    "floor": "floor: no tokens, no database",
}
PACKAGES: Final = ("fastapi", "sqlmodel", "sqlalchemy", "psycopg2-binary", "uvicorn", "uvloop")
# Browsers apply it to an image too.
DARK: Final = "@media (prefers-color-scheme: dark) { text { fill: #e6edf3 !important } }"

Speeds = dict[str, float]
"""Requests per second of each kind."""


@dataclass(frozen=True)
class Row:
    """One row of the table: a target, what was measured, and whether the target is met."""

    title: str
    target: str
    measured: str
    met: bool


def compare(speeds: dict[str, Speeds]) -> list[Row]:
    """Compare the service's speeds with those of the references."""

    def row(kind: str, reference: str, least: float) -> Row:
        ours, theirs = speeds["service"][kind], speeds[reference][kind]
        return Row(
            f"{kind}, against {reference}",
            f"at least {least:g} x",
            f"{ours / theirs:.2f} x ({ours:,.0f} against {theirs:,.0f} requests/s)",
            met=ours / theirs >= least,
        )

    targets = {"list": 4.5, "get": 3.4, "create": 4, "patch": 4.2}
    rows = [row(kind, "tutorial", least) for kind, least in targets.items()]
    return [*rows, row("list", "floor", 0.3)]


def describe_machine() -> str:
    """Name the processor, the memory and the versions that the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "")
    processor = match[1] if match else platform.processor()
    memory = round(psutil.virtual_memory().total / 2**30)
    python = f"Python {platform.python_version()}"
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{os.cpu_count()} cores ({processor}), {memory} GiB, {python}, {packages}"


def make_table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = ["| | target | measured | met |", "|---|---|---|---|"]
    for row in (Row(**row) for row in figures["rows"].values()):
        met = "yes" if row.met else "**no**"
        lines.append(f"| {row.title} | {row.target} | {row.measured} | {met} |")
    lines += [
        "",
        "Requests per second:",
        "",
        f"| | {' | '.join(KINDS)} |",
        f"|---{'|---:' * len(KINDS)}|",
    ]
    for name, speeds in figures["speeds"].items():
        lines.append(f"| {LABELS[name]} | {' | '.join(f'{speeds[kind]:,.0f}' for kind in KINDS)} |")
    return "\n".join([*lines, "", f"{figures['machine']}; {figures['method']}."]) + "\n"


def draw_chart(speeds: dict[str, Speeds], file: Path) -> None:
    """Draw the requests per second as an SVG for light and dark pages."""
    height = 0.8 / len(speeds)
    import matplotlib as mpl  # noqa: PLC0415 - loading it takes a second
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bench"}):
        figure = Figure(figsize=(7.5, 4), layout="constrained")
        axes = figure.subplots()
        for index, (name, values) in enumerate(speeds.items()):
            bars = axes.barh(
                [position + index * height for position in range(len(KINDS))],
                [values[kind] for kind in KINDS],
                height,
                label=LABELS[name],
                color=COLORS[name],
            )
            axes.bar_label(bars, fmt="{:,.0f}", padding=4)
        axes.set_title("Requests per second, one process on one core (longer is better)")
        axes.set_yticks([position + 0.8 / 2 - height / 2 for position in range(len(KINDS))], KINDS)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.margins(x=0.12)
        axes.invert_yaxis()
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, -0.15), ncols=3)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    file.write_text(file.read_text().replace("</style>", f"{DARK}</style>", 1))
