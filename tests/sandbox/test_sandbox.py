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

from sandbox.front_end import check_node
from tests.better_auth.browser import browse
from tests.better_auth.frontend import Visitor
from tests.better_auth.toolchain import build
from tests.examples.test_mcp import Assistant
from tests.sandbox.conftest import processes_in
from tests.support.database import execute, wait_until
from tests.support.process import ROOT, running_server
from tests.support.programs import free_port, need_package, run

pytestmark = pytest.mark.slow


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
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @contextmanager
    def running(self, *options: str) -> Iterator[str]:
        """Run it until the block ends, then press Ctrl-C, after which nothing runs any more.

        Yields what it printed at first.
        """
        with self.start(*options) as process:
            assert process.stdout is not None
            printed = read_greeting(process)
            draining = threading.Thread(target=process.stdout.read)
            draining.start()
            children = psutil.Process(process.pid).children(recursive=True)
            try:
                yield printed
            finally:
                os.killpg(process.pid, signal.SIGINT)
                assert process.wait(20) == 0
                draining.join()
        wait_until(lambda: not any(map(is_alive, children)))
        assert processes_in(self.folder) == []


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


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


def paste(greeting: str, shell: str = "bash") -> list[str]:
    """Run the indented lines of the greeting in a new shell; returns the lines that it prints."""
    pasted = "".join(line for line in greeting.splitlines(True) if line.startswith("  "))
    return run(shell, input=pasted, timeout=60).splitlines()


def test_the_printed_lines_work_in_every_shell_and_the_data_survives_a_restart(
    sandbox: Sandbox, subtests: pytest.Subtests
) -> None:
    with sandbox.running() as greeting:
        account, task, tasks = map(json.loads, paste(greeting))
        assert (account["email"], task["title"], tasks) == ("me@example.com", "Buy milk", [task])
        for shell in ("zsh", "fish"):
            with subtests.test(shell):
                need_package(shell)
                conflict, newer, tasks = map(json.loads, paste(greeting, shell))
                assert (conflict["status"], tasks[0], tasks[-1]) == (409, newer, task)

        logged = [line.partition(" INFO ")[2] for line in greeting.splitlines() if " INFO " in line]
        assert 0 < len(logged) == len(set(logged))
        url = next(word for word in greeting.split() if word.endswith("/api/auth/token"))
        response = httpx.post(url, json={"email": "me@example.com", "password": "a wrong one"})
        assert response.status_code == response.json()["status"] == 401
        second = sandbox.start()
        assert "already running" in second.communicate(timeout=30)[0]
        assert second.returncode == 1

    with sandbox.running() as greeting:
        assert json.loads(paste(greeting)[-1])[-1] == task


def test_every_operation_of_the_documentation_works_at_the_first_click(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    need_package("chromium")
    build()
    with sandbox.running() as greeting:
        service = next(word for word in greeting.split() if word.startswith("http://"))
        browse(service, "docs", tmp_path, {})


def test_an_assistant_works_with_the_printed_token(sandbox: Sandbox) -> None:
    with sandbox.running("--mcp") as greeting:
        lines, _, claude = greeting.partition("  claude mcp add ")
        paste(lines)
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
        run("sh", "-c", create_database)
        better_auth = front_end.removeprefix("DATABASE_URL=")
        assert execute(better_auth, "SELECT current_database()") == [("better_auth",)]


def test_the_front_end_runs_with_it(sandbox: Sandbox) -> None:
    build()
    port = free_port()
    origin = f"http://localhost:{port}"
    with sandbox.running("--front-end", "--front-end-port", str(port)) as greeting:
        assert f"Front end    {origin} " in greeting
        service = greeting.partition("Service ")[2].split()[0]
        with httpx.Client(base_url=service) as client:
            visitor = Visitor(f"http://127.0.0.1:{port}/api/auth", origin, client)
            with visitor.auth:
                assert visitor.sign_up().status_code == 200
                created = visitor.call("POST", "/api/me/tasks", json={"title": "Buy milk"})
                assert created.status_code == 201


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
    with pytest.raises(SystemExit, match=rf"\A.*{reason}.*\Z"):
        check_node()


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
    assert processes_in(sandbox.folder) == []


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
    assert processes_in(sandbox.folder) == []


def test_a_port_that_is_invalid_or_taken_is_named(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in ("65536", str(taken.getsockname()[1])):
            process = sandbox.start("--port", port)
            assert f"Port {port} cannot be used" in process.communicate(timeout=30)[0]
            assert process.returncode == 1


def test_the_service_does_not_import_the_sandbox() -> None:
    script = "import application, sys; print('sandbox' in sys.modules)"
    assert run(sys.executable, "-c", script, cwd=ROOT) == "False\n"
