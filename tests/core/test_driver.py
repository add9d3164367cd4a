"""Tests of the private parts of libraries that the driver uses: they fail when those change."""

import asyncio
import ctypes
from typing import Any

from psycopg2 import _psycopg, extensions
from sqlalchemy import event
from sqlmodel import func, select

from core.database import make_engine
from core.driver import AsyncioCursor


def test_sqlalchemy_closes_the_cursor_of_a_result_by_its_private_name(database_url: str) -> None:
    """Where it no longer does, `AsyncioCursor` can go."""
    closed: list[str] = []

    class NotingCursor(AsyncioCursor):
        async def _async_soft_close(self) -> None:
            closed.append("soft")

    async def ask() -> None:
        engine = make_engine(database_url, 1)

        @event.listens_for(engine.sync_engine, "connect")
        def on_connect(connection: Any, _record: object) -> None:
            connection.cursor_factory = NotingCursor

        async with engine.connect() as connection:
            await connection.execute(select(func.now()))
        await engine.dispose()

    asyncio.run(ask())
    assert closed


def test_psycopg2s_own_module_has_the_libpq_that_it_uses() -> None:
    library = ctypes.CDLL(_psycopg.__file__)
    assert library.PQlibVersion() == extensions.libpq_version()
    # The first libpq that can cancel without blocking the interpreter, and over TLS.
    assert library.PQlibVersion() >= 170_000
    assert library.PQcancelCreate
