"""Tests of the benchmark's report and load generator, and short runs of all of it."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from bench.load import Request, drive
from bench.report import Row, compare, draw_chart, make_table
from models.task import SORTS
from tests.support.programs import need_package, run

SPEEDS = {
    "service": {"list": 4500.0, "get": 3400.0, "create": 4000.0, "patch": 4200.0},
    "tutorial": {"list": 1000.0, "get": 1000.0, "create": 1000.0, "patch": 1000.0},
    "floor": {"list": 15_000.0, "get": 9000.0, "create": 9000.0, "patch": 9000.0},
}


@pytest.mark.serial
def test_a_short_run_measures_every_row_but_the_large_table(tmp_path: Path) -> None:
    need_package("wrk")
    printed = run(sys.executable, "-m", "bench", "--quick", "--results", tmp_path)
    assert (tmp_path / "table.md").read_text() in printed
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["rows"]) == 12
    # Counts do not depend on how busy the machine is.
    assert figures["rows"]["statements for each task endpoint"]["met"]
    # Nothing is faster than the network that is simulated.
    row = figures["rows"]["latency of a request to a database 50 ms away"]
    assert all(float(count) >= 1 for count in re.findall(r"[0-9.]+", row["measured"]))
    assert (tmp_path / "chart.svg").exists()


@pytest.mark.serial
@pytest.mark.parametrize("option", ["--scale", "--partitions"])
def test_a_short_run_measures_the_large_table(option: str, tmp_path: Path) -> None:
    need_package("wrk")
    printed = run(sys.executable, "-m", "bench", option, "--quick", "--results", tmp_path)
    assert re.search(r"^Bytes of a task: [1-9]\d* in the table, [1-9]", printed, re.MULTILINE)
    (title,) = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert ("partitions" in title) == (option == "--partitions")


@pytest.mark.serial
def test_a_page_by_any_sort_reads_its_own_rows_alone() -> None:
    printed = run(sys.executable, "-m", "bench", "--plans", "--quick")
    rows = re.findall(r"^\| (\w+) \| (?:asc|desc) \| .* \| (\d+) \|", printed, re.MULTILINE)
    assert {sort for sort, _ in rows} == set(SORTS)
    assert len(rows) == 4 * len(SORTS)
    # One buffer for each of the 500 rows, and those of the index; all 20,000 rows have thousands.
    assert max(int(buffers) for _, buffers in rows) < 1000


@pytest.mark.slow
def test_without_wrk_it_says_how_to_install_it() -> None:
    command = (sys.executable, "-m", "bench")
    done = subprocess.run(command, env={"PATH": ""}, capture_output=True, check=False)
    assert (done.returncode, b"apt-get install wrk" in done.stderr) == (1, True)


@pytest.mark.slow
def test_a_load_with_refused_requests_fails(client: httpx.Client) -> None:
    need_package("wrk")
    requests = [Request("GET", "/api/1/tasks", "not-a-token")]
    with pytest.raises(RuntimeError, match="not all requests"):
        drive(str(client.base_url), requests, seconds=1, connections=1)


@pytest.mark.parametrize("kind", ["", "list", "get", "create", "patch"])
def test_a_ratio_below_its_target_misses_it(kind: str) -> None:
    service = {name: speed - (name == kind) for name, speed in SPEEDS["service"].items()}
    missed = [row.title for row in compare({**SPEEDS, "service": service}) if not row.met]
    assert (f"{kind}, against tutorial" in missed) == bool(missed) == bool(kind)


@pytest.mark.slow
def test_the_table_and_the_chart_show_every_figure(tmp_path: Path) -> None:
    rows = [Row("hit", "under 2", "1", met=True), Row("miss", "under 2", "3", met=False)]
    figures = {"rows": {row.title: asdict(row) for row in rows}, "speeds": SPEEDS}
    lines = make_table({**figures, "machine": "one machine", "method": "one method"}).splitlines()
    assert "| hit | under 2 | 1 | yes |" in lines
    assert "| miss | under 2 | 3 | **no** |" in lines
    assert "| this service | 4,500 | 3,400 | 4,000 | 4,200 |" in lines

    draw_chart(SPEEDS, tmp_path / "chart.svg")
    chart = (tmp_path / "chart.svg").read_text()
    assert "prefers-color-scheme: dark" in chart
    root = ET.fromstring(chart)  # noqa: S314 - our own
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {f"{n:,.0f}" for speeds in SPEEDS.values() for n in speeds.values()} <= set(texts)
