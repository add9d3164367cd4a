"""The service as its users start it: `uvicorn main:app`, a process with an environment."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import httpx

from core.settings import Settings
from tests.support.database import wait_until
from tests.support.tokens import AUDIENCE, ISSUER

ROOT = Path(__file__).parents[2]
_NOT_OURS = {
    name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields
}
_READY = re.compile(r"Uvicorn running on (http://[0-9.]+:[0-9]+)")


def variables(database_url: str, jwks_url: str) -> dict[str, str]:
    """Return the environment that a service needs, with nothing in it that has a default."""
    return {
        "DATABASE_URL": database_url,
        "JWKS_URL": jwks_url,
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
    }


def production_options(**changes: str) -> list[str]:
    """Return the options of the documented production command, on a port of this machine alone.

    `changes` are other values for some of them.
    """
    guide = (ROOT / "docs" / "operations.md").read_text()
    command = guide.partition("uv run --no-dev uvicorn main:app ")[2].partition("```")[0]
    words = command.replace("\\\n", " ").split()
    for name, value in {"host": "127.0.0.1", "port": "0", **changes}.items():
        words[words.index(f"--{name.replace('_', '-')}") + 1] = value
    return words


def start(
    folder: Path,
    environment: Mapping[str, str],
    *options: str,
    log: int | IO[str] = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start uvicorn in `folder`, where `.env` may be, with nothing set but `environment`."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "main:app", "--app-dir", str(ROOT)),
            *("--port", "0", *options),
        ],
        cwd=folder,
        env={**_NOT_OURS, **environment},
        stdout=subprocess.DEVNULL,
        stderr=log,
        text=True,
    )


def failed_start(folder: Path, environment: Mapping[str, str], *options: str) -> tuple[int, str]:
    """Start uvicorn, which has to stop by itself; return its exit status and its output."""
    with start(folder, environment, *options) as process:
        try:
            _, output = process.communicate(timeout=90)
        finally:
            process.terminate()
    return process.returncode, output


class Server(NamedTuple):
    """A running uvicorn, and the file of its log."""

    process: subprocess.Popen[str]
    url: str
    log: Path
    client: httpx.Client


@contextmanager
def running_server(folder: Path, environment: Mapping[str, str], *options: str) -> Iterator[Server]:
    """Run uvicorn; what is left of it in the end is terminated, and killed when that takes long."""
    path = folder / "log"
    with path.open("w") as log, start(folder, environment, *options, log=log) as process:

        def is_ready() -> bool:
            assert process.poll() is None, path.read_text()
            return _READY.search(path.read_text()) is not None

        try:
            wait_until(is_ready, 60)
            url = _READY.findall(path.read_text())[0]
            with httpx.Client(base_url=url, timeout=30) as client:
                yield Server(process, url, path, client)
        finally:
            process.terminate()
            try:
                process.wait(20)
            finally:
                process.kill()
