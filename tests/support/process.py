"""The service as its users start it: `uvicorn main:app`, a process with an environment."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx

from dependencies.settings import Settings

ROOT = Path(__file__).parents[2]
_NOT_OURS = {
    name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields
}
_READY = re.compile(r"Uvicorn running on (http://[0-9.]+:[0-9]+)")


def production_options(**changes: str) -> list[str]:
    """Give the options of the README's production command, some of them with other values."""
    readme = (ROOT / "README.md").read_text()
    command = readme.partition("uv run --no-dev uvicorn main:app ")[2].partition("```")[0]
    words = command.replace("\\\n", " ").split()
    for name, value in changes.items():
        words[words.index(f"--{name.replace('_', '-')}") + 1] = value
    return words


def start(
    folder: Path,
    environment: Mapping[str, str],
    *options: str,
    stderr: int | IO[str] = subprocess.PIPE,
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
        stderr=stderr,
        text=True,
    )


def failed_start(folder: Path, environment: Mapping[str, str], *options: str) -> tuple[int, str]:
    """Start uvicorn, which is to stop by itself; gives its exit status and what it said."""
    with start(folder, environment, *options) as process:
        try:
            _, said = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.terminate()
            raise
    return process.returncode, said


@contextmanager
def running_process(
    folder: Path, environment: Mapping[str, str], *options: str
) -> Iterator[tuple[httpx.Client, list[str]]]:
    """Run uvicorn; gives a client and the lines of its log, which is complete in the end."""
    with start(folder, environment, *options) as process:
        assert process.stderr is not None
        lines: list[str] = []
        # Reading its log waits for as long as it lives.
        deadline = threading.Timer(60, process.kill)
        deadline.start()
        try:
            for line in process.stderr:
                lines.append(line)
                if ready := _READY.search(line):
                    with httpx.Client(base_url=ready[1], timeout=30) as client:
                        yield client, lines
                    break
            else:
                raise RuntimeError("".join(lines))
        finally:
            process.terminate()
            deadline.cancel()
            lines += process.stderr.readlines()
