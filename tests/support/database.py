"""Access to a database past the service."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

import psycopg2
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import Session, make_engine


def execute(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows, if it has any."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []


def run_with_engine[T](
    url: str,
    use: Callable[[AsyncEngine], Coroutine[Any, Any, T]],
    pool_size: int = 1,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run a function with an engine of its own."""

    async def main() -> T:
        engine = make_engine(url, pool_size)
        try:
            return await use(engine)
        finally:
            await engine.dispose()

    return asyncio.run(main(), loop_factory=loop_factory)


def run_in_session[T](url: str, use: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
    """Run a function with a session of an engine of its own, which has one connection."""

    async def main(engine: AsyncEngine) -> T:
        async with Session(engine) as session:
            return await use(session)

    return run_with_engine(url, main)


def wait_until(happened: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something that happens in the background."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Activity:
    """What the other sessions of a database do (`pg_stat_activity`), and locks in their way."""

    def __init__(self, url: str) -> None:
        self._observer = psycopg2.connect(url)
        self._observer.autocommit = True
        self._holder = psycopg2.connect(url)
        self._own = (self._observer.info.backend_pid, self._holder.info.backend_pid)

    def close(self) -> None:
        """Close its own sessions."""
        self._holder.close()
        self._observer.close()

    def backends(self) -> dict[int, datetime]:
        """Return the sessions by process id, with the start of their last statement."""
        return dict(self._ask("pid, query_start", "true"))

    def waiting(self) -> int:
        """Return how many statements wait for a lock."""
        return len(self._ask("pid", "state = 'active' AND wait_event_type = 'Lock'"))

    def await_waiting(self, count: int) -> None:
        """Wait until that many statements wait for a lock."""
        wait_until(lambda: self.waiting() == count)

    @contextmanager
    def locking(self, statement: str) -> Iterator[None]:
        """Hold the locks that a statement takes."""
        with self._holder.cursor() as cursor:
            cursor.execute(statement)
        try:
            yield
        finally:
            self.unlock()

    def unlock(self) -> None:
        """Release the locks."""
        self._holder.rollback()

    def _ask(self, columns: str, condition: str) -> list[tuple[Any, ...]]:
        with self._observer.cursor() as cursor:
            cursor.execute(
                f"SELECT {columns} FROM pg_stat_activity WHERE backend_type = 'client backend'"  # noqa: S608
                f" AND datname = current_database() AND pid <> ALL(%s) AND {condition}",
                [list(self._own)],
            )
            return cursor.fetchall()
