"""psycopg2 on the event loop: an asyncio dialect for SQLAlchemy.

psycopg2 calls a "wait callback" whenever it would block: its documented support for coroutine
libraries. Inside SQLAlchemy's greenlet that callback awaits the event loop, so that the stock
psycopg2 dialect, transactions included, runs unchanged (docs/decisions/0006).
"""

import asyncio
import ctypes
import math
import os
import select
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from math import ceil
from typing import Any, Final, NamedTuple, override

import psycopg2
from psycopg2 import _psycopg, extensions
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import await_only

from core.telemetry import statement_span, statement_tracer

CONNECT_SECONDS: Final = 5
STATEMENT_SECONDS: Final = 10
IDLE_SECONDS: Final = 30
CANCEL_SECONDS: Final = 1
CANCEL_AGAIN_SECONDS: Final = 0.1


class Timeouts(NamedTuple):
    """How long the connections of an engine wait for PostgreSQL, in seconds."""

    connect: float = CONNECT_SECONDS
    statement: float = STATEMENT_SECONDS
    idle: float = IDLE_SECONDS
    """A connection that was idle for longer is checked by a round trip when it is taken."""
    cancel: float = CANCEL_SECONDS
    """How long a command that is given up keeps its connection, for the server to cancel it."""


TIMEOUTS: Final = Timeouts()

_statement_seconds: ContextVar[float | None] = ContextVar("statement_seconds", default=None)


@contextmanager
def statement_seconds(seconds: float | None) -> Iterator[None]:
    """Have the statements inside take `seconds` at most; None for what the engine allows."""
    token = _statement_seconds.set(seconds)
    try:
        yield
    finally:
        _statement_seconds.reset(token)


registry.register("postgresql.psycopg2_asyncio", __name__, "AsyncioDialect")

# libpq, as psycopg2 has loaded it: psycopg2's own `cancel()` holds the interpreter's lock while it
# waits for the server. `pgconn_ptr` is psycopg2's documented way to libpq.
_libpq: Final = ctypes.CDLL(_psycopg.__file__)
_libpq.PQcancelCreate.argtypes = [ctypes.c_void_p]
_libpq.PQcancelCreate.restype = ctypes.c_void_p
_libpq.PQcancelBlocking.argtypes = [ctypes.c_void_p]
_libpq.PQcancelFinish.argtypes = [ctypes.c_void_p]
_libpq.PQcancelFinish.restype = None


class DeadlineError(psycopg2.OperationalError):
    """PostgreSQL did not answer in time; the connection is closed."""


class AsyncioConnection(extensions.connection):
    """A psycopg2 connection whose commands wait on the event loop that it is attached to.

    The loop watches a duplicate of the socket's descriptor: libpq closes its own inside `poll()`
    when the connection dies, and the number could belong to a new client before the loop knows.
    psycopg2 closes the connection after any error in the wait callback: what the server still
    sends could not be told from the next result.
    """

    is_opening = True
    _loop: asyncio.AbstractEventLoop | None = None
    _waiter: asyncio.Future[None] | None = None
    _descriptor: int
    _broken: select.poll
    """Polls the descriptor for errors only."""
    _cancelling: ThreadPoolExecutor
    _timeouts: Timeouts
    _last_used: float
    """When the last command ended, on the monotonic clock."""

    def attach(self, cancelling: ThreadPoolExecutor, timeouts: Timeouts) -> None:
        """Wait on the running event loop from now on; `cancelling` sends cancel requests.

        Raises psycopg2.OperationalError when the process has too many open files.
        """
        self.is_opening = False
        self._cancelling = cancelling
        self._timeouts = timeouts
        try:
            self._descriptor = os.dup(self.fileno())
        except OSError as error:
            self.close()
            raise psycopg2.OperationalError(str(error)) from error
        self._broken = select.poll()
        self._broken.register(self._descriptor, 0)  # errors are told unasked
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._advance)
        self._last_used = time.monotonic()

    @property
    def is_attached(self) -> bool:
        """False once the connection is closed or the server has closed it."""
        return self._loop is not None

    @property
    def is_long_idle(self) -> bool:
        """Whether the last command ended so long ago that the connection may be gone unnoticed."""
        return time.monotonic() - self._last_used > self._timeouts.idle

    def wait(self) -> None:
        """Wait until the running command is over.

        Raises DeadlineError after `Timeouts.statement`, or what `statement_seconds` says. A command
        that is given up, by that or by a cancellation, is cancelled on the server as well.
        """
        if self._loop is None:
            raise psycopg2.OperationalError("the connection is closed")
        waiter = self._waiter = self._loop.create_future()
        seconds = min(_statement_seconds.get() or math.inf, self._timeouts.statement)
        deadline = self._loop.call_later(seconds, self._expire)
        try:
            self._advance()
            await_only(waiter)
        except psycopg2.Error as error:
            if isinstance(error, DeadlineError):
                self._cancel()
            self._detach()
            raise
        except BaseException:
            self._cancel()
            self._detach()
            raise
        finally:
            deadline.cancel()
            self._waiter = None
        self._last_used = time.monotonic()

    @override
    def close(self) -> None:
        self._detach()
        super().close()

    def _advance(self) -> None:
        """Read and write as far as possible without blocking."""
        if self._loop is None:
            return
        try:
            state = self.poll()
            # The server has closed the connection: read on until libpq meets the end. uvloop calls
            # the reader of a descriptor with an error only once.
            while state == extensions.POLL_READ and self._broken.poll(0):
                state = self.poll()
        except psycopg2.Error as error:
            if self._waiter is None:
                # The server has closed an idle connection: the next check of the pool finds out.
                self._detach()
            else:
                self._settle(error)
            return
        if state == extensions.POLL_WRITE:
            # The statement is longer than what the socket takes at once.
            self._loop.add_writer(self._descriptor, self._advance)
            return
        self._loop.remove_writer(self._descriptor)
        if state == extensions.POLL_OK:
            self._settle()

    def _expire(self) -> None:
        self._settle(DeadlineError("PostgreSQL did not answer in time"))

    def _settle(self, error: psycopg2.Error | None = None) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if error is None:
            self._waiter.set_result(None)
        else:
            self._waiter.set_exception(error)

    def _detach(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._loop = None

    def _cancel(self) -> None:
        """Have the server cancel the running command, and wait until it is over.

        The connection stays open until then: PgBouncer forgets what a client that has gone had
        running. Nor does the pool open another one in its place before.
        """
        if self._loop is not None:
            self._waiter = self._loop.create_future()
            sending = self._loop.create_task(self._send_cancels(self._loop, self._waiter))
            while not sending.done():
                # anyio cancels a task again and again until it ends.
                with suppress(asyncio.CancelledError):
                    await_only(asyncio.wait([sending]))

    async def _send_cancels(
        self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]
    ) -> None:
        """Send cancel requests until the command has ended.

        PgBouncer ignores one that comes before it has found a connection for the command.
        """
        with suppress(TimeoutError, psycopg2.Error):
            async with asyncio.timeout(self._timeouts.cancel):
                while True:
                    request = _libpq.PQcancelCreate(self.pgconn_ptr)
                    await loop.run_in_executor(self._cancelling, _send_cancel, request)
                    await asyncio.wait([ended], timeout=CANCEL_AGAIN_SECONDS)
                    if ended.done():
                        ended.result()
                        return


class AsyncioCursor(extensions.cursor):
    """A cursor with the one method that SQLAlchemy's asyncio extension asks for beyond the DBAPI.

    It has no public name, hence the upper bound of SQLAlchemy in `pyproject.toml`.
    """

    async def _async_soft_close(self) -> None:
        """Do nothing: psycopg2's cursors hold all of their rows."""


class Connector:
    """Opens connections, as an engine's `creator`.

    libpq looks up host names without asking anybody, so connections are opened in threads: as many
    as connections, so that opening one never waits for another.
    """

    def __init__(self, url: str, pool_size: int, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        # libpq holds a cancel request to the same time-out.
        self._dsn = extensions.make_dsn(url, connect_timeout=ceil(timeouts.connect))
        self._connecting = ThreadPoolExecutor(pool_size, thread_name_prefix="connect")
        self._cancelling = ThreadPoolExecutor(pool_size, thread_name_prefix="cancel")

    def __call__(self) -> AsyncioConnection:
        """Open a connection, inside SQLAlchemy's greenlet. Raises psycopg2.OperationalError."""
        connection = await_only(self._open())
        connection.attach(self._cancelling, self._timeouts)
        return connection

    async def _open(self) -> AsyncioConnection:
        try:
            async with asyncio.timeout(self._timeouts.connect):
                return await asyncio.get_running_loop().run_in_executor(
                    self._connecting, _connect, self._dsn
                )
        except TimeoutError:
            raise DeadlineError("PostgreSQL could not be reached in time") from None


class AsyncioDialect(PGDialect_psycopg2):
    """SQLAlchemy's psycopg2 dialect, for an async engine whose `creator` is a Connector."""

    driver = "psycopg2_asyncio"
    is_async = True
    has_terminate = True
    supports_statement_cache = True

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - as SQLAlchemy's
        super().__init__(**kwargs)  # type: ignore[no-untyped-call] # SQLAlchemy's
        self._tracer = statement_tracer()

    @classmethod
    @override
    def get_pool_class(cls, url: Any) -> type[AsyncAdaptedQueuePool]:
        return AsyncAdaptedQueuePool

    @override
    def do_ping(self, dbapi_connection: Any) -> bool:
        """Tell whether a connection of the pool is still good; by a round trip after a long idle.

        The event loop watches the socket, so the server's goodbye is known already; the round trip
        also finds out whether a firewall has dropped the connection silently.
        """
        if not dbapi_connection.is_attached:
            return False
        try:
            if dbapi_connection.is_long_idle:
                super().do_ping(dbapi_connection)  # type: ignore[no-untyped-call] # SQLAlchemy's
        except psycopg2.Error:
            return False
        return True

    @override
    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.close()

    @override
    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Send a statement. The errors are psycopg2's, without the lines that quote the row."""
        try:
            if self._tracer is None:
                cursor.execute(statement, parameters)
            else:
                with statement_span(self._tracer, statement):
                    cursor.execute(statement, parameters)
        except psycopg2.Error as error:
            error.args = (str(error).partition("\n")[0],)
            raise


def install_wait_callback() -> None:
    """Have psycopg2 wait as its connections want to: the callback is one for the whole process."""
    extensions.set_wait_callback(_wait)


def _wait(connection: extensions.connection) -> None:
    if isinstance(connection, AsyncioConnection) and not connection.is_opening:
        connection.wait()
    else:
        _wait_blocking(connection)


def _send_cancel(request: int) -> None:
    _libpq.PQcancelBlocking(request)
    _libpq.PQcancelFinish(request)


def _connect(dsn: str) -> AsyncioConnection:
    return check_encoding(
        psycopg2.connect(dsn, connection_factory=AsyncioConnection, cursor_factory=AsyncioCursor)
    )


def check_encoding[C: extensions.connection](connection: C) -> C:
    """Return the connection. Raises psycopg2.OperationalError where it cannot carry all text."""
    encodings = {connection.encoding, connection.get_parameter_status("server_encoding") or "UTF8"}
    if encodings != {"UTF8"}:
        connection.close()
        raise psycopg2.OperationalError(
            f"the database and its client_encoding have to be UTF8: {sorted(encodings)}"
        )
    return connection


def _wait_blocking(connection: extensions.connection) -> None:
    """Wait in the calling thread; for a connection that is being opened, `CONNECT_SECONDS`."""
    is_opening = isinstance(connection, AsyncioConnection)
    deadline = time.monotonic() + CONNECT_SECONDS
    while (state := connection.poll()) != extensions.POLL_OK:
        poller = select.poll()
        wanted = select.POLLOUT if state == extensions.POLL_WRITE else select.POLLIN
        poller.register(connection.fileno(), wanted)
        seconds_left = max(0.0, deadline - time.monotonic()) if is_opening else None
        if not poller.poll(None if seconds_left is None else seconds_left * 1000):
            raise DeadlineError("PostgreSQL could not be reached in time")
