"""`python -m sandbox --front-end`: the example with the service, in one command."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
import pytest

from sandbox.front_end import check_node
from tests.better_auth.frontend import PASSWORD, Visitor, free_port
from tests.better_auth.toolchain import build

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def data() -> Iterator[Path]:
    """Return an empty folder; pytest's own could be closed to PostgreSQL's user by a second run."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


def test_one_command_runs_the_front_end_and_ctrl_c_stops_all_of_it(data: Path) -> None:
    build()
    port, front_end_port = str(free_port()), str(free_port())
    origin, address = f"http://localhost:{front_end_port}", f"http://127.0.0.1:{front_end_port}"
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "sandbox", "--front-end", "--data", str(data)),
            *("--port", port, "--front-end-port", front_end_port),
        ],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        printed = ""
        while "Ctrl-C stops" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        assert origin in printed
        visitor = Visitor(address, origin)
        with visitor.http, httpx.Client(base_url=f"http://127.0.0.1:{port}") as service:
            assert visitor.sign_up(PASSWORD).status_code == 200
            made = service.post(
                "/api/me/tasks", json={"title": "Buy milk"}, headers=visitor.headers()
            )
            assert made.status_code == 201
        children = psutil.Process(process.pid).children(recursive=True)
        assert [each for each in children if "next" in " ".join(each.cmdline())]
        os.killpg(process.pid, signal.SIGINT)
        assert "Stopped." in process.stdout.read()
        assert process.wait(30) == 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("script", "reason"),
    [(None, "needs Node.js with npm"), ("echo v18.20.0", "newer Node.js than v18.20.0")],
)
def test_node_that_is_missing_or_too_old_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, reason: str
) -> None:
    for name in ("node", "npm") if script else ():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=reason) as exit_:
        check_node()
    assert "\n" not in str(exit_.value)
