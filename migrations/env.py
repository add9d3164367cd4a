"""Runs the revisions: for `alembic`, and for the service when it starts."""

import logging
import os

import sqlalchemy as sa
from alembic import context
from dotenv import dotenv_values
from sqlmodel import SQLModel

from core.migrations import make_engine
from models import task, user  # noqa: F401 - their tables are what the revisions are compared with

logger = logging.getLogger("migrations")

# Any number will do, as long as it is the same for every process that migrates this database.
_LOCK = 0x746F646F


def _engine() -> sa.Engine:
    url = os.environ.get("DATABASE_URL") or dotenv_values(".env").get("DATABASE_URL")
    if not url:
        raise SystemExit("DATABASE_URL: missing; expected postgresql://user:password@host/database")
    return make_engine(url)


def _migrate(engine: sa.Engine) -> None:
    """Run what is missing in one transaction, one process at a time.

    The lock is the transaction's, because PgBouncer keeps no session's.
    """
    with engine.connect() as connection:
        context.configure(
            connection=connection, target_metadata=SQLModel.metadata, transactional_ddl=True
        )
        with context.begin_transaction():
            if not connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))):
                logger.warning("waiting for another process that migrates this database")
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            context.run_migrations()


_migrate(context.config.attributes.get("engine") or _engine())
