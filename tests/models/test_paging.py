"""Tests of keyset paging, on a table of their own with ties and nulls."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from core.database import Session
from models.paging import PAGE_BYTES, Cursor, Sort, compile_list, compile_page
from tests.conftest import MakeDatabase
from tests.support.database import execute, run_in_session

ROWS = 120
TABLE = sa.Table(
    "notes",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger),
    sa.Column("text", sa.Text),
    sa.Column("due", sa.DateTime(timezone=True)),
)
SORTS = {
    "id": Sort.by(TABLE.c.id),
    "text": Sort.by(TABLE.c.text),
    "due": Sort.nulls_last(TABLE.c.due, "'-infinity'", "'infinity'"),
}


@pytest.fixture(scope="module")
def url(make_database: MakeDatabase) -> str:
    """Fill a table in which half of the times are missing and most keys come several times."""
    url = make_database()
    generator = random.Random(1)  # noqa: S311 - it need not be unpredictable
    execute(url, 'CREATE TABLE notes (id bigint, text text COLLATE "C", due timestamptz)')
    for number in range(ROWS):
        due = datetime(1, 1, 1, 12, tzinfo=UTC) + timedelta(
            days=generator.randrange(8), microseconds=generator.randrange(2)
        )
        text = generator.choice("ab'\"\\é")
        execute(url, "INSERT INTO notes VALUES (%s, %s, %s)", number, text, due)
    execute(url, "UPDATE notes SET due = NULL WHERE mod(id, 2) = 0")
    # The text of a time depends on these; the order of pages must not.
    name = url.rpartition("/")[2].partition("?")[0]
    execute(url, f"ALTER DATABASE {name} SET datestyle = 'SQL, DMY'")
    execute(url, f"ALTER DATABASE {name} SET timezone = 'Asia/Kolkata'")
    return url


def expected(url: str, sort: str, *, is_descending: bool) -> list[int]:
    """Return the ids in order, sorted in Python with nulls last."""
    rows: list[tuple[Any, ...]] = execute(url, f"SELECT {sort}, id FROM notes")  # noqa: S608
    keyed = sorted((row for row in rows if row[0] is not None), reverse=is_descending)
    nulls = sorted((row[1] for row in rows if row[0] is None), reverse=is_descending)
    return [row_id for _, row_id in keyed] + nulls


async def read_pages(
    session: Session, sort: str, rows: int, *, is_descending: bool
) -> list[list[int]]:
    """Follow the cursors from the first page to the last; return the ids of each."""
    pages: list[list[int]] = []
    after: Cursor | None = None
    while True:
        statement = compile_page(
            TABLE.c, [], TABLE.c.id, SORTS[sort],
            is_descending=is_descending, is_continued=after is not None,
        )  # fmt: skip
        params = {"after_key": after.key, "after_id": after.id} if after else {}
        row = await session.fetch_one(statement, {"rows": rows, **params})
        assert row is not None
        text, count, has_more, *last = row
        pages.append([each["id"] for each in json.loads(f"[{text}]")])
        assert len(pages[-1]) == count
        if not has_more:
            return pages
        assert len(pages) < ROWS
        after = Cursor(*last)


async def read_list(session: Session, sort: str, *, is_descending: bool) -> list[int] | None:
    """Return the ids of the whole list; None where it does not fit one page."""
    statement = compile_list(TABLE.c, [], TABLE.c.id, SORTS[sort], is_descending=is_descending)
    row = await session.fetch_one(statement, {})
    assert row is not None
    return None if row[0] is None else [each["id"] for each in json.loads(f"[{row[0]}]")]


@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("sort", SORTS)
def test_pages_have_every_row_once_in_order(url: str, sort: str, *, is_descending: bool) -> None:
    async def read(session: Session) -> None:
        assert await read_list(session, sort, is_descending=is_descending) == order
        for rows in (1, 7, ROWS, ROWS + 1):
            pages = await read_pages(session, sort, rows, is_descending=is_descending)
            assert [each for page in pages for each in page] == order
            assert all(len(page) == rows for page in pages[:-1])

    order = expected(url, sort, is_descending=is_descending)
    run_in_session(url, read)


def test_a_page_has_a_bounded_size_as_json(make_database: MakeDatabase) -> None:
    url = make_database()
    execute(url, "CREATE TABLE notes (id bigint, text text, due timestamptz)")
    # Each character takes six in JSON.
    execute(
        url, "INSERT INTO notes SELECT n, repeat(E'\\x01', 10000) FROM generate_series(1, 50) n"
    )
    execute(url, "INSERT INTO notes VALUES (51, repeat('x', 2000000))")

    async def read(session: Session) -> None:
        assert await read_list(session, "id", is_descending=False) is None
        pages = await read_pages(session, "id", 1000, is_descending=False)
        fitting = PAGE_BYTES // 60_000
        assert [len(page) for page in pages] == [fitting] * 2 + [50 - 2 * fitting, 1]

    run_in_session(url, read)
