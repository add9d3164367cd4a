"""What a statement needs: its text, and a session that sends it."""

from collections.abc import Mapping
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg2


class Session(Protocol):
    """Sends statements to PostgreSQL, each a transaction by itself (dependencies.database)."""

    async def first(self, statement: str, params: Mapping[str, object]) -> tuple[Any, ...] | None:
        """Give the first row of what comes back; None when there is none."""


def prepared(statement: sa.Executable) -> str:
    """Compile a statement, once, to the text that psycopg2 puts named parameters into.

    SQLAlchemy's own sessions look it up again for each request, and wrap what comes back: that
    takes longer than all that is left.
    """
    return str(statement.compile(dialect=psycopg2.dialect()))  # type: ignore[attr-defined, no-untyped-call] # SQLAlchemy types neither
