"""What the tests of faults start from: a PostgreSQL that they may stop and kill."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from sandbox.postgres import running_postgres
from tests.support.postgres import OwnPostgres


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[OwnPostgres]:
    """Run a PostgreSQL that runs again whenever a test has ended."""
    # Not in pytest's own folder, which is closed to PostgreSQL's user.
    folder = Path(tempfile.gettempdir()) / f"todo-backend-{uuid4().hex}"
    with running_postgres(folder, keep=False):
        postgres = OwnPostgres(folder)
        yield postgres
        postgres.go_on()
