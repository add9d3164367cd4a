"""Tests of the sandbox: what its user types, sees and pastes."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.examples.test_mcp import Assistant
from tests.support.database import execute
from tests.support.process import running_server
from tests.support.programs import need_package

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]


class Sandbox:
    """A sandbox with data of its own, as a separate process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "sandbox", "--data", str(self.folder)),
                *("--port", "0", *options),
            ],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @contextmanager
    def running(self, *options: str) -> Iterator[str]:
        """Run it until the block ends, then press Ctrl-C; yields what it printed at first."""
        with self.start(*options) as process:
            assert process.stdout is not None
            printed = read_greeting(process)
            draining = threading.Thread(target=process.stdout.read)
            draining.start()
            try:
                yield printed
            finally:
                os.killpg(process.pid, signal.SIGINT)
                assert process.wait(20) == 0
                draining.join()

    def processes(self) -> list[psutil.Process]:
        """Return the processes that name the folder: PostgreSQL's."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if str(self.folder / "postgres") in " ".join(process.info["cmdline"] or [])
        ]


@pytest.fixture
def sandbox(folder: Path) -> Sandbox:
    return Sandbox(folder / "data with a space")


def read_greeting(process: subprocess.Popen[str]) -> str:
    """Return what a sandbox prints until it is ready."""
    assert process.stdout is not None
    printed = ""
    while "Ctrl-C stops" not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line
    return printed


def paste(greeting: str, shell: str) -> list[str]:
    """Run the indented lines of the greeting in a new shell; returns the lines that it prints."""
    pasted = "".join(line for line in greeting.splitlines(True) if line.startswith("  "))
    run = subprocess.run(
        [shell], input=pasted, capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stderr == ""
    return run.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_printed_lines_create_a_task_in_every_shell(sandbox: Sandbox, shell: str) -> None:
    need_package(shell)
    with sandbox.running() as greeting:
        account, task, tasks = map(json.loads, paste(greeting, shell))
        assert account["email"] == "me@example.com"
        assert task["title"] == "Buy milk"
        assert tasks == [task]


def test_one_sandbox_uses_the_data_which_survives_a_restart(sandbox: Sandbox) -> None:
    with sandbox.running() as greeting:
        _, task, _ = map(json.loads, paste(greeting, "bash"))
        processes = sandbox.processes()
        assert processes
        second = sandbox.start()
        assert "already running" in second.communicate(timeout=30)[0]
        assert second.returncode == 1
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]

    with sandbox.running() as greeting:
        conflict, _, tasks = map(json.loads, paste(greeting, "bash"))
        assert conflict["status"] == 409
        assert len(tasks) == 2
        assert tasks[-1] == task


def test_start_up_is_logged_once_and_a_wrong_password_gets_no_token(sandbox: Sandbox) -> None:
    with sandbox.running() as greeting:
        logged = [line.partition(" INFO ")[2] for line in greeting.splitlines() if " INFO " in line]
        assert logged
        assert len(set(logged)) == len(logged)
        url = next(word for word in greeting.split() if word.endswith("/api/auth/token"))
        response = httpx.post(url, json={"email": "me@example.com", "password": "a wrong one"})
        assert response.status_code == response.json()["status"] == 401


def test_an_assistant_works_with_the_printed_token(sandbox: Sandbox) -> None:
    with sandbox.running("--mcp") as greeting:
        lines, _, claude = greeting.partition("  claude mcp add ")
        paste(lines, "bash")
        words = shlex.split(claude.splitlines()[0].replace('"$(cat ', "").replace(')"', ""))
        address, header_file = words[3], words[-1]
        token = Path(header_file).read_text().strip().removeprefix("Authorization: Bearer ")
        tasks = Assistant(address, token).call("list_tasks")
        assert [task["title"] for task in tasks] == ["Buy milk"]


def test_postgres_alone_serves_the_service_and_better_auth(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with sandbox.running("--postgres") as greeting:
        lines = [line.strip() for line in greeting.splitlines() if line.startswith("  ")]
        *service, create_database, front_end = lines
        (tmp_path / ".env").write_text("\n".join(service))
        account = {"email": "me@example.com", "password": "a long enough one"}
        with running_server(tmp_path, {}) as server:
            assert server.client.post("/api/auth/signup", json=account).status_code == 201
        subprocess.run(["sh", "-c", create_database], check=True)
        better_auth = front_end.removeprefix("DATABASE_URL=")
        assert execute(better_auth, "SELECT current_database()") == [("better_auth",)]
    assert sandbox.processes() == []


@pytest.mark.parametrize("seconds", [0, 0.4])
def test_ctrl_c_during_start_up_leaves_nothing_running(sandbox: Sandbox, seconds: float) -> None:
    with sandbox.start() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Starting PostgreSQL …\n"
        # Before initdb, while it runs, or after it.
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        printed = process.stdout.read()
        assert printed.endswith("Stopped.\n")
        assert "Traceback" not in printed
        assert process.wait(20) == 0
    assert sandbox.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_repeated_signals_stop_it_once(sandbox: Sandbox, number: signal.Signals) -> None:
    with sandbox.start() as process:
        assert process.stdout is not None
        read_greeting(process)
        while process.poll() is None:
            os.killpg(process.pid, number)
            time.sleep(0.02)
        printed = process.stdout.read()
        assert printed.endswith("\nStopped.\n"), printed
        assert process.returncode == 0
    assert sandbox.processes() == []


def test_a_port_that_is_invalid_or_taken_is_named(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in ("65536", str(taken.getsockname()[1])):
            process = sandbox.start("--port", port)
            assert f"Port {port} cannot be used" in process.communicate(timeout=30)[0]
            assert process.returncode == 1


def test_the_service_does_not_import_the_sandbox() -> None:
    imported = subprocess.run(
        [sys.executable, "-c", "import application, sys; print('sandbox' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    assert imported.stdout.strip() == "False"
