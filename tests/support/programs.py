"""Programs that some tests need beside Python."""

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.database import wait_until


def run(*command: str | Path, **options: Any) -> str:
    """Run a program to its end and return its output; fail with that and its errors."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def running(*command: str | Path, port: int, **options: Any) -> Iterator[None]:
    """Run a program, once it listens on a port of this machine, for as long as the block does."""
    with subprocess.Popen(command, **options) as process:
        try:
            await_port(port)
            yield
        finally:
            process.terminate()


def need(program: str, advice: str) -> None:
    """Skip the test where a program is missing, with what to install; in CI it fails."""
    if shutil.which(program) is None:
        message = f"{program} is missing: {advice}"
        if "CI" in os.environ:
            pytest.fail(message)
        pytest.skip(message)


def need_package(program: str) -> None:
    """Install Debian's package of that name in CI; anywhere else one has to do that oneself."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if "CI" in os.environ and shutil.which(program) is None and os.geteuid() == 0:
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for command in (["update"], ["install", "--yes", "--no-install-recommends", program]):
                run("apt-get", *command, env=environment)
    need(program, f"install it (apt-get install {program})")


def free_port() -> int:
    """Return a free port of this machine, which the system gives to nobody in the meantime."""
    while True:
        # Below those that it gives to connections, or to servers that ask for any.
        port = 20_000 + secrets.randbelow(12_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def await_port(port: int) -> None:
    """Wait until a process listens on a port of this machine."""

    def is_open() -> bool:
        with socket.socket() as peer:
            return peer.connect_ex(("127.0.0.1", port)) == 0

    wait_until(is_open, 60)
