"""The way to PostgreSQL: psycopg2's asynchronous connections, and `SessionDep`."""

import asyncio
import logging
import select
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Annotated, Any, Final

import psycopg2
from fastapi import Depends, Request, Response
from opentelemetry import metrics
from psycopg2 import extensions

from dependencies.telemetry import statement_span, statement_tracer
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
    """The session that all requests share (models.session.Session), and its pool of connections.

    Each statement has a connection to itself for as long as it runs, and waits for one for
    `WAIT_SECONDS` at most. It is a transaction by itself: such connections know nothing else.
    """

    def __init__(self, url: str, pool_size: int) -> None:
        self._url = url
        # Where connections are opened, because libpq looks up a host's name as it pleases. As many
        # as connections, so that opening one never waits for another.
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="connect")
        self._free = asyncio.Semaphore(pool_size)
        # The last one used is the first taken, so that those not needed age and Neon may sleep.
        self._idle: list[_Connection] = []
        self._tracer = statement_tracer()
        self.is_sound = False
        """Whether a check found nothing wrong, and nothing failed since: see /health/ready."""

    async def first(self, statement: str, params: Mapping[str, object]) -> tuple[Any, ...] | None:
        """Send a statement, and give the first row of what comes back.

        Raises UnavailableError when no connection came free in time, and psycopg2's own errors,
        without what they quote of the row: OperationalError and its like when PostgreSQL is away.
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
            return await self._try_twice(statement, params)
        except psycopg2.Error as error:
            self.is_sound = False
            # The lines after the first quote the row, hash and all.
            error.args = (str(error).partition("\n")[0],)
            raise
        finally:
            _connections.add(-1, _USED)
            self._free.release()

    def close(self) -> None:
        """Close every connection."""
        for connection in self._idle:
            connection.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _try_twice(
        self, statement: str, params: Mapping[str, object]
    ) -> tuple[Any, ...] | None:
        """Send it, and again when its connection broke while it read: a write may be done."""
        connection = await self._take()
        try:
            return await self._send(connection, statement, params)
        except DeadlineError:
            raise
        except psycopg2.Error:
            if connection.is_open or not statement.startswith("SELECT"):
                raise
        return await self._send(await self._take(), statement, params)

    async def _send(
        self, connection: "_Connection", statement: str, params: Mapping[str, object]
    ) -> tuple[Any, ...] | None:
        try:
            with statement_span(self._tracer, statement) if self._tracer else nullcontext():
                return await connection.first(statement, params)
        finally:
            if connection.is_open:
                self._idle.append(connection)

    async def _take(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()
            is_long_idle = time.monotonic() - connection.last_used > IDLE_SECONDS
            if connection.is_alive() and not (is_long_idle and await connection.is_silent()):
                return connection
            connection.close()
            if is_long_idle:
                # Those below it are so for longer: to try each could cost a deadline each.
                while self._idle:
                    self._idle.pop().close()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return _Connection(
                    await asyncio.get_running_loop().run_in_executor(
                        self._threads, _connect, self._url
                    )
                )
        except TimeoutError:
            raise DeadlineError("PostgreSQL could not be reached in time") from None


def _connect(url: str) -> extensions.connection:
    """Open an asynchronous connection, and wait for it with the thread in hand."""
    connection = psycopg2.connect(url, async_=True)
    deadline = time.monotonic() + CONNECT_SECONDS
    while (state := connection.poll()) != extensions.POLL_OK:
        poller = select.poll()
        wanted = select.POLLOUT if state == extensions.POLL_WRITE else select.POLLIN
        poller.register(connection.fileno(), wanted)
        if not poller.poll(max(0, deadline - time.monotonic()) * 1000):
            connection.close()
            raise DeadlineError("PostgreSQL could not be reached in time")
    return connection


class _Connection:
    """One connection of psycopg2's asynchronous kind, on the running event loop.

    psycopg2 sends a statement and returns; its `poll` is called whenever there is something to
    read, until there is an answer. Every error but a refused statement's closes the connection.
    """

    def __init__(self, connection: extensions.connection) -> None:
        self._connection = connection
        self._file = connection.fileno()
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[None] | None = None
        self.is_open = True
        self.last_used = time.monotonic()
        self._loop.add_reader(self._file, self._go_on)

    async def first(
        self, statement: str, params: Mapping[str, object] | None = None
    ) -> tuple[Any, ...] | None:
        """Send a statement and give the first row of its result, in `STATEMENT_SECONDS` at most.

        Raises psycopg2's errors, DeadlineError among them.
        """
        answer = self._answer = self._loop.create_future()
        deadline = self._loop.call_later(STATEMENT_SECONDS, self._give_up)
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, params)
                self._go_on()
                await answer
                row: tuple[Any, ...] | None = cursor.fetchone()
        except BaseException:
            # Nobody would take what is still to come.
            if self._connection.closed or self._connection.isexecuting():
                self.close()
            raise
        finally:
            deadline.cancel()
            self._answer = None
        self.last_used = time.monotonic()
        return row

    def is_alive(self) -> bool:
        """Tell, without a round trip, whether PostgreSQL has said goodbye."""
        try:
            if self.is_open:
                self._connection.poll()
        except psycopg2.Error:
            self.close()
        return self.is_open

    async def is_silent(self) -> bool:
        """Tell, by a round trip, whether a firewall has dropped the connection without a word."""
        try:
            await self.first("SELECT 1")
        except psycopg2.Error:
            return True
        return False

    def close(self) -> None:
        """Close it, whatever runs."""
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._file)
            self._loop.remove_writer(self._file)
            self._connection.close()

    def _go_on(self) -> None:
        """Read and write as far as it goes; what comes unasked is goodbye."""
        try:
            state = self._connection.poll()
        except psycopg2.Error as error:
            if self._answer is None:
                self.close()
            else:
                self._settle(error)
            return
        if state == extensions.POLL_WRITE:
            # The statement is longer than what the socket takes at once.
            self._loop.add_writer(self._file, self._go_on)
            return
        self._loop.remove_writer(self._file)
        if state == extensions.POLL_OK:
            self._settle()

    def _give_up(self) -> None:
        self._settle(DeadlineError("PostgreSQL did not answer in time"))

    def _settle(self, error: psycopg2.Error | None = None) -> None:
        if self._answer is None or self._answer.done():
            return
        if error is None:
            self._answer.set_result(None)
        else:
            self._answer.set_exception(error)


async def database_problem(request: Request, error: Exception) -> Response:
    """Answer 503 when PostgreSQL is away, too slow or too busy; what it says is for the log."""
    logger.warning("database unavailable: %s", error)
    return await http_problem(
        request, UnavailableError("The database is not available: try again shortly.")
    )


async def get_session(request: Request) -> Database:
    """Give the application's database."""
    database: Database = request.app.state.database
    return database


SessionDep = Annotated[Database, Depends(get_session)]
