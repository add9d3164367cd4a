"""The schema's revisions (`migrations/`), and bringing the database to the newest."""

import functools
from functools import partial
from pathlib import Path
from typing import Final

import psycopg2
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg2.errors import UndefinedTable
from psycopg2.extensions import parse_dsn
from sqlalchemy.exc import DBAPIError

from dependencies.database import CONNECT_SECONDS
from models.session import Session, prepared
from utils.logs import StartupError

_PROJECT: Final = Path(__file__).parents[1] / "pyproject.toml"
_REVISION: Final = prepared(sa.text("SELECT version_num FROM alembic_version"))
# A statement may take its time here: it is the connection that must not fall silent. These are the
# socket's own time-outs, and nothing of them is sent to PostgreSQL.
_TIMEOUTS: Final = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def upgrade(url: str) -> None:
    """Bring the database to the newest revision; safe when several processes do it at once.

    Raises StartupError when the database cannot be reached, or is of a newer release.
    """
    engine = make_engine(url)
    try:
        config = Config(toml_file=_PROJECT, attributes={"engine": engine})
        command.upgrade(config, "head")
    except DBAPIError as error:
        # Away, or a role that may not make tables.
        raise StartupError(
            f"DATABASE_URL: the database cannot be used: {' '.join(str(error.orig).split())}"
        ) from None
    except CommandError as error:
        raise StartupError(f"the database's schema is of another release: {error}") from None
    finally:
        engine.dispose()


def make_engine(url: str) -> sa.Engine:
    """Make an engine for a libpq address, for revisions alone: it waits with the thread in hand.

    libpq reads the address itself, so that every parameter in it counts, time-outs too.
    """
    return sa.create_engine(
        "postgresql+psycopg2://",
        creator=partial(psycopg2.connect, **(_TIMEOUTS | parse_dsn(url))),
        poolclass=sa.NullPool,
        # Each new connection would ask for the type's number first.
        use_native_hstore=False,
    )


async def is_newest(session: Session) -> bool:
    """Tell whether the database's schema is the one that this release is made for."""
    try:
        return await session.first(_REVISION, {}) == (_newest(),)
    except UndefinedTable:
        return False


@functools.cache
def _newest() -> str | None:
    return ScriptDirectory.from_config(Config(toml_file=_PROJECT)).get_current_head()
