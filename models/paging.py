"""Lists of a table in keyset pages, as JSON that PostgreSQL writes (docs/decisions/0007).

A sort is an expression that is never null, so that one comparison of rows, `(key, id) > (…)`,
continues a list, and one index serves it. The key of the last row travels as text and is cast back.
"""

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from core.database import Compiled, compile_statement

PAGE_ROWS: Final = 1000
"""The most rows that one statement reads."""
PAGE_BYTES: Final = 1024 * 1024
"""The most bytes of JSON that one statement returns, unless a single row has more."""


class Cursor(NamedTuple):
    """Where a page ends: the sort key (as text) and the id of its last row."""

    key: str
    id: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows as a JSON array in UTF-8, and where the next page begins if there are more."""

    json: bytes
    count: int
    next: Cursor | None


@dataclass(frozen=True)
class Sort:
    """What a list is sorted by in each direction: expressions that are never null."""

    ascending: sa.ColumnElement[Any]
    descending: sa.ColumnElement[Any]
    is_descending: bool = False
    """The direction where the caller names none."""

    @classmethod
    def by(cls, expression: sa.ColumnElement[Any], *, is_descending: bool = False) -> "Sort":
        """Sort by an expression that is never null."""
        return cls(expression, expression, is_descending)

    @classmethod
    def nulls_last(cls, column: sa.ColumnElement[Any], lowest: str, highest: str) -> "Sort":
        """Sort by a column with nulls last in both directions, which takes an index for each.

        `lowest` and `highest` are SQL for values beyond all others, such as `'-infinity'` and
        `'infinity'`.
        """
        below, above = (
            sa.func.coalesce(column, sa.literal_column(value, column.type))
            for value in (lowest, highest)
        )
        return cls(above, below)

    def key(self, *, is_descending: bool) -> sa.ColumnElement[Any]:
        """Return the expression for one direction."""
        return self.descending if is_descending else self.ascending


def sql(text: str) -> sa.ColumnElement[Any]:
    """Return a piece of SQL that is a constant of the statement and not a parameter."""
    return sa.literal_column(text)


def json_object(columns: Iterable[sa.ColumnElement[Any]]) -> sa.ColumnElement[str]:
    """Return the JSON object of these columns as text; times are in UTC, to the microsecond."""
    members: list[sa.ColumnElement[Any]] = []
    for column in columns:
        value = column
        if isinstance(column.type, sa.DateTime):
            form = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
            value = sa.func.to_char(sa.func.timezone(sql("'UTC'"), column), sql(f"'{form}'"))
        members += [sql(f"'{column.key}'"), value]
    return sa.cast(sa.func.json_build_object(*members), sa.Text)


def compile_list(
    columns: Iterable[sa.ColumnElement[Any]],
    conditions: Iterable[sa.ColumnElement[bool]],
    row_id: sa.ColumnElement[int],
    sort: Sort,
    *,
    is_descending: bool,
) -> Compiled:
    """Compile a statement that returns a whole list if it fits one page: its JSON and its length.

    The JSON is null for one that does not. It takes about half of what `compile_page` does.
    """
    key = sort.key(is_descending=is_descending)
    direction = sa.desc if is_descending else sa.asc
    rows = (
        sa.select(json_object(columns).label("json"), key.label("key"), row_id.label("id"))
        .where(*conditions)
        # Not by id alone: the planner would scan the primary key across all users.
        .order_by(direction(key), direction(row_id))
        .limit(sql(str(PAGE_ROWS + 1)))
        .subquery("page_rows")
    )
    fits = (sa.func.count() <= sql(str(PAGE_ROWS))) & (
        sa.func.sum(sa.func.octet_length(rows.c.json)) <= sql(str(PAGE_BYTES))
    )
    objects = sa.func.string_agg(
        rows.c.json,
        aggregate_order_by(sql("','"), direction(rows.c.key), direction(rows.c.id)),
    )
    return compile_statement(
        sa.select(
            sa.case((sa.func.count() == sql("0"), sql("''")), (fits, objects)),
            sa.func.count(),
        ).select_from(rows),
        is_repeatable=True,
    )


def compile_page(  # noqa: PLR0913 - each is a choice of the caller
    columns: Iterable[sa.ColumnElement[Any]],
    conditions: Iterable[sa.ColumnElement[bool]],
    row_id: sa.ColumnElement[int],
    sort: Sort,
    *,
    is_descending: bool,
    is_continued: bool,
) -> Compiled:
    """Compile a statement that returns the first rows, or those after a cursor, that fit one page.

    It takes the parameters `rows` and, when continued, `after_key` and `after_id`. It returns the
    JSON, the number of rows in it, whether more follow, and the key and id of the last one.
    """
    columns = list(columns)
    key = sort.key(is_descending=is_descending)
    direction = sa.desc if is_descending else sa.asc
    conditions = list(conditions)
    if is_continued:
        here = sa.tuple_(key, row_id)
        there = sa.tuple_(sa.cast(sa.bindparam("after_key"), key.type), sa.bindparam("after_id"))
        conditions.append(here < there if is_descending else here > there)
    # The sizes of texts are in their headers: PostgreSQL adds them up without reading the texts,
    # so that JSON is only written for rows that may fit.
    stored: sa.ColumnElement[int] = functools.reduce(
        operator.add,
        (
            sa.func.coalesce(sa.func.octet_length(column), sql("0"))
            for column in columns
            if isinstance(column.type, sa.Text)
        ),
        sql("0"),
    )
    order = [direction(key), direction(row_id)]
    candidates = (
        sa.select(
            *columns,
            row_id.label("row_id"),
            # As JSON has it: independent of the session's DateStyle and time zone.
            sa.func.to_json(key).op("#>>")(sql("'{}'")).label("row_key"),
            sa.func.row_number().over(order_by=order).label("position"),
            sa.func.sum(stored).over(order_by=order, rows=(None, 0)).label("stored"),
            # Not a count: that would read all rows of the list before LIMIT.
            sa.func.lead(row_id).over(order_by=order).label("following"),
        )
        .where(*conditions)
        .order_by(*order)
        .limit(sa.bindparam("rows") + sql("1"))
        .subquery("candidates")
    )
    written = (
        sa.select(
            json_object(candidates.c[str(column.key)] for column in columns).label("json"),
            *(candidates.c[name] for name in ("row_id", "row_key", "position", "following")),
        )
        .where(
            (candidates.c.stored <= sql(str(PAGE_BYTES))) | (candidates.c.position == sql("1")),
            candidates.c.position <= sa.bindparam("rows"),
        )
        .subquery("written")
    )
    size = sa.func.octet_length(written.c.json)
    page = sa.select(
        *written.c,
        sa.func.sum(size).over(order_by=written.c.position, rows=(None, 0)).label("size"),
    ).subquery("page_rows")
    last_key, last_id, following = (
        sa.func.array_agg(aggregate_order_by(value, page.c.position.desc()))[sql("1")]
        for value in (page.c.row_key, page.c.row_id, page.c.following)
    )
    objects = sa.func.string_agg(page.c.json, aggregate_order_by(sql("','"), page.c.position))
    return compile_statement(
        sa.select(
            sa.func.coalesce(objects, sql("''")),
            sa.func.count(),
            following.is_not(None),
            last_key,
            last_id,
        ).where((page.c.size <= sql(str(PAGE_BYTES))) | (page.c.position == sql("1"))),
        is_repeatable=True,
    )
