"""The set-ups that the guide shows, each running in front of a service of its own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest

from tests.better_auth.frontend import Stack, running_stack
from tests.better_auth.toolchain import build
from tests.conftest import MakeDatabase

RunStack = Callable[..., AbstractContextManager[Stack]]


@pytest.fixture(scope="session")
def run_stack(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, make_database: MakeDatabase
) -> RunStack:
    """Return a context manager that runs the set-up in a file, such as "lib/auth"."""
    build()
    folder = tmp_path_factory.mktemp("better-auth")
    return partial(
        running_stack, folder=folder, database_url=database_url, make_database=make_database
    )


@pytest.fixture(scope="session")
def stock(run_stack: RunStack) -> Iterator[Stack]:
    """Run set-up A; the tests of one worker share it, each with visitors of its own."""
    with run_stack("lib/auth") as stack:
        yield stack


@pytest.fixture(scope="session")
def backend_ids(run_stack: RunStack) -> Iterator[Stack]:
    """Run set-up B."""
    with run_stack("lib/auth-backend-ids") as stack:
        yield stack


@pytest.fixture(scope="session")
def one_password_store(run_stack: RunStack) -> Iterator[Stack]:
    """Run set-up C."""
    with run_stack("lib/auth-one-password-store") as stack:
        yield stack
