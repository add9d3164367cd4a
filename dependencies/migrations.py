"""The schema's revisions (`migrations/`), and bringing the database to the newest."""

import functools
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlmodel import Session

from dependencies.database import PatientConnection, make_engine
from utils.logs import StartupError

_PROJECT = Path(__file__).parents[1] / "pyproject.toml"
_REVISION = sa.text("SELECT version_num FROM alembic_version")


def upgrade(url: str) -> None:
    """Bring the database to the newest revision; safe when several processes do it at once.

    Raises StartupError when the database cannot be reached, or is of a newer release.
    """
    engine = make_engine(url, PatientConnection)
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


def is_newest(session: Session) -> bool:
    """Tell whether the database's schema is the one that this release is made for."""
    try:
        return session.connection().execute(_REVISION).scalar_one_or_none() == _newest()
    except ProgrammingError:
        return False


@functools.cache
def _newest() -> str | None:
    return ScriptDirectory.from_config(Config(toml_file=_PROJECT)).get_current_head()
