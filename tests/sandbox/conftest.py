"""A folder for the tests of the sandbox, and the processes that name it."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that PostgreSQL's user can enter; a second run closes pytest's own."""
    with TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


def processes_in(folder: Path) -> list[str]:
    """Return the command lines that name the folder."""
    commands = [" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
    return [command for command in commands if str(folder) in command]
