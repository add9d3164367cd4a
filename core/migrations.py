"""Migrations: the schema's revisions (`migrations/`), and the upgrade at start-up."""

import asyncio
import functools
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg2.errors import UndefinedTable
from sqlalchemy.exc import ProgrammingError

from core.database import Session, compile_statement
from core.settings import StartupError

VERSION_TABLE: Final = "todo_backend_version"
"""Where Alembic keeps the schema's revision: `alembic_version` may be another application's."""

OUTDATED: Final = "The database's schema is not the newest: run the migrations."

_PROJECT: Final = Path(__file__).parents[1] / "pyproject.toml"
_STATE: Final = compile_statement(
    # A replica that follows another server is read-only too.
    sa.select(
        sa.column("version_num"), sa.literal_column("current_setting('transaction_read_only')")
    ).select_from(sa.table(VERSION_TABLE)),
    is_repeatable=True,
)

logger = logging.getLogger(__name__)


async def upgrade_at_start(url: str) -> None:
    """Run `upgrade` in a thread. Raises StartupError, also when a signal is to end the process.

    uvicorn looks at signals only once the start-up is over, and a migration may wait for as long
    as another process holds its lock. The end of the process does not wait for a daemon thread.
    """
    future: Future[None] = Future()
    # So that a cancellation ends the wait alone, and the thread may still set the outcome.
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            upgrade(url)
        except Exception as error:  # noqa: BLE001 - it is raised in the caller's thread
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=work, name="migrations", daemon=True).start()
    upgraded = asyncio.wrap_future(future)
    with _on_stop_signal(upgraded.cancel):
        try:
            await upgraded
        except asyncio.CancelledError:
            raise StartupError("stopped before the database was migrated") from None


@contextmanager
def _on_stop_signal(action: Callable[[], object]) -> Iterator[None]:
    """Have SIGINT and SIGTERM run an action on the event loop too; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(action)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def upgrade(url: str) -> None:
    """Bring the database to the newest revision; safe when several processes do it at once.

    Raises StartupError, with one line that says why it cannot.
    """
    try:
        command.upgrade(Config(toml_file=_PROJECT, attributes={"url": url}), "head")
    except CommandError as error:
        raise StartupError(str(error)) from None


async def find_fault(session: Session) -> str | None:
    """Return why the database cannot serve this release, as a sentence; None if it can."""
    try:
        row = await session.fetch_one(_STATE, {})
    except ProgrammingError as error:
        if not isinstance(error.orig, UndefinedTable):
            raise
        row = None
    fault = None
    if row is None or row[0] != _newest():
        fault = OUTDATED
    elif row[1] == "on":
        fault = "The database is read-only: connect to the primary."
    if fault:
        logger.warning("not ready: %s", fault)
    return fault


@functools.cache
def _newest() -> str | None:
    return ScriptDirectory.from_config(Config(toml_file=_PROJECT)).get_current_head()
