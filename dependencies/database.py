"""The way to PostgreSQL: an engine, a bounded number of worker threads, and `SessionDep`."""

import asyncio
import logging
import select
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Annotated, Any, Concatenate, Final

import psycopg2
from fastapi import Depends, Request, Response
from psycopg2 import extensions
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlmodel import Session

from utils.problems import UnavailableError, http_problem

CONNECT_SECONDS: Final = 5
STATEMENT_SECONDS: Final = 10
WAIT_SECONDS: Final = 3
"""How long a request waits for one of the connections."""
IDLE_SECONDS: Final = 30
"""After how long without use a connection is tried before it is used again."""

logger = logging.getLogger(__name__)


class DeadlineError(psycopg2.OperationalError):
    """PostgreSQL did not answer in time; the connection is closed."""


class Database:
    """An engine, and as many threads as it has connections.

    A request waits for a thread, asynchronously and for 3 seconds at most; the thread then finds a
    connection free, and holds it only while its statement runs.
    """

    def __init__(self, url: str, pool_size: int) -> None:
        self.engine = make_engine(url, pool_size)
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="database")
        self._free = asyncio.Semaphore(pool_size)

    async def run_sync[**P, T](
        self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work` with a session in a worker thread, as SQLAlchemy's AsyncSession does.

        Raises UnavailableError when no connection came free in time.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise UnavailableError("The database is too busy: try again shortly.") from None
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, copy_context().run, partial(self._work, work, *args, **kwargs)
            )
        finally:
            self._free.release()

    def _work[**P, T](
        self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        try:
            with Session(self.engine) as session:
                return work(session, *args, **kwargs)
        except DBAPIError as error:
            # A read whose connection breaks is tried once more. A write may have been done.
            is_read = (error.statement or "").startswith("SELECT")
            if not (error.connection_invalidated and is_read) or isinstance(
                error.orig, DeadlineError
            ):
                raise
        with Session(self.engine) as session:
            return work(session, *args, **kwargs)

    def close(self) -> None:
        """Let running statements end and close every connection."""
        self._threads.shutdown()
        self.engine.dispose()


def make_engine(url: str, pool_size: int) -> Engine:
    """Make an engine for a libpq address, in autocommit: a statement is a transaction.

    libpq reads the address itself, so that every parameter in it counts. Nothing is sent that
    Neon's pooled host (PgBouncer) does not take: time-outs are kept on this side.
    """
    # psycopg2 has one wait callback a process, and no read time-out without it.
    extensions.set_wait_callback(_wait)
    engine = create_engine(
        "postgresql+psycopg2://",
        creator=partial(psycopg2.connect, url),
        isolation_level="AUTOCOMMIT",
        # No ROLLBACK when a connection comes back: in autocommit there is nothing to undo.
        pool_reset_on_return=None,
        skip_autocommit_rollback=True,
        # Each new connection would ask for the type's number first.
        use_native_hstore=False,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=WAIT_SECONDS,
        # The last one used is the first taken, so that those not needed age and Neon may sleep.
        pool_use_lifo=True,
        # Titles, e-mail addresses and hashes are parameters.
        hide_parameters=True,
    )
    event.listen(engine, "checkin", _note_last_use)
    event.listen(engine, "checkout", _check_connection)
    return engine


def _note_last_use(_connection: Any, record: Any) -> None:  # noqa: ANN401 - as SQLAlchemy calls it
    record.info["last_used"] = time.monotonic()


def _check_connection(connection: Any, record: Any, _proxy: Any) -> None:  # noqa: ANN401 - as SQLAlchemy calls it
    """Refuse a pooled connection that is closed, so that the pool opens another.

    PostgreSQL says nothing unasked but goodbye: a socket with something to read is a closed one.
    That costs no round trip; after a long time idle, when a firewall may have dropped the
    connection without a word, one is spent.
    """
    last_used = record.info.get("last_used")
    if last_used is None:
        return
    try:
        if _ready(connection, select.POLLIN, seconds=0):
            raise DisconnectionError
        if time.monotonic() - last_used > IDLE_SECONDS:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
    except psycopg2.Error as error:
        raise DisconnectionError from error


def _wait(connection: extensions.connection) -> None:
    """Wait for PostgreSQL as libpq would, but not for ever.

    Raises DeadlineError; psycopg2 then closes the connection.
    """
    connecting = connection.status == extensions.STATUS_SETUP
    deadline = time.monotonic() + (CONNECT_SECONDS if connecting else STATEMENT_SECONDS)
    while (state := connection.poll()) != extensions.POLL_OK:
        event_mask = select.POLLOUT if state == extensions.POLL_WRITE else select.POLLIN
        if not _ready(connection, event_mask, seconds=max(0, deadline - time.monotonic())):
            raise DeadlineError("PostgreSQL did not answer in time")


def _ready(connection: extensions.connection, event_mask: int, *, seconds: float) -> bool:
    poller = select.poll()
    poller.register(connection.fileno(), event_mask)
    return bool(poller.poll(seconds * 1000))


async def database_problem(request: Request, error: Exception) -> Response:
    """Answer 503 when PostgreSQL is away, too slow or too busy; what it says is for the log."""
    assert isinstance(error, DBAPIError)  # noqa: S101 - registered for its subclasses alone
    logger.warning("database unavailable: %s", " ".join(str(error.orig).split()))
    return await http_problem(
        request, UnavailableError("The database is not available: try again shortly.")
    )


async def get_session(request: Request) -> Database:
    """Give the application's database."""
    database: Database = request.app.state.database
    return database


SessionDep = Annotated[Database, Depends(get_session)]
