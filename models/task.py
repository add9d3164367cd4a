"""The table of tasks, and its statements: the owner is part of each.

PostgreSQL writes a task's JSON itself (docs/decisions/0007): all columns but the hidden ones, which
is what `schemas.task.TaskPublic` describes. Statements are compiled once for each combination of
columns or filters and sent in autocommit; docs/architecture.md says when that is right.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from cachetools import TTLCache
from psycopg2.errors import ForeignKeyViolation
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, SQLModel

from core.database import AccountLimiter, Compiled, Session, compile_statement
from core.problems import UnavailableError
from models.base import now, timestamp_column
from models.paging import (
    PAGE_ROWS,
    Cursor,
    Page,
    Sort,
    compile_list,
    compile_page,
    json_object,
    sql,
)

CREATE_ATTEMPTS: Final = 10
"""How often a create with a key is sent while other calls create and delete its task."""

BULK_ROWS: Final = 20_000
"""The most tasks that one statement changes, well within the time-out of a statement."""
SEARCH_SECONDS: Final = 2
"""How long a statement with a search may take: it reads every text of the account."""
GRANT_SECONDS: Final = 60
MAX_GRANTS: Final = 100_000
"""For how long, and for how many accounts, TaskQuota relies on a count."""

PRIORITIES: Final = ("none", "low", "medium", "high", "urgent")
"""From the lowest to the highest, as PostgreSQL sorts them."""


def fold_case(text: Any) -> sa.ColumnElement[str]:  # noqa: ANN401 - what func takes
    """Return a text without regard to case, by a function of the schema (revision 0003).

    PostgreSQL's own `lower` depends on the locale of the database: in `C` it knows ASCII alone.
    """
    return sa.func.todo_backend_fold_case(text, type_=sa.Text)


class Task(SQLModel, table=True):
    """One thing to do, of one user. Columns with `exclude=True` are never part of its JSON."""

    __tablename__ = "tasks"
    __table_args__ = (
        sa.Index("tasks_user_id_id", "user_id", "id"),
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
    priority: str = Field(
        default="medium",
        sa_column=sa.Column(
            sa.Enum(*PRIORITIES, name="task_priority"), nullable=False, server_default="medium"
        ),
    )
    due_date: datetime | None = Field(default=None, sa_column=sa.Column(sa.DateTime(timezone=True)))
    tags: list[str] = Field(
        default_factory=list,
        sa_column=sa.Column(ARRAY(sa.Text), nullable=False, server_default="{}"),
    )
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
    """Changes with every change of the row: PostgreSQL's `xmin`, which may come again after a
    restore, and `updated_at`, which may be the same for two changes at once."""


class IdempotencyConflictError(Exception):
    """The key came with another body before."""


class QuotaExceededError(Exception):
    """The account has as many tasks as it may have."""


class VersionMismatchError(Exception):
    """The task exists, but in another version than the caller has named."""


_TABLE: Final = SQLModel.metadata.tables["tasks"]
_COLUMNS: Final = _TABLE.c

SORTS: Final[Mapping[str, Sort]] = {
    "created_at": Sort.by(_COLUMNS.created_at, is_descending=True),
    "updated_at": Sort.by(_COLUMNS.updated_at, is_descending=True),
    "title": Sort.by(fold_case(_COLUMNS.title)),
    "priority": Sort.by(_COLUMNS.priority, is_descending=True),
    "due_date": Sort.nulls_last(_COLUMNS.due_date, "'-infinity'", "'infinity'"),
}
"""What a list may be sorted by."""

for _name, _key in {
    "created_at": SORTS["created_at"].ascending,
    "updated_at": SORTS["updated_at"].ascending,
    "folded_title": SORTS["title"].ascending,
    "priority": SORTS["priority"].ascending,
    "due_date": SORTS["due_date"].ascending,
    "due_date_desc": SORTS["due_date"].descending,
}.items():
    sa.Index(f"tasks_user_id_{_name}_id", _COLUMNS.user_id, _key, _COLUMNS.id)


def _has_text(column: sa.Column[Any]) -> sa.ColumnElement[bool]:
    """Tell whether a column has the text; no character of it is special, as with `LIKE`."""
    return sa.func.strpos(fold_case(column), fold_case(sa.bindparam("filter_search"))) > sql("0")


def _fold_tags(tags: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    # No tag has a comma.
    text = fold_case(sa.func.array_to_string(tags, sql("','")))
    return sa.func.string_to_array(text, sql("','"), type_=ARRAY(sa.Text))


FILTERS: Final[Mapping[str, sa.ColumnElement[bool]]] = {
    "status": _COLUMNS.completed == sa.bindparam("filter_status"),
    "completed": _COLUMNS.completed == sa.bindparam("filter_completed"),
    "priority": _COLUMNS.priority
    == sa.any_(sa.cast(sa.bindparam("filter_priority"), ARRAY(_COLUMNS.priority.type))),
    "tags": _fold_tags(_COLUMNS.tags).contains(_fold_tags(sa.bindparam("filter_tags"))),
    "due_before": _COLUMNS.due_date < sa.bindparam("filter_due_before"),
    "due_after": _COLUMNS.due_date >= sa.bindparam("filter_due_after"),
    "search": _has_text(_COLUMNS.title) | _has_text(_COLUMNS.description),
}
"""The conditions that narrow a list, by name; each takes its value as `filter_<name>`.

None has an index of its own, which each write would pay for: that of the sort leads to the
account's tasks, and all but a search pick the first 20 of 10,000 within 20 ms.
"""

_PUBLIC_COLUMNS: Final = [
    column for column in _COLUMNS if not Task.model_fields[column.name].exclude
]
_PUBLIC_JSON: Final = json_object(_PUBLIC_COLUMNS)
_VERSION: Final = sa.literal_column(
    "concat(tasks.xmin, '-', (extract(epoch FROM tasks.updated_at) * 1000000)::bigint)", sa.Text
)
_TASK_ROW: Final = (_COLUMNS.id, _PUBLIC_JSON, _VERSION)
"""What makes a TaskRow."""

_IS_OWNED: Final = _COLUMNS.user_id == sa.bindparam("owner")
_IS_OWNED_TASK: Final = (_COLUMNS.id == sa.bindparam("task_id")) & _IS_OWNED
_HAS_VERSION: Final = sa.any_(sa.bindparam("versions")) == _VERSION

_GET: Final = compile_statement(sa.select(*_TASK_ROW).where(_IS_OWNED_TASK), is_repeatable=True)


@cache
def _insert(columns: tuple[str, ...]) -> Compiled:
    values: Any = {name: sa.bindparam(name) for name in columns}
    return compile_statement(
        sa.insert(_TABLE).values(user_id=sa.bindparam("owner"), **values).returning(*_TASK_ROW)
    )


_HAS_KEY: Final = _COLUMNS.idempotency_key == sa.bindparam("idempotency_key")
_CREATED: Final = sa.select(
    *_TASK_ROW, _COLUMNS.idempotency_digest == sa.any_(sa.bindparam("digests"))
).where(_IS_OWNED, _HAS_KEY)
_GET_CREATED: Final = compile_statement(_CREATED, is_repeatable=True)
_COUNT: Final = compile_statement(
    sa.select(sa.func.count()).select_from(
        sa.select(sql("1")).where(_IS_OWNED).limit(sa.bindparam("limit")).subquery("some")
    ),
    is_repeatable=True,
)


@cache
def _insert_once(columns: tuple[str, ...]) -> Compiled:
    """Insert, or find the task that the same key has created: one row, and whether it is the same.

    The SELECT runs on the snapshot from before the INSERT, so that only one of them has a row.
    """
    values: Any = {name: sa.bindparam(name) for name in columns}
    key = _COLUMNS.idempotency_key
    created = (
        insert(_TABLE)
        .values(user_id=sa.bindparam("owner"), **values)
        .on_conflict_do_nothing(
            index_elements=[_COLUMNS.user_id, key], index_where=key.is_not(None)
        )
        .returning(_COLUMNS.id, _PUBLIC_JSON.label("json"), _VERSION.label("version"))
        .cte("created")
    )
    return compile_statement(
        sa.union_all(sa.select(created, sa.true()), _CREATED), is_repeatable=True
    )


@cache
def _update(columns: tuple[str, ...], *, is_conditional: bool) -> Compiled:
    """Set columns to the parameters `new_<name>`; without columns, toggle `completed`."""
    new: Any = {name: sa.bindparam(f"new_{name}") for name in columns}
    return compile_statement(
        sa.update(_TABLE)
        .where(_IS_OWNED_TASK, *([_HAS_VERSION] if is_conditional else []))
        .values(new or {"completed": ~_COLUMNS.completed})
        .returning(*_TASK_ROW)
    )


@cache
def _delete(*, is_conditional: bool) -> Compiled:
    return compile_statement(
        sa.delete(_TABLE)
        .where(_IS_OWNED_TASK, *([_HAS_VERSION] if is_conditional else []))
        .returning(*_TASK_ROW)
    )


@cache
def _update_all(columns: tuple[str, ...], filters: tuple[str, ...]) -> Compiled:
    """Set columns of tasks that do not have these values yet, and count them."""
    new: Any = {name: sa.bindparam(f"new_{name}") for name in columns}
    is_different = sa.or_(*(_COLUMNS[name].is_distinct_from(value) for name, value in new.items()))
    return _change_some(sa.update(_TABLE).values(new), filters, is_different)


@cache
def _delete_all(filters: tuple[str, ...]) -> Compiled:
    return _change_some(sa.delete(_TABLE), filters)


def _change_some(
    change: sa.Update | sa.Delete, filters: tuple[str, ...], *conditions: sa.ColumnElement[bool]
) -> Compiled:
    """Change as many tasks as one statement should, and count them."""
    some = (
        sa.select(_COLUMNS.id)
        .where(*_matching(filters), *conditions)
        .limit(sql(str(BULK_ROWS)))
        .with_for_update()
    )
    changed = change.where(_IS_OWNED, _COLUMNS.id.in_(some)).returning(sql("1")).cte("changed")
    return _limited(compile_statement(sa.select(sa.func.count()).select_from(changed)), filters)


def _limited(statement: Compiled, filters: tuple[str, ...]) -> Compiled:
    """Return the statement with the time-out of a search, where it has one."""
    return statement._replace(seconds=SEARCH_SECONDS if "search" in filters else None)


def _matching(filters: tuple[str, ...]) -> list[sa.ColumnElement[bool]]:
    return [_IS_OWNED, *(FILTERS[name] for name in filters)]


@cache
def _list(filters: tuple[str, ...], sort: str, *, is_descending: bool) -> Compiled:
    statement = compile_list(
        _PUBLIC_COLUMNS,
        _matching(filters),
        _COLUMNS.id,
        SORTS[sort],
        is_descending=is_descending,
    )
    return _limited(statement, filters)


@cache
def _page(
    filters: tuple[str, ...],
    sort: str,
    *,
    is_descending: bool,
    is_continued: bool,
    has_all_columns: bool,
) -> Compiled:
    statement = compile_page(
        _COLUMNS if has_all_columns else _PUBLIC_COLUMNS,
        _matching(filters),
        _COLUMNS.id,
        SORTS[sort],
        is_descending=is_descending,
        is_continued=is_continued,
    )
    return _limited(statement, filters)


async def list_tasks(  # noqa: PLR0913 - each is a choice of the caller
    session: Session,
    owner: int,
    filters: Mapping[str, object],
    *,
    sort: str = "created_at",
    is_descending: bool = False,
    after: Cursor | None = None,
    limit: int | None = None,
    has_all_columns: bool = False,
) -> Page:
    """Return the first tasks after a cursor, at most `limit` and `PAGE_ROWS` of them.

    They are fewer where they would be more than `PAGE_BYTES`; `next` tells whether there are more.
    """
    params = {"owner": owner, **_filter_params(filters)}
    names = tuple(filters)
    if after is None and limit is None and not has_all_columns:
        # Most lists fit one page, and this takes PostgreSQL half of the time.
        statement = _list(names, sort, is_descending=is_descending)
        row = await session.fetch_one(statement, params)
        assert row is not None  # noqa: S101 - an aggregate always has a row
        tasks, count = row
        if tasks is not None:
            return Page(f"[{tasks}]".encode(), count, None)
    statement = _page(
        names,
        sort,
        is_descending=is_descending,
        is_continued=after is not None,
        has_all_columns=has_all_columns,
    )
    params["rows"] = min(limit or PAGE_ROWS, PAGE_ROWS)
    if after is not None:
        params |= {"after_key": after.key, "after_id": after.id}
    row = await session.fetch_one(statement, params)
    assert row is not None  # noqa: S101 - an aggregate always has a row
    tasks, count, has_more, *last = row
    return Page(f"[{tasks}]".encode(), count, Cursor(*last) if has_more else None)


class TaskQuota:
    """Limits how many tasks each account has, without a count in each create.

    A count grants an account some more creates, 1 % of the limit at most and for a minute at most:
    each process may exceed the limit by that.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._granted: TTLCache[int, Iterator[int]] = TTLCache(MAX_GRANTS, GRANT_SECONDS)
        self._full_at: TTLCache[int, float] = TTLCache(MAX_GRANTS, GRANT_SECONDS)
        self._counting = AccountLimiter(1)

    async def admits(self, session: Session, owner: int) -> bool:
        """Tell whether the account may have one more task, and count that one.

        Raises UnavailableError where its tasks cannot be counted in time.
        """
        if self._takes_grant(owner):
            return True
        # One count at a time: of many creates at once each would count, and grant anew.
        asked_at = time.monotonic()
        async with self._counting.use(str(owner)):
            if self._takes_grant(owner):
                return True
            if asked_at < self._full_at.get(owner, 0):
                # A count that began after this create was sent found no room.
                return False
            counted_at = time.monotonic()
            row = await session.fetch_one(_COUNT, {"owner": owner, "limit": self.limit})
            left = self.limit - (row[0] if row else 0)
            if left <= 0:
                self._full_at[owner] = counted_at
                return False
            # Less the one that is admitted now.
            self._granted[owner] = iter(range(min(left, max(1, self.limit // 100)) - 1))
            return True

    def _takes_grant(self, owner: int) -> bool:
        return next(self._granted.get(owner, iter(())), None) is not None


async def create_task(
    session: Session,
    owner: int,
    values: Mapping[str, object],
    *,
    key: str | None = None,
    quota: TaskQuota | None = None,
) -> TaskRow | None:
    """Create a task, or return the one that the same key of the same owner has created.

    None when there is no such user. Raises IdempotencyConflictError when the key came with other
    values, which are compared as they are stored with those of the first call, and
    QuotaExceededError.
    """
    is_admitted = quota is None or await quota.admits(session, owner)
    params = {**values, "owner": owner}
    if key is None:
        if not is_admitted:
            raise QuotaExceededError
        row = await _create(session, _insert(tuple(values)), params)
        return TaskRow(*row) if row else None
    digest = f"2:{_digest(values)}"
    # A call that release 1.0 answered has the digest of the columns that it knew.
    earlier = _digest({name: values.get(name) for name in ("title", "description", "completed")})
    params |= {
        "idempotency_key": key,
        "idempotency_digest": digest,
        "digests": [digest, earlier],
    }
    statement = (
        _insert_once((*values, "idempotency_key", "idempotency_digest"))
        if is_admitted
        else _GET_CREATED
    )
    for _ in range(CREATE_ATTEMPTS):
        row = await _create(session, statement, params)
        if row is None:
            return None
        if row:
            *task_row, is_same = row
            if not is_same:
                raise IdempotencyConflictError
            return TaskRow(*task_row)
        if not is_admitted:
            raise QuotaExceededError
        # A task with the key came while this one waited for it, or went.
    raise UnavailableError


async def get_task(session: Session, owner: int, task_id: int) -> TaskRow | None:
    """Return a task; None when the owner has no such task."""
    row = await session.fetch_one(_GET, {"owner": owner, "task_id": task_id})
    return TaskRow(*row) if row else None


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
        task = await get_task(session, owner, task_id)
        if task is not None and versions is not None and task.version not in versions:
            raise VersionMismatchError
        return task
    statement = _update(tuple(changes), is_conditional=versions is not None)
    params = {f"new_{name}": value for name, value in changes.items()}
    return await _change(session, owner, task_id, statement, versions, **params)


async def toggle_task(
    session: Session, owner: int, task_id: int, versions: list[str] | None = None
) -> TaskRow | None:
    """Complete a pending task, or the reverse; otherwise as `update_task`."""
    statement = _update((), is_conditional=versions is not None)
    return await _change(session, owner, task_id, statement, versions)


async def delete_task(
    session: Session, owner: int, task_id: int, versions: list[str] | None = None
) -> TaskRow | None:
    """Delete a task and return what it was; otherwise as `update_task`."""
    statement = _delete(is_conditional=versions is not None)
    return await _change(session, owner, task_id, statement, versions)


async def update_tasks(
    session: Session, owner: int, filters: Mapping[str, object], changes: Mapping[str, object]
) -> int:
    """Set columns on all tasks that fit, and return how many have changed."""
    statement = _update_all(tuple(changes), tuple(filters))
    new = {f"new_{name}": value for name, value in changes.items()}
    return await _in_steps(session, statement, {"owner": owner, **new, **_filter_params(filters)})


async def delete_tasks(session: Session, owner: int, filters: Mapping[str, object]) -> int:
    """Delete all tasks that fit, and return how many they were."""
    statement = _delete_all(tuple(filters))
    return await _in_steps(session, statement, {"owner": owner, **_filter_params(filters)})


async def _in_steps(session: Session, statement: Compiled, params: Mapping[str, object]) -> int:
    """Send a statement until it has changed all rows; one statement, up to `BULK_ROWS` of them."""
    total = 0
    while True:
        row = await session.fetch_one(statement, params)
        changed: int = row[0] if row else 0
        total += changed
        if changed < BULK_ROWS:
            return total


async def _create(
    session: Session, statement: Compiled, params: Mapping[str, object]
) -> tuple[Any, ...] | None:
    """Send a statement that creates a task; None for no such user, () where it has no row."""
    try:
        # An error would end the caller's transaction; a savepoint does not.
        async with session.begin_nested() if session.in_transaction() else nullcontext():
            return await session.fetch_one(statement, params) or ()
    except IntegrityError as error:
        if not isinstance(error.orig, ForeignKeyViolation):
            raise
        return None


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
    return TaskRow(*row) if row else None


def _digest(values: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _filter_params(filters: Mapping[str, object]) -> dict[str, object]:
    return {f"filter_{name}": value for name, value in filters.items()}
