"""What the tables have in common."""

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

MAX_ID: Final = 2**63 - 1
"""The largest id that the columns hold (bigint)."""


def now() -> datetime:
    """Return the time, in UTC: the default of rows that a session adds."""
    return datetime.now(UTC)


def timestamp_column(**options: Any) -> sa.Column[datetime]:  # noqa: ANN401 - as SQLAlchemy's
    """Return a column for a point in time, which PostgreSQL fills in."""
    return sa.Column(
        sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now(), **options
    )
