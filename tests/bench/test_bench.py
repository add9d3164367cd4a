"""The benchmark itself: what it prints, and that it runs from end to end."""

import copy
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench import load
from bench.report import chart, rows, table

TITLES = [
    "list 20 tasks, requests/s, against tutorial",
    "get one, against tutorial",
    "create, against tutorial",
    "patch, against tutorial",
    "list, against floor",
    "cost of checking a token seen before",
    "database statements for each task endpoint",
    "latency with 25 ms added each way to the database",
    "get/list/create/patch with 10,000,000 tasks of 100,000 users against 10,000 tasks of 100",
    "p99 of list during a storm of sign-ups (8 clients) against idle",
    "requests/s with two processes against one (two cores free)",
    "memory of one process after",
]


def speeds(**kinds: float) -> dict[str, list[float]]:
    return {kind: [value, value / 2, value * 9] for kind, value in kinds.items()}


FIGURES: dict[str, Any] = {
    "machine": {
        "cores": 8,
        "processor": "a fast one",
        "memory_gib": 16,
        "system": "Linux",
        "python": "3.12",
        "packages": {"fastapi": "1"},
    },
    "rounds": 3,
    "seconds": 1,
    "connections": 16,
    "memory_users": 10_000,
    "memory_requests": 100_000,
    "per_second": {
        "service": speeds(list=1000, get=1200, create=1100, patch=1100),
        "tutorial": speeds(list=200, get=200, create=200, patch=200),
        "floor": speeds(list=3000, get=3000, create=3000, patch=3000),
        "node": speeds(list=900, get=900, create=900, patch=900),
        "driver": speeds(list=4000, get=4000, create=4000, patch=4000),
    },
    "token_check": {"seconds": 2e-6, "list_cpu_seconds": 1e-3},
    "statements": {"GET tasks": 1.0, "POST tasks": 1.0},
    "round_trips": {"list": 1.02, "get": 1.01, "create": 1.03, "patch": 1.04},
    "storm": {"idle": [0.01], "storm": [0.02], "sign_ups_per_second": [4]},
    "workers": {"one": [1000], "two": [1800]},
    "memory": [[0, 80], [50_000, 100], [100_000, 100]],
    "scale": {
        "small": speeds(list=1, get=1, create=1, patch=1),
        "large": speeds(list=1.1, get=1.1, create=1.1, patch=1.1),
    },
    "scale_tasks": {"small": 10_000, "large": 10_000_000},
}


@pytest.mark.slow
def test_a_short_run_measures_every_row_or_says_what_to_install(tmp_path: Path) -> None:
    run = subprocess.run(
        (sys.executable, "-m", "bench", "--quick", "--results", str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    if not load.is_installed():
        assert run.returncode == 1
        assert "apt-get install wrk" in run.stderr
        return
    assert run.returncode == 0, run.stderr
    assert [title for title in TITLES if f"| {title}" not in run.stdout] == []
    assert run.stdout.count("not measured") == 1, "all but the ten million tasks"
    assert (tmp_path / "table.md").read_text() in run.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    # Counts hold on any machine, however busy it is.
    assert len(figures["statements"]) == 7
    assert set(figures["statements"].values()) == {1.0}
    ET.parse(tmp_path / "chart.svg")  # noqa: S314 - our own


def test_the_load_fails_rather_than_count_refusals(client: Any, tmp_path: Path) -> None:
    if not load.is_installed():
        assert "wrk" in load.MISSING
        return
    requests = load.write_requests(
        tmp_path / "r", [load.Request("GET", "/api/1/tasks", "no-token")]
    )
    with pytest.raises(RuntimeError, match="not all requests succeeded"):
        load.drive(str(client.base_url), requests, seconds=0.1, connections=1)


def test_a_row_for_each_promise_says_whether_it_holds() -> None:
    measured = rows(FIGURES)
    assert len(measured) == len(TITLES)
    assert all(row.title.startswith(title) for row, title in zip(measured, TITLES, strict=True))
    assert [row.holds for row in measured] == [True] * len(TITLES)


@pytest.mark.parametrize(
    ("title", "key", "worse"),
    [
        (TITLES[0], "per_second.service.list", [799.0]),
        (TITLES[1], "per_second.service.get", [799.0]),
        (TITLES[2], "per_second.service.create", [999.0]),
        (TITLES[3], "per_second.service.patch", [999.0]),
        (TITLES[4], "per_second.floor.list", [3400.0]),
        (TITLES[5], "token_check.seconds", 6e-5),
        (TITLES[6], "statements.GET tasks", 1.1),
        (TITLES[7], "round_trips.patch", 1.16),
        (TITLES[8], "scale.large.get", [1.3]),
        (TITLES[9], "storm.storm", [0.031]),
        (TITLES[10], "workers.two", [1600]),
        (TITLES[11], "memory", [[0, 80], [50_000, 100], [100_000, 103]]),
        (TITLES[11], "memory", [[0, 80], [50_000, 151], [100_000, 151]]),
    ],
)
def test_a_promise_that_does_not_hold_is_marked(title: str, key: str, worse: Any) -> None:
    figures = copy.deepcopy(FIGURES)
    *path, last = key.split(".")
    place = figures
    for name in path:
        place = place[name]
    place[last] = worse
    broken = [row.title for row in rows(figures) if row.holds is False]
    assert [each.startswith(title) for each in broken].count(True) == 1
    assert f"{broken[0]} |" in next(
        line for line in table(figures).splitlines() if "**no**" in line
    )


def test_two_cores_leave_no_room_to_judge_two_processes() -> None:
    figures = copy.deepcopy(FIGURES)
    figures["machine"]["cores"] = 2
    row = next(row for row in rows(figures) if row.title == TITLES[10])
    assert row.holds is None
    assert "share the 2 cores" in row.measured


def test_the_chart_has_a_bar_for_each_server_and_request_as_long_as_it_is_fast() -> None:
    root = ET.fromstring(chart(FIGURES))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    bars = [
        (each.get("class"), float(each.get("width", 0)))
        for each in root.iter(f"{space}rect")
        if each.get("x") == "70" and each.get("y") != "36"
    ]
    assert len(bars) == 16
    widths = dict(bars[:4])
    assert widths["service"] == pytest.approx(5 * widths["tutorial"], rel=0.01)
    assert "prefers-color-scheme: dark" in chart(FIGURES)
