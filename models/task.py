"""The table of tasks, and its statements: the owner, whom the session adds, is part of each.

PostgreSQL writes a task's JSON itself, in the shape of `schemas.task.TaskPublic`: what it sends is
what the caller gets, and no row is taken apart and put together again on the way.
"""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from psycopg2.errors import ForeignKeyViolation
from sqlmodel import Field, SQLModel

from models.session import Session, prepared

NONE = "[]"
"""A JSON array of no tasks."""


class Task(SQLModel, table=True):
    """One thing to do, of one user."""

    __tablename__ = "tasks"
    __table_args__ = (sa.Index("tasks_user_id_id", "user_id", "id"),)

    id: int = Field(sa_column=sa.Column(sa.BigInteger, sa.Identity(), primary_key=True))
    user_id: int = Field(
        sa_column=sa.Column(
            sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        )
    )
    title: str = Field(sa_column=sa.Column(sa.Text, nullable=False))
    description: str | None = Field(sa_column=sa.Column(sa.Text))
    completed: bool = Field(sa_column=sa.Column(sa.Boolean, nullable=False))
    created_at: datetime = Field(
        sa_column=sa.Column(
            sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        )
    )
    updated_at: datetime = Field(
        sa_column=sa.Column(
            sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        )
    )


_TABLE = SQLModel.metadata.tables["tasks"]
_TASKS = _TABLE.c
_OWNED = _TASKS.user_id == sa.bindparam("owner")
_ONE = (_TASKS.id == sa.bindparam("task_id")) & _OWNED

_JSON = """row_to_json((
    SELECT task FROM (SELECT
        tasks.id, tasks.user_id, tasks.title, tasks.description, tasks.completed,
        to_char(
            tasks.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
        ) AS created_at,
        to_char(
            tasks.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
        ) AS updated_at
    ) AS task
))::text"""
_ONE_AS_JSON = sa.literal_column(_JSON, sa.Text)
_ALL_AS_JSON = sa.literal_column(
    f"'[' || coalesce(string_agg({_JSON}, ',' ORDER BY tasks.id), '') || ']'", sa.Text
)

_LIST = prepared(sa.select(_ALL_AS_JSON).select_from(_TABLE).where(_OWNED))
_READ = prepared(sa.select(_ONE_AS_JSON).where(_ONE))
_CREATE = prepared(
    sa.insert(_TABLE)
    .values(
        user_id=sa.bindparam("owner"),
        title=sa.bindparam("title"),
        description=sa.bindparam("description"),
        completed=sa.bindparam("completed"),
    )
    .returning(_TASKS.id, _ONE_AS_JSON)
)
# A member that is not named is null here, and what stands in the row stays. Only a description can
# be set to null; a flag tells that from one that is not named.
_UPDATE = prepared(
    sa.update(_TABLE)
    .where(_ONE)
    .values(
        title=sa.func.coalesce(sa.bindparam("new_title"), _TASKS.title),
        description=sa.case(
            (sa.bindparam("has_description"), sa.bindparam("new_description")),
            else_=_TASKS.description,
        ),
        completed=sa.func.coalesce(sa.bindparam("new_completed"), _TASKS.completed),
        updated_at=sa.func.now(),
    )
    .returning(_ONE_AS_JSON)
)
_COMPLETE = prepared(
    sa.update(_TABLE)
    .where(_ONE)
    .values(
        completed=sa.func.coalesce(sa.bindparam("new_completed"), ~_TASKS.completed),
        updated_at=sa.func.now(),
    )
    .returning(_ONE_AS_JSON)
)
_REMOVE = prepared(sa.delete(_TABLE).where(_ONE).returning(_TASKS.id))


async def every(session: Session) -> str | None:
    """Give all tasks of the owner as a JSON array, the oldest first; None when there is none."""
    tasks = await _json(session, _LIST, {})
    return None if tasks == NONE else tasks


async def create(session: Session, task: Mapping[str, object]) -> tuple[int, str] | None:
    """Make a task, and give its id and its JSON; None when there is no such user."""
    try:
        made = await session.first(_CREATE, task)
    except ForeignKeyViolation:
        return None
    return None if made is None else (int(made[0]), str(made[1]))


async def read(session: Session, task_id: int) -> str | None:
    """Give one task of the owner as JSON; None when there is no such task of theirs."""
    return await _json(session, _READ, {"task_id": task_id})


async def update(session: Session, task_id: int, changes: Mapping[str, object]) -> str | None:
    """Set the members that `changes` names; None when there is no such task of theirs."""
    if not changes:
        return await read(session, task_id)
    return await _json(
        session,
        _UPDATE,
        {
            "task_id": task_id,
            "new_title": changes.get("title"),
            "has_description": "description" in changes,
            "new_description": changes.get("description"),
            "new_completed": changes.get("completed"),
        },
    )


async def complete(session: Session, task_id: int, *, completed: bool | None) -> str | None:
    """Set whether a task is completed, or turn it round (None); None when it is not theirs."""
    return await _json(session, _COMPLETE, {"task_id": task_id, "new_completed": completed})


async def remove(session: Session, task_id: int) -> int | None:
    """Delete one task of the owner and give its id; None when there is no such task of theirs."""
    row = await session.first(_REMOVE, {"task_id": task_id})
    return None if row is None else int(row[0])


async def _json(session: Session, statement: str, params: Mapping[str, object]) -> str | None:
    row = await session.first(statement, params)
    return None if row is None else str(row[0])
