"""What every test starts from: a PostgreSQL, a key server, the service, and people."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg2
import pytest
from sqlalchemy import make_url

from dependencies.database import PatientConnection
from dependencies.migrations import upgrade
from sandbox.postgres import running_postgres
from tests.support.keyserver import KeyServer, running_key_server
from tests.support.service import Person, make_settings, running_service
from tests.support.tokens import SigningKey

MakeDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def postgres(testrun_uid: str) -> Iterator[str]:
    """Give the address of a PostgreSQL: CI's own, or one that all workers of this run share."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    # Not in pytest's own folder: a second run closes that to PostgreSQL's user while we are root.
    folder = Path(tempfile.gettempdir()) / f"todo-backend-{testrun_uid}"
    with running_postgres(folder, keep=False) as url:
        yield url


@pytest.fixture(scope="session")
def make_database(postgres: str) -> Iterator[MakeDatabase]:
    """Make empty databases, and drop them in the end."""
    names = []

    def run(statement: str) -> None:
        connection = psycopg2.connect(postgres, connection_factory=PatientConnection)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    def make() -> str:
        name = f"test_{uuid4().hex}"
        run(f"CREATE DATABASE {name}")
        names.append(name)
        return make_url(postgres).set(database=name).render_as_string(hide_password=False)

    yield make
    for name in names:
        run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def database_url(make_database: MakeDatabase) -> str:
    """Give a database with the newest schema, which the tests of one worker share."""
    url = make_database()
    upgrade(url)
    return url


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """Give the key that the shared key server's tokens are signed with."""
    return SigningKey()


@pytest.fixture(scope="session")
def key_server(key: SigningKey) -> Iterator[KeyServer]:
    """Run the key server that the tests of one worker share; nobody changes it."""
    with running_key_server(key) as server:
        yield server


@pytest.fixture(scope="session")
def client(database_url: str, key_server: KeyServer) -> Iterator[httpx.Client]:
    """Run the service that the tests of one worker share; each test brings its own people."""
    with running_service(make_settings(database_url, key_server.url)) as client:
        yield client


@pytest.fixture
def sign_in(client: httpx.Client, key: SigningKey) -> Callable[..., Person]:
    """Sign somebody in who is new, or has the claims that are given."""

    def sign_in(**claims: Any) -> Person:
        return Person(client, key, **claims)

    return sign_in


@pytest.fixture
def alice(sign_in: Callable[..., Person]) -> Person:
    """Give somebody with no tasks."""
    return sign_in()


@pytest.fixture
def bob(sign_in: Callable[..., Person]) -> Person:
    """Give somebody else."""
    return sign_in()
