"""The way to PostgreSQL: an engine, a bounded number of worker threads, and `SessionDep`."""

import asyncio
import logging
import select
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, Concatenate, Final

import psycopg2
from fastapi import Depends, Request, Response
from opentelemetry import metrics
from psycopg2 import extensions
from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet
from sqlmodel import Session

from dependencies.telemetry import trace_statements
from utils.problems import UnavailableError, http_problem

CONNECT_SECONDS: Final = 5
STATEMENT_SECONDS: Final = 10
WAIT_SECONDS: Final = 3
"""How long a request waits for one of the connections."""
IDLE_SECONDS: Final = 30
"""After how long without use a connection is tried before it is used again."""

_USED: Final = {"db.client.connection.state": "used"}

logger = logging.getLogger(__name__)
_connections = metrics.get_meter(__name__).create_up_down_counter(
    "db.client.connection.count", description="Connections to PostgreSQL, by their state."
)


class DeadlineError(psycopg2.OperationalError):
    """PostgreSQL did not answer in time; the connection is closed."""


class Database:
    """An engine on the event loop, and the sessions that have a connection open.

    psycopg2 is a library that waits; where it would, its wait callback lets the event loop go on
    and comes back (a greenlet, as in SQLAlchemy's own asyncio extension). So no request needs a
    thread. A request waits for one of the connections for 3 seconds at most.
    """

    def __init__(self, url: str, pool_size: int) -> None:
        self._engine = make_engine(url)
        trace_statements(self._engine)
        # Where connections are opened, because libpq looks up a host's name as it pleases. As many
        # as connections, so that opening one never waits for another.
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="connect")
        self._free = asyncio.Semaphore(pool_size)
        # The last one used is the first taken, so that those not needed age and Neon may sleep.
        self._idle: list[_Connected] = []
        self.is_sound = False
        """Whether a check found nothing wrong, and nothing failed since: see /health/ready."""

    async def run_sync[**P, T](
        self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work` with a session, as SQLAlchemy's AsyncSession does.

        It has a connection to itself for as long as it runs. Raises UnavailableError when none came
        free in time.
        """
        if self._free.locked():
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._free.acquire()
            except TimeoutError:
                raise UnavailableError("The database is too busy: try again shortly.") from None
        else:
            await self._free.acquire()
        _connections.add(1, _USED)
        try:
            return await greenlet_spawn(
                self._try_twice, lambda session: work(session, *args, **kwargs)
            )
        except DBAPIError as error:
            self.is_sound = False
            _forget_row(error)
            raise
        finally:
            _connections.add(-1, _USED)
            self._free.release()

    def close(self) -> None:
        """Close every connection."""
        for connected in self._idle:
            connected.session.invalidate()
        self._engine.dispose()
        self._threads.shutdown()

    def _try_twice[T](self, work: Callable[[Session], T]) -> T:
        """Do the work, and again when its connection broke while it read: a write may be done."""
        try:
            return self._try(work)
        except DBAPIError as error:
            is_read = (error.statement or "").startswith("SELECT")
            is_late = isinstance(error.orig, DeadlineError)
            if not (error.connection_invalidated and is_read) or is_late:
                raise
        return self._try(work)

    def _try[T](self, work: Callable[[Session], T]) -> T:
        connected = self._take()
        try:
            result = work(connected.session)
        except DBAPIError:
            connected.session.invalidate()
            raise
        except BaseException:
            # No fault of the connection's; or, if it was, the next one to take it will see.
            self._idle.append(connected)
            raise
        connected.last_used = time.monotonic()
        self._idle.append(connected)
        return result

    def _take(self) -> "_Connected":
        while self._idle:
            connected = self._idle.pop()
            if connected.is_open():
                return connected
            connected.session.invalidate()
            if connected.is_long_idle():
                # Those below it are so for longer: to try each could cost a deadline each.
                while self._idle:
                    self._idle.pop().session.invalidate()
        opening = asyncio.get_running_loop().run_in_executor(
            self._threads, _Connected, self._engine
        )
        return await_(opening)


class _Connected:
    """A session that keeps its connection from one request to the next.

    In autocommit that leaves nothing behind; to take a session apart and put it together again for
    each statement costs more than the statement.
    """

    def __init__(self, engine: Engine) -> None:
        self.session = Session(engine)
        self.last_used = time.monotonic()
        self._connection: Any = self.session.connection().connection.dbapi_connection

    def is_open(self) -> bool:
        """Tell whether PostgreSQL still listens.

        It says nothing unasked but goodbye: a socket with something to read is a closed one. That
        costs no round trip; after a long time idle, when a firewall may have dropped the connection
        without a word, one is spent.
        """
        try:
            if _ready(self._connection, extensions.POLL_READ, seconds=0):
                return False
            if self.is_long_idle():
                with self._connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
        except psycopg2.Error:
            return False
        return True

    def is_long_idle(self) -> bool:
        """Tell whether it has to be tried before it is used."""
        return time.monotonic() - self.last_used > IDLE_SECONDS


def _forget_row(error: DBAPIError) -> None:
    """Keep the first line of what PostgreSQL says: those after it quote the row, hash and all."""
    line = str(error.orig).partition("\n")[0]
    error.args = (line,)
    if error.orig is not None:
        error.orig.args = (line,)


class PatientConnection(extensions.connection):
    """A connection for migrations, whose statements may take their time."""

    statement_seconds = 3600


def make_engine(url: str, connection_factory: type[extensions.connection] | None = None) -> Engine:
    """Make an engine for a libpq address, in autocommit: a statement is a transaction.

    libpq reads the address itself, so that every parameter in it counts. Nothing is sent that
    Neon's pooled host (PgBouncer) does not take: time-outs are kept on this side.
    """
    # psycopg2 has one wait callback a process, and no read time-out without it.
    extensions.set_wait_callback(_wait)
    return create_engine(
        "postgresql+psycopg2://",
        creator=partial(psycopg2.connect, url, connection_factory=connection_factory),
        # Whoever wants to keep a connection keeps the session that has it.
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        # No ROLLBACK when a connection comes back: in autocommit there is nothing to undo.
        pool_reset_on_return=None,
        skip_autocommit_rollback=True,
        # Each new connection would ask for the type's number first.
        use_native_hstore=False,
        # Titles, e-mail addresses and hashes are parameters.
        hide_parameters=True,
    )


def _wait(connection: extensions.connection) -> None:
    """Wait for PostgreSQL as libpq would, but not for ever, and not with the event loop in hand.

    Raises DeadlineError; psycopg2 then closes the connection.
    """
    if connection.status == extensions.STATUS_SETUP:
        limit = CONNECT_SECONDS
    else:
        limit = getattr(connection, "statement_seconds", STATEMENT_SECONDS)
    deadline = time.monotonic() + limit
    while (state := connection.poll()) != extensions.POLL_OK:
        seconds = max(0, deadline - time.monotonic())
        if in_greenlet():
            ready = await_(_ready_soon(connection, state, seconds))
        else:
            ready = _ready(connection, state, seconds)
        if not ready:
            raise DeadlineError("PostgreSQL did not answer in time")


def _ready(connection: extensions.connection, state: int, seconds: float) -> bool:
    """Wait, with the thread in hand, until the connection can do what `state` says it wants to."""
    poller = select.poll()
    wanted = select.POLLOUT if state == extensions.POLL_WRITE else select.POLLIN
    poller.register(connection.fileno(), wanted)
    return bool(poller.poll(seconds * 1000))


async def _ready_soon(connection: extensions.connection, state: int, seconds: float) -> bool:
    """Wait likewise, while the event loop goes on."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def answer(value: bool) -> None:  # noqa: FBT001 - it is the answer
        if not ready.done():
            ready.set_result(value)

    file = connection.fileno()
    timer = loop.call_later(seconds, answer, False)
    try:
        if state == extensions.POLL_WRITE:
            loop.add_writer(file, answer, True)
        else:
            loop.add_reader(file, answer, True)
        return await ready
    finally:
        timer.cancel()
        loop.remove_writer(file)
        loop.remove_reader(file)


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
