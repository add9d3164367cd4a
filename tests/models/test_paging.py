"""Tests of pages in a database with settings of its own, and of their size.

tests/routers/test_lists.py has those of every sort, with ties and nulls.
"""

from sqlalchemy import make_url

from models.paging import PAGE_BYTES
from models.task import SORTS
from tests.conftest import Serve
from tests.support.database import execute
from tests.support.rows import insert_tasks
from tests.support.service import Person
from tests.support.tokens import SigningKey


def test_pages_depend_neither_on_settings_of_the_database_nor_on_characters_of_the_key(
    own_database: str, serve: Serve, key: SigningKey
) -> None:
    # The text of a time depends on these.
    for setting in ("datestyle = 'SQL, DMY'", "timezone = 'Asia/Kolkata'"):
        name = make_url(own_database).database
        execute(own_database, f"ALTER DATABASE {name} SET {setting}")
    alice = Person(serve(own_database), key)
    for number, title in enumerate("ab'\"\\é%,ab'\"", 1):
        alice.create(title=title, due_date=f"0001-{number:02}-{13 - number:02}T00:00:00.000001Z")
    for sort in SORTS:
        for order in ("asc", "desc"):
            params = {"sort": sort, "order": order}
            tasks = alice.tasks("GET", params=params).json()
            response = alice.tasks("GET", params={**params, "limit": 1})
            paged = response.json()
            while "next" in response.links:
                response = alice.call("GET", response.links["next"]["url"])
                paged += response.json()
            assert paged == tasks, params


def test_a_page_has_a_bounded_size_as_json(alice: Person, database_url: str) -> None:
    insert_tasks(database_url, alice.id, 50, description=10_000)
    update = "UPDATE tasks SET description = %s WHERE user_id = %s"
    # Each character takes six in JSON.
    execute(database_url, update, "\x01" * 10_000, alice.id)
    execute(database_url, f"{update} AND title = 'task 000050'", "x" * 2_000_000, alice.id)
    response = alice.tasks("GET", params={"limit": 500})
    # A task that has more is a page of its own.
    assert len(response.json()) == 1
    response = alice.call("GET", response.links["next"]["url"])
    assert len(response.json()) == PAGE_BYTES // 60_000
    assert len(response.content) <= PAGE_BYTES + 100
    assert len(alice.tasks("GET").json()) == 50
