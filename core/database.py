"""The engine, the session, and statements that are compiled once."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Concatenate, Final, NamedTuple, override
from weakref import WeakValueDictionary

import psycopg2
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg2 as dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    create_async_engine,
)
from sqlalchemy.util import greenlet_spawn
from sqlmodel.ext.asyncio.session import AsyncSession

from core.driver import (
    TIMEOUTS,
    Connector,
    DeadlineError,
    Timeouts,
    install_wait_callback,
    statement_seconds,
)
from core.problems import UnavailableError

WAIT_SECONDS: Final = 3


def make_engine(
    url: str, pool_size: int, timeouts: Timeouts = TIMEOUTS, wait_seconds: float = WAIT_SECONDS
) -> AsyncEngine:
    """Make an engine for a libpq address, with a pool of at most `pool_size` connections.

    libpq reads the address itself, so that every parameter in it counts. `wait_seconds` is how
    long a request waits for a connection of the pool.
    """
    install_wait_callback()
    return create_async_engine(
        "postgresql+psycopg2_asyncio://",
        creator=Connector(url, pool_size, timeouts),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=wait_seconds,
        # Those that are not needed age, and Neon may suspend its compute.
        pool_use_lifo=True,
        pool_pre_ping=True,
        # Each new connection would ask for the type's number first.
        use_native_hstore=False,
        hide_parameters=True,
    )


@dataclass
class DatabaseHealth:
    """What is known of the database: set when a check succeeds, cleared when a statement fails."""

    is_good: bool = False


class AccountLimiter:
    """Limits what each account has in use at once, so that none keeps the others waiting.

    What is over `most` waits in turn for up to `wait_seconds`.
    """

    def __init__(self, most: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self._most = most
        self._wait_seconds = wait_seconds
        self._semaphores: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def acquire(self, account: str) -> asyncio.Semaphore:
        """Return what the account has to release. Raises UnavailableError after `wait_seconds`."""
        semaphore = self._semaphores.get(account)
        if semaphore is None:
            semaphore = self._semaphores[account] = asyncio.Semaphore(self._most)
        if semaphore.locked():
            try:
                async with asyncio.timeout(self._wait_seconds):
                    await semaphore.acquire()
            except TimeoutError:
                raise UnavailableError(
                    "This account has too many requests at once: try again shortly."
                ) from None
        else:
            await semaphore.acquire()
        return semaphore

    @asynccontextmanager
    async def use(self, account: str) -> AsyncIterator[None]:
        """Hold one for as long as the block runs; otherwise as `acquire`."""
        semaphore = await self.acquire(account)
        try:
            yield
        finally:
            semaphore.release()


class Compiled(NamedTuple):
    """A statement as the text that psycopg2 puts named parameters into."""

    text: str
    is_repeatable: bool
    """Whether it may be sent again when its connection breaks: it may have been carried out."""
    seconds: float | None = None
    """How long it may take, where that is less than other statements may."""


def compile_statement(statement: sa.ClauseElement, *, is_repeatable: bool = False) -> Compiled:
    """Compile a statement once; its parameters are those that it names by `bindparam`.

    Raises ValueError for a value that it carries itself: that would be left out.
    """
    compiled = statement.compile(dialect=dialect.dialect())  # type: ignore[no-untyped-call] # SQLAlchemy's
    if values := {name: value for name, value in compiled.params.items() if value is not None}:
        raise ValueError(f"write literal_column for {values}")
    return Compiled(str(compiled), is_repeatable)


def repeat_once[**P, T](
    function: Callable[Concatenate["Session", P], Awaitable[T]],
) -> Callable[Concatenate["Session", P], Coroutine[Any, Any, T]]:
    """Repeat a function that only reads, when its connection breaks while it waits.

    Not in a transaction that was open before: what it has done would be lost.
    """

    @functools.wraps(function)
    async def repeated(session: Session, *args: P.args, **kwargs: P.kwargs) -> T:
        if session.in_transaction():
            return await function(session, *args, **kwargs)
        try:
            return await function(session, *args, **kwargs)
        except DBAPIError as error:
            if not _is_broken(error):
                raise
            return await function(session, *args, **kwargs)

    return repeated  # type: ignore[return-value] # `session` is named here, and no more


def _is_broken(error: DBAPIError) -> bool:
    """Tell whether the connection broke, other than by a time-out.

    To repeat a statement after that would double the load of a database that is slow.
    """
    return error.connection_invalidated and not isinstance(error.orig, DeadlineError)


class Session(AsyncSession):
    """SQLModel's session, with a short way for a single statement in autocommit.

    Attributes stay loaded after a commit: there is no implicit query in asyncio code.
    """

    bind: AsyncEngine | AsyncConnection
    account: str | None = None
    """Whose request it is: its statements count against that account's share of connections."""

    def __init__(
        self,
        bind: AsyncEngine | AsyncConnection,
        connections: AccountLimiter | None = None,
        **options: Any,  # noqa: ANN401 - as SQLAlchemy's
    ) -> None:
        super().__init__(bind, expire_on_commit=False, **options)
        self._connections = connections

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Begin a transaction, or a savepoint where one is open.

        It is how each function of `models/` takes part in its caller's transaction: what fails in
        the function is rolled back alone.
        """
        if self.in_transaction():
            async with self.begin_nested():
                yield
        else:
            async with self._share(), self.begin():
                yield

    def _share(self) -> AbstractAsyncContextManager[None]:
        """Wait until the account may use one more connection."""
        if self._connections is None or self.account is None:
            return nullcontext()
        return self._connections.use(self.account)

    async def fetch_one(
        self, statement: Compiled, params: Mapping[str, object]
    ) -> tuple[Any, ...] | None:
        """Send a compiled statement and return the first row of its result.

        In a transaction of the session it is part of that. Otherwise it is sent in autocommit, in
        one round trip, and holds a connection of the pool for as long as it runs
        (docs/decisions/0006); a repeatable one whose connection breaks is sent once more. Raises
        SQLAlchemy's errors, as `exec` does. Objects that the session has loaded are not refreshed.
        """
        with statement_seconds(statement.seconds):
            if self.in_transaction():
                return await self._fetch_in_transaction(statement, params)
            if not isinstance(self.bind, AsyncEngine):
                async with self.transaction():
                    return await self._fetch_in_transaction(statement, params)
            engine = self.bind.sync_engine
            async with self._share():
                try:
                    return await greenlet_spawn(_fetch_one, engine, statement.text, params)
                except DBAPIError as error:
                    if not (statement.is_repeatable and _is_broken(error)):
                        raise
                    return await greenlet_spawn(_fetch_one, engine, statement.text, params)

    async def _fetch_in_transaction(
        self, statement: Compiled, params: Mapping[str, object]
    ) -> tuple[Any, ...] | None:
        await self.flush()
        connection = await self.connection()
        result = await connection.exec_driver_sql(statement.text, dict(params))
        row = result.first()
        return row and tuple(row)

    @override
    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the session; skip the close when no transaction is open, because it takes time."""
        if self.in_transaction():
            await super().__aexit__(type_, value, traceback)


def _fetch_one(
    engine: sa.Engine, text: str, params: Mapping[str, object]
) -> tuple[Any, ...] | None:
    try:
        connection = engine.raw_connection()
    except psycopg2.Error as error:
        raise _wrapped(text, error, is_disconnect=False) from error
    driver: Any = connection.dbapi_connection
    try:
        driver.autocommit = True
        cursor = driver.cursor()
        engine.dialect.do_execute(cursor, text, params)
        row: tuple[Any, ...] | None = cursor.fetchone()
        driver.autocommit = False
    except psycopg2.Error as error:
        is_disconnect = bool(driver.closed)
        if is_disconnect:
            connection.invalidate(error)
        else:
            driver.autocommit = False
        raise _wrapped(text, error, is_disconnect=is_disconnect) from error
    except BaseException:
        connection.invalidate()
        raise
    finally:
        connection.close()
    return row


def _wrapped(text: str, error: psycopg2.Error, *, is_disconnect: bool) -> BaseException:
    """Return the error that SQLAlchemy makes of a driver's."""
    return DBAPIError.instance(
        text,
        None,
        error,
        psycopg2.Error,
        hide_parameters=True,
        connection_invalidated=is_disconnect,
    )
