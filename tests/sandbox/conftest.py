"""A folder for the tests of the sandbox."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that PostgreSQL's user can enter; a second run closes pytest's own."""
    with TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)
