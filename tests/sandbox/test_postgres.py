"""Tests of the PostgreSQL from a wheel: it stops with its process, and lets no other user in."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url

from sandbox.postgres import PROGRAMS, Postgres, running_postgres
from tests.sandbox.conftest import processes_in
from tests.support.database import execute, wait_until
from tests.support.process import ROOT

pytestmark = pytest.mark.slow


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """Run Python with its temporary files in `folder`, which PostgreSQL's processes then name."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST") and name != "TEST_DATABASE_URL"
    }
    return subprocess.Popen(
        # Below nohup, or in the background of a script, signals are ignored, in children too.
        ["env", "--default-signal", sys.executable, *command],
        cwd=ROOT,
        env={**environment, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def await_running(process: subprocess.Popen[str], happened: Callable[[], object]) -> None:
    def has_happened() -> bool:
        assert process.poll() is None, process.communicate()[0]
        return bool(happened())

    wait_until(has_happened, 60)


def stop(process: subprocess.Popen[str], folder: Path, number: signal.Signals) -> str:
    """Send a signal, check that nothing is left, and return what was printed."""
    process.send_signal(number)
    printed = process.communicate(timeout=30)[0]
    assert processes_in(folder) == []
    assert list(folder.glob("todo-backend-*")) == []
    return printed


def program(folder: Path, seconds: float) -> str:
    """Return code that creates the file `up` and waits."""
    return (
        f"import pathlib, time; pathlib.Path({str(folder / 'up')!r}).touch(); time.sleep({seconds})"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_command_and_its_database(folder: Path, number: signal.Signals) -> None:
    command = (sys.executable, "-c", program(folder, 60))
    with start(folder, "-m", "sandbox.postgres", *command) as process:
        await_running(process, (folder / "up").exists)
        assert any("bin/postgres -D" in command for command in processes_in(folder))
        assert stop(process, folder, number) == ""
    assert process.returncode == 130


@pytest.mark.parametrize("command", ["initdb", "pg_ctl"])
def test_a_signal_during_start_up_stops_the_database(folder: Path, command: str) -> None:
    with start(folder, "-m", "sandbox.postgres", "true") as process:
        await_running(process, lambda: any(f"/{command} " in each for each in processes_in(folder)))
        stop(process, folder, signal.SIGTERM)
    assert process.returncode == 130


def test_the_command_has_the_database_and_its_exit_status_is_returned(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a machine without the locale of the one that has logged in to it.
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")
    status = "import os, sys; sys.exit(7 if 'todo-backend' in os.environ['DATABASE_URL'] else 0)"
    with start(folder, "-m", "sandbox.postgres", sys.executable, "-c", status) as process:
        assert process.wait(60) == 7
    assert processes_in(folder) == []


@pytest.mark.parametrize("name", ["short", "with a space", "long" * 30])
def test_no_other_user_reaches_the_server(folder: Path, name: str) -> None:
    with running_postgres(folder / name, keep=False) as url:
        assert execute(url, "SHOW listen_addresses") == [("",)]
        directory = Path(str(make_url(url).query["host"]))
        for path in (directory, directory / ".s.PGSQL.5432"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        if os.geteuid() == 0:
            psql = (PROGRAMS / "psql", url, "--command", "SELECT 1")
            refused = subprocess.run(psql, user="nobody", capture_output=True, check=False)
            assert b"Permission denied" in refused.stderr
    assert list(folder.iterdir()) == []
    assert not directory.exists()


def test_a_directory_of_another_user_is_refused(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can change the owner of a directory")
    server = Postgres(folder / "with a space")
    server.directory.mkdir()
    try:
        shutil.chown(server.directory, "nobody")
        with pytest.raises(RuntimeError, match="another user"):
            server.start()
    finally:
        server.directory.rmdir()


def test_a_server_that_was_left_running_is_taken_over(folder: Path) -> None:
    Postgres(folder / "data").start()
    with running_postgres(folder / "data", keep=False) as url:
        execute(url, "SELECT 1")
    assert processes_in(folder) == []


def test_a_signal_stops_a_test_run_and_its_database(folder: Path) -> None:
    test = folder / "test_that_waits.py"
    # A worker finishes its current test first, within 10 seconds.
    test.write_text(f"def test_that_waits():\n    {program(folder, 3)}\n")
    options = ("-n", "1", "--no-cov", "-p", "tests.conftest", "-c", "pyproject.toml")
    with start(folder, "-m", "pytest", *options, str(test)) as process:
        await_running(process, (folder / "up").exists)
        assert "KeyboardInterrupt" in stop(process, folder, signal.SIGTERM)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
