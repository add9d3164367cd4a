"""Tests of the schema's revisions, on empty databases of their own."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url

from core.database import Session, make_engine
from core.logs import StartupError
from core.migrations import is_newest, upgrade
from tests.conftest import MakeDatabase
from tests.support.database import execute

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
    # Whoever holds the lock stands for the other process.
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
