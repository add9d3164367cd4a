"""Tests of the sandbox: what its user types, sees and pastes."""

import os
import re
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

from tests.support.programs import free_port

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]


class Sandbox:
    """A sandbox of a copy of the project, as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = ["--port", str(free_port()), "--issuer-port", str(free_port())]

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "sandbox", *(options or self.ports)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run it until the block ends, then press Ctrl-C; gives the greeting."""
        with self.start() as process:
            assert process.stdout is not None
            printed = greeting_of(process)
            draining = threading.Thread(target=process.stdout.read)
            draining.start()
            try:
                yield printed
            finally:
                os.killpg(process.pid, signal.SIGINT)
                assert process.wait(20) == 0
                draining.join()


def greeting_of(process: subprocess.Popen[str]) -> str:
    """Give what a sandbox prints until it is up."""
    assert process.stdout is not None
    printed = ""
    while "Ctrl-C stops" not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line
    return printed


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """Give a copy of the project, so that its data is this test's own."""
    for name in ("main.py", "pyproject.toml"):
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    for name in ("dependencies", "migrations", "models", "routers", "schemas", "utils", "sandbox"):
        (tmp_path / name).symlink_to(PROJECT / name)
    (tmp_path / "sandbox").unlink()
    (tmp_path / "sandbox").mkdir()
    for file in (PROJECT / "sandbox").glob("*.py"):
        (tmp_path / "sandbox" / file.name).write_bytes(file.read_bytes())
    return Sandbox(tmp_path)


def processes_of(sandbox: Sandbox) -> list[psutil.Process]:
    """Give those that name the sandbox's folder: its PostgreSQL's."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(sandbox.folder) in " ".join(process.info["cmdline"] or [])
    ]


def pasted(greeting: str) -> str:
    """Run the lines that the greeting says to paste, in a new shell; gives what they print."""
    lines = "\n".join(
        line for line in greeting.splitlines() if re.match(r"  (  -|  \||curl|TOKEN|ME)", line)
    )
    return subprocess.run(
        ["bash", "-euc", lines], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_the_lines_it_prints_sign_up_fetch_a_token_and_make_a_task(sandbox: Sandbox) -> None:
    with sandbox.running() as greeting:
        printed = pasted(greeting)
        assert printed.count('"title":"Buy milk"') == 2
        issuer = f"http://localhost:{sandbox.ports[-1]}/api/auth/token"
        refused = httpx.post(issuer, json={"email": "me@example.com", "password": "a wrong one"})
        assert (refused.status_code, refused.json()["status"]) == (401, 401)
        running = processes_of(sandbox)
        assert running
        again = sandbox.start()
        assert "runs already" in again.communicate(timeout=30)[0]
        assert again.returncode == 1
    _, alive = psutil.wait_procs(running, timeout=10)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]

    with sandbox.running() as greeting:
        assert pasted(greeting).count('"title":"Buy milk"') == 3, "the data survives"


@pytest.mark.parametrize("seconds", [0, 0.4])
def test_ctrl_c_while_it_starts_leaves_nothing_running(sandbox: Sandbox, seconds: float) -> None:
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
    assert processes_of(sandbox) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops_once_however_often_and_however_it_is_told_to(
    sandbox: Sandbox, number: signal.Signals
) -> None:
    with sandbox.start() as process:
        assert process.stdout is not None
        greeting_of(process)
        while process.poll() is None:
            os.killpg(process.pid, number)
            time.sleep(0.02)
        printed = process.stdout.read()
        assert printed.endswith("\nStopped.\n"), printed
        assert process.returncode == 0
    assert processes_of(sandbox) == []


def test_a_port_that_is_none_is_named(sandbox: Sandbox) -> None:
    process = sandbox.start("--port", "65536")
    assert "--port: invalid port value: '65536'" in process.communicate(timeout=30)[0]
    assert process.returncode == 2


def test_one_port_is_not_enough_for_two_servers(sandbox: Sandbox) -> None:
    port = str(free_port())
    process = sandbox.start("--port", port, "--issuer-port", port)
    assert f"Port {port} is in use" in process.communicate(timeout=30)[0]
    assert process.returncode == 1


def test_a_port_in_use_is_named(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = sandbox.start("--port", port, "--issuer-port", str(free_port()))
        assert f"Port {port} is in use" in process.communicate(timeout=30)[0]
        assert process.returncode == 1


def test_nothing_of_the_sandbox_is_reachable_in_the_service() -> None:
    imported = subprocess.run(
        [sys.executable, "-c", "import main, sys; print('sandbox' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    assert imported.stdout.strip() == "False"
