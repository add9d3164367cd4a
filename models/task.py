"""The table of tasks, and its statements: the owner is part of every one of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, Session, SQLModel


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

_LIST = sa.select(_TABLE).where(_OWNED).order_by(_TASKS.id)
_READ = sa.select(_TABLE).where(_ONE)
_CREATE = (
    sa.insert(_TABLE)
    .values(
        user_id=sa.bindparam("owner"),
        title=sa.bindparam("title"),
        description=sa.bindparam("description"),
        completed=sa.bindparam("completed"),
    )
    .returning(*_TASKS)
)
# A member that is not named is null here, and what stands in the row stays. Only a description can
# be set to null; a flag tells that from one that is not named.
_UPDATE = (
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
    .returning(*_TASKS)
)
_COMPLETE = (
    sa.update(_TABLE)
    .where(_ONE)
    .values(
        completed=sa.func.coalesce(sa.bindparam("new_completed"), ~_TASKS.completed),
        updated_at=sa.func.now(),
    )
    .returning(*_TASKS)
)
_REMOVE = sa.delete(_TABLE).where(_ONE).returning(_TASKS.id)


def every(session: Session, owner: int) -> Sequence[sa.Row[Any]]:
    """Give all tasks of one user, the oldest first."""
    return session.connection().execute(_LIST, {"owner": owner}).all()


def create(session: Session, owner: int, task: Mapping[str, Any]) -> sa.Row[Any] | None:
    """Make a task; None when there is no such user."""
    try:
        return session.connection().execute(_CREATE, {"owner": owner, **task}).one()
    except IntegrityError:
        return None


def read(session: Session, owner: int, task_id: int) -> sa.Row[Any] | None:
    """Give one task of one user; None when there is no such task of theirs."""
    return session.connection().execute(_READ, {"owner": owner, "task_id": task_id}).one_or_none()


def update(
    session: Session, owner: int, task_id: int, changes: Mapping[str, Any]
) -> sa.Row[Any] | None:
    """Set the members that `changes` names; None when there is no such task of theirs."""
    if not changes:
        return read(session, owner, task_id)
    return (
        session.connection()
        .execute(
            _UPDATE,
            {
                "owner": owner,
                "task_id": task_id,
                "new_title": changes.get("title"),
                "has_description": "description" in changes,
                "new_description": changes.get("description"),
                "new_completed": changes.get("completed"),
            },
        )
        .one_or_none()
    )


def complete(
    session: Session, owner: int, task_id: int, *, completed: bool | None
) -> sa.Row[Any] | None:
    """Set whether a task is completed, or turn it round (None); None when it is not theirs."""
    return (
        session.connection()
        .execute(_COMPLETE, {"owner": owner, "task_id": task_id, "new_completed": completed})
        .one_or_none()
    )


def remove(session: Session, owner: int, task_id: int) -> int | None:
    """Delete one task of one user and give its id; None when there is no such task of theirs."""
    return (
        session.connection()
        .execute(_REMOVE, {"owner": owner, "task_id": task_id})
        .scalar_one_or_none()
    )
