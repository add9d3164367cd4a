"""Tests of the schema's revisions, on empty databases of their own."""

import asyncio
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url

from core.database import Session, make_engine
from core.logs import StartupError
from core.migrations import is_newest, upgrade
from tests.conftest import MakeDatabase
from tests.support.database import execute, wait_until
from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem
from tests.support.process import start, variables
from tests.support.service import make_settings, running_service

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
LOCK = 0x746F646F


def newest(url: str) -> bool:
    async def ask() -> bool:
        engine = make_engine(url, 1)
        try:
            async with Session(engine) as session:
                return await is_newest(session)
        finally:
            await engine.dispose()

    return asyncio.run(ask())


def test_a_process_waits_while_another_brings_the_database_up(make_database: MakeDatabase) -> None:
    url = make_database()
    assert not newest(url)
    # The holder of the lock stands for the other process.
    holder = psycopg2.connect(url)
    with ThreadPoolExecutor(1) as threads, holder:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        waiting = threads.submit(upgrade, url)
        time.sleep(0.4)
        assert not waiting.done()
        holder.rollback()
        waiting.result(30)
    holder.close()
    assert newest(url)
    upgrade(url)
    assert newest(url)


@pytest.mark.slow
def test_a_start_that_waits_for_another_migration_says_so_and_can_be_ended(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    url = make_database()
    log = tmp_path / "log"
    with closing(psycopg2.connect(url)) as holder, log.open("w") as writing:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        environment = variables(url, "http://localhost:1/jwks")
        process = start(tmp_path, environment, log=writing)
        try:
            wait_until(lambda: "waiting for another process" in log.read_text(), 60)
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert process.wait(30) != 0
            assert time.monotonic() - began < 5
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text()
    assert not newest(url)


@pytest.fixture
def latin_database(postgres: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    execute(
        postgres,
        f"CREATE DATABASE {name} ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )
    yield make_url(postgres).set(database=name).render_as_string(hide_password=False)
    execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_database_that_is_not_utf8_stops_the_start_with_one_line(
    latin_database: str, postgres: str
) -> None:
    latin_client = make_url(postgres).update_query_dict({"client_encoding": "latin1"})
    for url in (latin_database, latin_client.render_as_string(hide_password=False)):
        with pytest.raises(StartupError, match=r"DATABASE_URL: .*UTF8") as raised:
            upgrade(url)
        assert "\n" not in str(raised.value)


def test_a_database_that_is_not_utf8_serves_nothing_without_migrations_either(
    latin_database: str, key_server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise some texts would be stored, and others be 500."""
    with running_service(make_settings(latin_database, key_server.url)) as client:
        assert_problem(client.get("/health/ready"), 503)
    assert "UTF8" in caplog.text


def test_a_database_of_a_newer_release_stops_the_start_and_is_left_alone(
    make_database: MakeDatabase,
) -> None:
    url = make_database()
    upgrade(url)
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartupError, match="another release"):
        upgrade(url)
    assert not newest(url)


def test_a_role_that_may_not_make_tables_stops_the_start_with_one_line(
    make_database: MakeDatabase,
) -> None:
    url = make_database()
    name = f"reader_{time.monotonic_ns()}"
    # The password stays that of the address: not every PostgreSQL trusts local connections.
    execute(url, f"CREATE ROLE {name} LOGIN PASSWORD %s", make_url(url).password or "")
    try:
        with pytest.raises(StartupError, match="permission denied") as raised:
            upgrade(make_url(url).set(username=name).render_as_string(hide_password=False))
        assert "\n" not in str(raised.value)
    finally:
        execute(url, f"DROP ROLE {name}")


def test_the_revisions_make_the_schema_of_the_models_and_can_be_taken_back(
    make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database()
    monkeypatch.setenv("DATABASE_URL", url)
    config = Config(toml_file=PROJECT)
    command.upgrade(config, "head")
    command.check(config)
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    assert newest(url)
