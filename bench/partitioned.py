"""The service with the one change that a partitioned table needs.

PostgreSQL returns no system column of an INSERT into a partitioned table. The transaction's number
is what `xmin` becomes, outside of a savepoint.
"""

import sqlalchemy as sa

from models import task

# There is no public way: a partitioned table is tried here, and not supported.
task._VERSION = sa.literal_column("pg_current_xact_id()::xid::text", sa.Text)  # type: ignore[misc] # noqa: SLF001
task._TASK_ROW = (*task._TASK_ROW[:2], task._VERSION)  # type: ignore[misc] # noqa: SLF001

from main import app  # noqa: E402 - it compiles statements with the change

__all__ = ["app"]
