"""The table of tasks, and its statements: the owner is part of each.

PostgreSQL writes a task's JSON itself (docs/decisions/0007): all columns but the hidden ones, which
is what `schemas.task.TaskPublic` describes. Statements are compiled once for each combination of
columns or filters.
"""

import asyncio
import functools
import hashlib
import json
import operator
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal, NamedTuple

import sqlalchemy as sa
from psycopg2.errors import ForeignKeyViolation
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, SQLModel

from core.database import Compiled, Session, compile_statement, now, timestamp_column

PAGE_ROWS: Final = 1000
"""The most tasks that one statement reads."""
PAGE_BYTES: Final = 1024 * 1024
"""The most bytes of text that one statement reads, unless a single task has more."""

PIECE_SIZE: Final = 64 * 1024
"""The most characters of a page that are sent at once."""

Sort = Literal["created_at", "updated_at", "title"]


class Task(SQLModel, table=True):
    """One thing to do, of one user. Columns with `exclude=True` are never part of its JSON."""

    __tablename__ = "tasks"
    __table_args__ = (
        sa.Index("tasks_user_id_id", "user_id", "id"),
        sa.Index("tasks_user_id_created_at_id", "user_id", "created_at", "id"),
        sa.Index("tasks_user_id_updated_at_id", "user_id", "updated_at", "id"),
        sa.Index("tasks_user_id_title_id", "user_id", "title", "id"),
        sa.Index(
            "tasks_user_id_idempotency_key",
            "user_id",
            "idempotency_key",
            unique=True,
            postgresql_where=sa.text("idempotency_key IS NOT NULL"),
        ),
    )

    id: int = Field(
        default=None, sa_column=sa.Column(sa.BigInteger, sa.Identity(), primary_key=True)
    )
    user_id: int = Field(
        sa_column=sa.Column(
            sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        )
    )
    title: str = Field(sa_column=sa.Column(sa.Text, nullable=False))
    description: str | None = Field(default=None, sa_column=sa.Column(sa.Text))
    completed: bool = Field(default=False, sa_column=sa.Column(sa.Boolean, nullable=False))
    created_at: datetime = Field(default_factory=now, sa_column=timestamp_column())
    updated_at: datetime = Field(
        default_factory=now, sa_column=timestamp_column(onupdate=sa.func.now())
    )
    idempotency_key: str | None = Field(default=None, sa_column=sa.Column(sa.Text), exclude=True)
    idempotency_digest: str | None = Field(default=None, sa_column=sa.Column(sa.Text), exclude=True)
    """Of the body that the key came with."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task as it is sent to its owner."""

    id: int
    json: str
    version: str
    """Changes with every change of the row: PostgreSQL's `xmin`."""


class Cursor(NamedTuple):
    """Where a page ends: the sort key (as text) and the id of its last task."""

    key: str
    id: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks as a JSON array, and where the next page begins if there are more."""

    json: str
    count: int
    next: Cursor | None


class IdempotencyConflictError(Exception):
    """The key came with another body before."""


class VersionMismatchError(Exception):
    """The task exists, but in another version than the caller has named."""


_TABLE: Final = SQLModel.metadata.tables["tasks"]
_COLUMNS: Final = _TABLE.c
_OWNED: Final = _COLUMNS.user_id == sa.bindparam("owner")
_ONE: Final = (_COLUMNS.id == sa.bindparam("task_id")) & _OWNED
_FILTERS: Final = {
    "completed": _COLUMNS.completed == sa.bindparam("completed"),
    "search": sa.or_(
        *(
            column.ilike(sa.bindparam("search"), escape="/")
            for column in (_COLUMNS.title, _COLUMNS.description)
        )
    ),
}
"""The conditions that `filters` of the functions below may name, with their values."""


def _text(column: sa.Column[Any]) -> str:
    """Return SQL for a column as JSON has it: times in UTC, to the microsecond."""
    if not isinstance(column.type, sa.DateTime):
        return f"tasks.{column.name}"
    form = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
    return f"to_char(tasks.{column.name} AT TIME ZONE 'UTC', '{form}')"


def _json(columns: Iterable[sa.Column[Any]]) -> sa.ColumnElement[str]:
    members = ", ".join(f"{_text(column)} AS {column.name}" for column in columns)
    json_object = f"row_to_json((SELECT task FROM (SELECT {members}) AS task))"  # noqa: S608 - the table's own names
    return sa.literal_column(f"{json_object}::text", sa.Text)


_PUBLIC_JSON: Final = _json(
    column for column in _COLUMNS if not Task.model_fields[column.name].exclude
)
_VERSION: Final = sa.literal_column("tasks.xmin::text", sa.Text)
_ROW: Final = (_COLUMNS.id, _PUBLIC_JSON, _VERSION)

_GET: Final = compile_statement(sa.select(*_ROW).where(_ONE), is_repeatable=True)


_ONE_ROW: Final = sa.literal_column("1", sa.Integer)
_EMPTY: Final = sa.literal_column("''", sa.Text)
_NOTHING: Final = sa.literal_column("0", sa.Integer)


def _counted(change: sa.Update | sa.Delete) -> sa.Select[int]:
    return sa.select(sa.func.count()).select_from(change.returning(_ONE_ROW).cte("changed"))


@cache
def _insert(columns: tuple[str, ...]) -> Compiled:
    values: Any = {name: sa.bindparam(name) for name in columns}
    return compile_statement(
        sa.insert(_TABLE).values(user_id=sa.bindparam("owner"), **values).returning(*_ROW)
    )


@cache
def _insert_once(columns: tuple[str, ...]) -> Compiled:
    """Insert, or find the task that the same key has made: one row, and whether it is the same."""
    values: Any = {name: sa.bindparam(name) for name in columns}
    key, digest = _COLUMNS.idempotency_key, _COLUMNS.idempotency_digest
    created = (
        insert(_TABLE)
        .values(user_id=sa.bindparam("owner"), **values)
        .on_conflict_do_nothing(
            index_elements=[_COLUMNS.user_id, key], index_where=key.is_not(None)
        )
        .returning(_COLUMNS.id, _PUBLIC_JSON.label("json"), _VERSION.label("version"))
        .cte("created")
    )
    earlier = sa.select(*_ROW, digest == sa.bindparam("idempotency_digest")).where(
        _OWNED, key == sa.bindparam("idempotency_key")
    )
    # Where the first half inserts, the second does not see the row yet.
    return compile_statement(
        sa.union_all(sa.select(created, sa.true()), earlier), is_repeatable=True
    )


@cache
def _update(columns: tuple[str, ...], *, is_conditional: bool) -> Compiled:
    return compile_statement(
        sa.update(_TABLE)
        .where(_one(is_conditional=is_conditional))
        .values({name: sa.bindparam(f"new_{name}") for name in columns})
        .returning(*_ROW)
    )


@cache
def _toggle(*, is_conditional: bool) -> Compiled:
    return compile_statement(
        sa.update(_TABLE)
        .where(_one(is_conditional=is_conditional))
        .values(completed=~_COLUMNS.completed)
        .returning(*_ROW)
    )


@cache
def _delete(*, is_conditional: bool) -> Compiled:
    return compile_statement(
        sa.delete(_TABLE).where(_one(is_conditional=is_conditional)).returning(*_ROW)
    )


def _one(*, is_conditional: bool) -> sa.ColumnElement[bool]:
    return _ONE & (sa.any_(sa.bindparam("versions")) == _VERSION) if is_conditional else _ONE


_COMPLETE_ALL: Final = compile_statement(
    _counted(
        sa.update(_TABLE)
        .where(_OWNED, _COLUMNS.completed != sa.bindparam("completed"))
        .values(completed=sa.bindparam("completed"))
    )
)


@cache
def _delete_all(filters: tuple[str, ...]) -> Compiled:
    conditions = (_FILTERS[name] for name in filters)
    return compile_statement(_counted(sa.delete(_TABLE).where(_OWNED, *conditions)))


@cache
def _page(
    filters: tuple[str, ...],
    sort: Sort,
    *,
    is_descending: bool,
    is_continued: bool,
    has_all_columns: bool,
) -> Compiled:
    """Read as many tasks as fit, in keyset order, and one more to tell whether there is one.

    The sizes of texts are in their headers: PostgreSQL adds them up without reading the texts.
    """
    # Not by id alone: PostgreSQL would rather read the primary key, past the tasks of all others.
    order = [_COLUMNS[sort], _COLUMNS.id]
    conditions = [_OWNED, *(_FILTERS[name] for name in filters)]
    if is_continued:
        after = [sa.cast(sa.bindparam("after_key"), _COLUMNS[sort].type), sa.bindparam("after_id")]
        here, there = sa.tuple_(*order), sa.tuple_(*after)
        conditions.append(here < there if is_descending else here > there)
    ordering = [sa.desc(column) if is_descending else column for column in order]
    size = functools.reduce(
        operator.add,
        (
            sa.func.coalesce(sa.func.octet_length(column), _NOTHING)
            for column in _COLUMNS
            if isinstance(column.type, sa.Text)
        ),
    )
    rows = (
        sa.select(
            *_COLUMNS,
            sa.func.row_number().over(order_by=ordering).label("position"),
            sa.func.sum(size).over(order_by=ordering, rows=(None, 0)).label("bytes"),
        )
        .where(*conditions)
        .order_by(*ordering)
        .limit(sa.bindparam("rows") + _ONE_ROW)
        # Under the table's own name, which the JSON is written with.
        .subquery("tasks")
    )
    position = rows.c.position
    fits = (position == _ONE_ROW) | (
        (position <= sa.bindparam("rows")) & (rows.c.bytes <= sa.bindparam("bytes"))
    )
    tasks = sa.func.string_agg(
        _json(_COLUMNS) if has_all_columns else _PUBLIC_JSON,
        aggregate_order_by(sa.literal_column("','"), position),
    )
    last_key, last_id = (
        sa.func.array_agg(aggregate_order_by(value, position.desc())).filter(fits)[_ONE_ROW]
        for value in (sa.literal_column(_text(_COLUMNS[sort]), sa.Text), rows.c.id)
    )
    return compile_statement(
        sa.select(
            sa.func.coalesce(tasks.filter(fits), _EMPTY),
            sa.func.count().filter(fits),
            sa.func.count(),
            last_key,
            last_id,
        ).select_from(rows),
        is_repeatable=True,
    )


async def list_tasks(  # noqa: PLR0913 - each is a choice of the caller
    session: Session,
    owner: int,
    filters: Mapping[str, object],
    *,
    sort: Sort = "created_at",
    is_descending: bool = False,
    after: Cursor | None = None,
    limit: int | None = None,
    has_all_columns: bool = False,
) -> Page:
    """Return the first tasks after a cursor, at most `limit` and `PAGE_ROWS` of them.

    They are fewer where they would be more than `PAGE_BYTES`; `next` tells whether there are more.
    """
    statement = _page(
        tuple(filters),
        sort,
        is_descending=is_descending,
        is_continued=after is not None,
        has_all_columns=has_all_columns,
    )
    row = await session.fetch_one(
        statement,
        {
            "owner": owner,
            **_patterns(filters),
            "rows": min(limit or PAGE_ROWS, PAGE_ROWS),
            "bytes": PAGE_BYTES,
            "after_key": after and after.key,
            "after_id": after and after.id,
        },
    )
    assert row is not None  # noqa: S101 - an aggregate always has a row
    tasks, count, found, last_key, last_id = row
    return Page(f"[{tasks}]", count, Cursor(str(last_key), last_id) if found > count else None)


async def stream_tasks(
    page: Page, read_after: Callable[[Cursor], Awaitable[Page]]
) -> AsyncIterator[str]:
    """Yield the pieces of one JSON array: a page, and each that follows as it is read.

    The pieces are small, because only the next one waits until the client has taken those before.
    """
    yield "["
    while True:
        end = len(page.json) - 1
        for start in range(1, end, PIECE_SIZE):
            yield page.json[start : min(start + PIECE_SIZE, end)]
        if page.next is None:
            break
        # Requests that wait for a connection come first at the one that this page had.
        await asyncio.sleep(0)
        page = await read_after(page.next)
        if page.count:
            yield ","
    yield "]"


async def create_task(session: Session, owner: int, values: Mapping[str, object]) -> TaskRow | None:
    """Create a task; None when there is no such user."""
    return _task_row(await _create(session, _insert(tuple(values)), {**values, "owner": owner}))


async def create_task_once(
    session: Session, owner: int, values: Mapping[str, object], key: str
) -> TaskRow | None:
    """Create a task, or return the one that the same key of the same owner has created.

    None when there is no such user. Raises IdempotencyConflictError when the key came with other
    values. Values are compared as they are stored, with those of the first call.
    """
    body = json.dumps(values, sort_keys=True, default=str)
    marked = {
        **values,
        "idempotency_key": key,
        "idempotency_digest": hashlib.sha256(body.encode()).hexdigest(),
    }
    # It returns nothing when another call with the key was committed while it waited for it.
    row = await _create(
        session, _insert_once(tuple(marked)), {**marked, "owner": owner}, attempts=2
    )
    if row is not None and not row[-1]:
        raise IdempotencyConflictError
    return _task_row(row and row[:-1])


async def get_task(session: Session, owner: int, task_id: int) -> TaskRow | None:
    """Return a task; None when the owner has no such task."""
    return _task_row(await session.fetch_one(_GET, {"owner": owner, "task_id": task_id}))


async def update_task(
    session: Session,
    owner: int,
    task_id: int,
    changes: Mapping[str, object],
    versions: list[str] | None = None,
) -> TaskRow | None:
    """Set the columns that `changes` names; None when the owner has no such task.

    Raises VersionMismatchError when `versions` are given and the task has none of them.
    """
    if not changes:
        row = await get_task(session, owner, task_id)
        if row is not None and versions is not None and row.version not in versions:
            raise VersionMismatchError
        return row
    statement = _update(tuple(changes), is_conditional=versions is not None)
    params = {f"new_{name}": value for name, value in changes.items()}
    return await _change(session, owner, task_id, statement, versions, **params)


async def toggle_task(
    session: Session, owner: int, task_id: int, versions: list[str] | None = None
) -> TaskRow | None:
    """Complete a pending task, or the reverse; otherwise as `update_task`."""
    statement = _toggle(is_conditional=versions is not None)
    return await _change(session, owner, task_id, statement, versions)


async def delete_task(
    session: Session, owner: int, task_id: int, versions: list[str] | None = None
) -> TaskRow | None:
    """Delete a task and return what it was; otherwise as `update_task`."""
    statement = _delete(is_conditional=versions is not None)
    return await _change(session, owner, task_id, statement, versions)


async def complete_tasks(session: Session, owner: int, *, completed: bool) -> int:
    """Complete all tasks, or the reverse; returns how many have changed."""
    row = await session.fetch_one(_COMPLETE_ALL, {"owner": owner, "completed": completed})
    return int(row[0]) if row else 0


async def delete_tasks(session: Session, owner: int, filters: Mapping[str, object]) -> int:
    """Delete all tasks that fit, and return how many they were."""
    params = {"owner": owner, **_patterns(filters)}
    row = await session.fetch_one(_delete_all(tuple(filters)), params)
    return int(row[0]) if row else 0


async def _create(
    session: Session, statement: Compiled, params: Mapping[str, object], *, attempts: int = 1
) -> tuple[Any, ...] | None:
    """Send a statement that creates a task until it returns a row; None for no such user."""
    row = None
    try:
        for _ in range(attempts):
            row = row or await session.fetch_one(statement, params)
    except IntegrityError as error:
        if not isinstance(error.orig, ForeignKeyViolation):
            raise
    return row


async def _change(
    session: Session,
    owner: int,
    task_id: int,
    statement: Compiled,
    versions: list[str] | None,
    **params: object,
) -> TaskRow | None:
    """Send a statement that changes one task; where it misses, ask whether the version is why."""
    row = await session.fetch_one(
        statement, {**params, "owner": owner, "task_id": task_id, "versions": versions}
    )
    if row is None and versions is not None and await get_task(session, owner, task_id):
        raise VersionMismatchError
    return _task_row(row)


def _patterns(filters: Mapping[str, object]) -> dict[str, object]:
    """Return the filters' values, with the text to search for as a LIKE pattern."""
    values = dict(filters)
    if "search" in values:
        literal = re.sub(r"([/%_])", r"/\1", str(values["search"]))
        values["search"] = f"%{literal}%"
    return values


def _task_row(row: tuple[Any, ...] | None) -> TaskRow | None:
    return None if row is None else TaskRow(*row)
