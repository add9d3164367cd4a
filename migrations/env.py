"""Run the revisions: for `alembic`, and for the service when it starts.

To write a revision, change the models and run:

    uv run python -m sandbox.postgres alembic revision --autogenerate -m "Tasks have a colour"

- A revision is one transaction that waits two seconds for a lock. Then it is rolled back, so that
  the requests behind it are served, and run again. Keep it short: what it locks, requests wait for.
- An index on a table that has rows belongs in a revision of its own, outside of a transaction:

      with op.get_context().autocommit_block():
          op.create_index(…, postgresql_concurrently=True, if_not_exists=True)

  What a process leaves half-built when it dies is dropped before the next try.
- The release before still runs while a revision does, and after it: only add.
"""

import importlib
import logging
import pkgutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg2
import sqlalchemy as sa
from alembic import context
from alembic.migration import MigrationContext
from alembic.operations import MigrationScript
from alembic.util import CommandError
from psycopg2 import errors as pg
from psycopg2.extensions import parse_dsn
from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
from sqlmodel import SQLModel

import models
from core.driver import CONNECT_SECONDS, check_encoding
from core.migrations import VERSION_TABLE
from core.settings import ConfigurationError, load_database_url

PAUSE_SECONDS: Final = 3
"""How long a revision waits before it tries again to get its locks."""

# Any number, the same for every process that migrates this database. Release 1.0 has another one,
# because it does not poll: see `_locked`.
_LOCK: Final = 0x746F646F_32

_NAME: Final = "todo-backend migrations"
# A statement may take its time here: it is the connection that must not fall silent. These are
# the socket's own time-outs, and nothing of them is sent to PostgreSQL.
_TIMEOUTS: Final = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# For one transaction, because PgBouncer keeps no session's. The others may be the role's own.
_LIMITS: Final = """
SELECT set_config(name, CASE name WHEN 'lock_timeout' THEN '2s' ELSE '0' END, true)
FROM pg_settings WHERE name IN
('lock_timeout', 'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')
"""
# Without the statement's text, which may contain personal data. The migration is found by its name,
# because PgBouncer may give each of its statements another backend.
_BLOCKERS: Final = sa.text("""
SELECT DISTINCT coalesce(wanted.relation::regclass::text, wanted.locktype) AS wanted,
    blocker AS pid, holder.usename AS role, holder.application_name AS application,
    holder.state, extract(epoch FROM now() - holder.xact_start)::bigint AS seconds
FROM pg_stat_activity AS waiting
JOIN pg_locks AS wanted ON wanted.pid = waiting.pid AND NOT wanted.granted
CROSS JOIN unnest(pg_blocking_pids(waiting.pid)) AS blocker
LEFT JOIN pg_stat_activity AS holder ON holder.pid = blocker
WHERE waiting.application_name = :name AND waiting.datname = current_database()
""")
_HALF_BUILT: Final = sa.text("""
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT indisvalid AND pg_table_is_visible(indrelid) AND relname = ANY(:names)
""")
_RELEASE_1: Final = {
    ("users", "id", "BIGINT"),
    ("users", "email", "TEXT"),
    ("users", "password_hash", "TEXT"),
    ("users", "auth_subject", "TEXT"),
    ("tasks", "id", "BIGINT"),
    ("tasks", "user_id", "BIGINT"),
    ("tasks", "title", "TEXT"),
    ("tasks", "description", "TEXT"),
    ("tasks", "completed", "BOOLEAN"),
    ("tasks", "updated_at", "TIMESTAMP WITH TIME ZONE"),
}
"""Some columns of release 1.0: enough to tell its tables from others of the same names."""

logger = logging.getLogger("migrations")

for module in pkgutil.iter_modules(models.__path__, "models."):
    importlib.import_module(module.name)


def _url() -> str:
    try:
        return load_database_url()
    except ConfigurationError as error:
        raise CommandError(str(error)) from None


def _make_engine(url: str) -> sa.Engine:
    """Make an engine for a libpq address.

    libpq reads the address itself, so that every parameter in it counts, time-outs too.
    """
    parameters = {**_TIMEOUTS, **parse_dsn(url), "application_name": _NAME}
    engine = sa.create_engine(
        "postgresql+psycopg2://",
        creator=lambda: check_encoding(psycopg2.connect(**parameters)),
        poolclass=sa.NullPool,
        # Otherwise the idle transaction that has the lock could hold up a concurrent index.
        isolation_level="READ COMMITTED",
        # Each new connection would ask for the type's number first.
        use_native_hstore=False,
    )

    @sa.event.listens_for(engine, "begin")
    def _set_limits(connection: sa.Connection) -> None:
        connection.exec_driver_sql(_LIMITS)

    return engine


def _migrate(engine: sa.Engine) -> None:
    """Run the command's revisions, one process at a time; try again until they have their locks."""
    finished = threading.Event()
    try:
        with _locked(engine):
            threading.Thread(target=_log_waits, args=(engine, finished), daemon=True).start()
            while not _try_to_run(engine):
                # Meanwhile the requests that waited behind the revision are served.
                time.sleep(PAUSE_SECONDS)
    except DBAPIError as error:
        raise CommandError(_explain(error)) from error
    except PendingRollbackError as error:
        # This is what is left of an error when the connection breaks in an `autocommit_block`.
        raise CommandError("the connection broke while the schema was migrated") from error
    finally:
        finished.set()


@contextmanager
def _locked(engine: sa.Engine) -> Iterator[None]:
    """Hold an advisory lock, so that one process migrates at a time.

    It belongs to a transaction that spans all revisions, because PgBouncer keeps no session state.
    Other processes poll: a statement that waits for the lock has a snapshot, and
    `CREATE INDEX CONCURRENTLY` would wait for that snapshot for ever.
    """
    try_lock = sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))
    with engine.connect() as connection:
        if not connection.scalar(try_lock):
            logger.warning("waiting for another process that migrates this database")
            connection.rollback()
            while not connection.scalar(try_lock):
                connection.rollback()
                time.sleep(0.5)
        yield


def _try_to_run(engine: sa.Engine) -> bool:
    """Run the command's revisions; return False where one did not get a lock in time."""
    try:
        with engine.connect() as connection:
            heads = _find_heads(connection)
            if heads != set(context.script.get_heads()):
                _drop_half_built_indexes(engine)
            context.configure(
                connection=connection,
                target_metadata=SQLModel.metadata,
                version_table=VERSION_TABLE,
                # A new database gets all or nothing.
                transaction_per_migration=bool(heads),
                # A table that is removed from models/ is not dropped by itself either.
                include_name=lambda name, kind, _: (
                    kind != "table" or name in SQLModel.metadata.tables
                ),
                process_revision_directives=_number,
            )
            with context.begin_transaction():
                context.run_migrations()
    except OperationalError as error:
        if isinstance(error.orig, pg.LockNotAvailable | pg.DeadlockDetected):
            return False
        raise
    return True


def _find_heads(connection: sa.Connection) -> set[str]:
    """Return the database's revision, if any; adopt the one of a database of release 1.0.

    Raises CommandError for a revision that this release does not know.
    """
    with connection.begin():
        migration = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        heads = set(migration.get_current_heads())
        is_adopted = not heads and _has_release_1(connection)
        if is_adopted:
            heads = set(MigrationContext.configure(connection).get_current_heads())
        if unknown := heads - {each.revision for each in context.script.walk_revisions()}:
            raise CommandError(f"the database's schema is of another release: {unknown.pop()}")
        if is_adopted:
            for head in heads:
                migration.stamp(context.script, head)
        return heads


def _has_release_1(connection: sa.Connection) -> bool:
    inspector = sa.inspect(connection)
    columns = {
        (table, column["name"], column["type"].compile(connection.dialect))
        for table in ("users", "tasks")
        if inspector.has_table(table)
        for column in inspector.get_columns(table)
    }
    return columns >= _RELEASE_1 and inspector.has_table("alembic_version")


def _drop_half_built_indexes(engine: sa.Engine) -> None:
    """Drop our indexes that were not finished (INVALID): PostgreSQL does not use them."""
    names = [
        str(index.name) for table in SQLModel.metadata.sorted_tables for index in table.indexes
    ]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name in connection.scalars(_HALF_BUILT, {"names": names}).all():
            logger.warning("the index %s is half-built: dropping it", name)
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _log_waits(engine: sa.Engine, finished: threading.Event) -> None:
    """Log which processes hold the locks that the migration waits for, each once."""
    logged: set[tuple[str, int]] = set()
    while not finished.wait(1):
        # The migration goes on where there is no connection left for this.
        with suppress(DBAPIError), engine.connect() as connection:
            for row in connection.execute(_BLOCKERS, {"name": _NAME}):
                if (row.wanted, row.pid) not in logged:
                    logged.add((row.wanted, row.pid))
                    logger.warning(
                        "waiting for a lock on %s that process %s has"
                        " (role=%s application=%s state=%s transaction=%ss)",
                        *(row.wanted, row.pid, row.role, row.application, row.state, row.seconds),
                    )


def _explain(error: DBAPIError) -> str:
    """Return one line on an error of PostgreSQL or libpq; without its details, which quote rows."""
    diagnostics = getattr(error.orig, "diag", None)
    cause = " ".join((getattr(diagnostics, "message_primary", None) or str(error.orig)).split())
    if error.statement is None:
        return f"DATABASE_URL: the database cannot be used: {cause}"
    if isinstance(error.orig, pg.DuplicateTable | pg.DuplicateObject):
        return (
            f"the database has another application's tables: {cause}; give this service a schema of"
            " its own: CREATE SCHEMA todo, and ?options=-csearch_path%3Dtodo in DATABASE_URL, or"
            " ALTER ROLE … SET search_path = todo for PgBouncer"
        )
    return f"the database's schema could not be migrated: {cause}"


def _number(
    _context: MigrationContext,
    _revision: str | Iterable[str | None] | Iterable[str],
    directives: list[MigrationScript],
) -> None:
    """Number a new revision."""
    directives[0].rev_id = f"{int(context.script.get_current_head() or 0) + 1:04}"


_migrate(_make_engine(context.config.attributes.get("url") or _url()))
