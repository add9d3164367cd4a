"""What every test starts from: a PostgreSQL, a key server, the service, and people."""

import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg2
import pytest
from hypothesis import settings
from sqlalchemy import make_url

from core.migrations import upgrade
from sandbox.postgres import running_postgres
from tests.support.database import execute
from tests.support.keyserver import KeyServer, running_key_server
from tests.support.proxy import PostgresProxy, running_proxy
from tests.support.service import Adapt, Person, make_settings, quick_hashes, running_service
from tests.support.tokens import SigningKey

MakeDatabase = Callable[[], str]
Serve = Callable[..., httpx.Client]
SignIn = Callable[..., Person]


@pytest.hookimpl(wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Return one worker more than xdist would start: many tests wait for something."""
    return (yield) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Start the PostgreSQL that all workers of this run share, unless CI names its own."""
    # The same examples in each run, unless `scripts/fuzz` has chosen a seed.
    is_fixed = "FUZZ" not in os.environ
    settings.register_profile("todo", derandomize=is_fixed, database=None, print_blob=True)
    settings.load_profile("todo")
    if hasattr(config, "workerinput"):
        return
    if "TEST_DATABASE_URL" in os.environ:
        check_role(os.environ["TEST_DATABASE_URL"])
    else:
        # Not in pytest's own folder, which a second run closes to PostgreSQL's user.
        folder = Path(tempfile.gettempdir()) / f"todo-backend-{uuid4().hex}"
        stack = ExitStack()
        config.add_cleanup(stack.close)
        url = stack.enter_context(running_postgres(folder, keep=False))
        os.environ["TEST_DATABASE_URL"] = url
        # What these databases hold need not survive the machine.
        execute(url, "ALTER SYSTEM SET fsync = off")
        execute(url, "SELECT pg_reload_conf()")


def check_role(url: str) -> None:
    """Raise UsageError where the tests could not create the databases and roles that they need."""
    try:
        ((role, may_create),) = execute(
            url,
            "SELECT rolname, rolsuper OR (rolcreatedb AND rolcreaterole)"
            " FROM pg_roles WHERE rolname = current_user",
        )
    except psycopg2.Error as error:
        cause = " ".join(str(error).split())
        raise pytest.UsageError(f"TEST_DATABASE_URL cannot be used: {cause}") from None
    if not may_create:
        raise pytest.UsageError(
            "TEST_DATABASE_URL: the tests create databases and roles, which this role may not:"
            f' ALTER ROLE "{role}" CREATEDB CREATEROLE'
        )


@pytest.fixture(scope="session")
def postgres() -> str:
    """Return the address of a PostgreSQL in which databases may be created."""
    return os.environ["TEST_DATABASE_URL"]


@pytest.fixture(scope="session")
def make_database(postgres: str) -> Iterator[MakeDatabase]:
    """Make empty databases, and drop them in the end."""
    names = []

    def make() -> str:
        name = f"test_{uuid4().hex}"
        execute(postgres, f"CREATE DATABASE {name}")
        names.append(name)
        return make_url(postgres).set(database=name).render_as_string(hide_password=False)

    yield make
    for name in names:
        execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def database_url(make_database: MakeDatabase) -> str:
    """Return a database with the newest schema, which the tests of one worker share."""
    url = make_database()
    upgrade(url)
    return url


@pytest.fixture
def own_database(make_database: MakeDatabase) -> str:
    """Return a database with the newest schema, for one test alone."""
    url = make_database()
    upgrade(url)
    return url


@pytest.fixture
def proxy(database_url: str) -> Iterator[PostgresProxy]:
    """Run a proxy before the workers' database."""
    with running_proxy(database_url) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """Return the key that the shared key server's tokens are signed with."""
    return SigningKey()


@pytest.fixture(scope="session")
def key_server(key: SigningKey) -> Iterator[KeyServer]:
    """Run the key server that the tests of one worker share; no test changes it."""
    with running_key_server(key) as server:
        yield server


@pytest.fixture(scope="session")
def client(database_url: str, key_server: KeyServer) -> Iterator[httpx.Client]:
    """Run the service that the tests of one worker share; each test brings its own people."""
    shared = make_settings(database_url, key_server.url)
    with running_service(shared, adapt=quick_hashes) as client:
        yield client


@pytest.fixture
def serve(database_url: str, key_server: KeyServer) -> Iterator[Serve]:
    """Run services of the test's own, by default on the shared database and key server."""
    with ExitStack() as stack:

        def serve(
            url: str = database_url,
            jwks_url: str = key_server.url,
            adapt: Adapt | None = None,
            **changes: Any,
        ) -> httpx.Client:
            own = make_settings(url, jwks_url, **changes)
            return stack.enter_context(running_service(own, adapt=adapt))

        yield serve


@pytest.fixture
def sign_in(client: httpx.Client, key: SigningKey) -> SignIn:
    """Sign in a new user, or one with these claims."""

    def sign_in(**claims: Any) -> Person:
        return Person(client, key, **claims)

    return sign_in


@pytest.fixture
def alice(sign_in: SignIn) -> Person:
    """Return a user without tasks."""
    return sign_in()


@pytest.fixture
def bob(sign_in: SignIn) -> Person:
    """Return another user."""
    return sign_in()
