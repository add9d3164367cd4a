"""Tests of the list: filters, sorting, pages and streaming."""

from collections.abc import Iterator
from operator import itemgetter
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from models.task import PRIORITIES, SORTS
from tests.support.problems import assert_problem
from tests.support.rows import insert_tasks
from tests.support.service import Person

ORDERS = ["asc", "desc"]
WRONG = [
    ("status", "done", ["all", "pending", "completed"]),
    ("sort", "id", [*SORTS]),
    ("sort_by", "title desc", [*SORTS]),
    ("sort_order", "up", ["asc", "desc"]),
    ("priority", "high,highest", [*PRIORITIES]),
    ("completed", "yes", ["true", "false"]),
    ("due_before", "tomorrow", ["2026-12-31"]),
    ("due_after", "1767225600", ["2026-12-31"]),
    ("tag", "x" * 51, ["50"]),
    ("order", "up", ["asc", "desc"]),
    *(
        ("limit", limit, ["1", "500"])
        for limit in ("0", "-1", "501", "9" * 30, "ten", "1.0", "1_0", " 1", "1e1", "\u0661")
    ),
    ("search", "x" * 201, ["200"]),
    ("search", "\0", ["NUL"]),
    ("tags", "a\0", ["NUL"]),
    ("cursor", "x" * 2001, ["2000"]),
]


def pages(person: Person, **params: Any) -> Iterator[list[dict[str, Any]]]:
    """Follow the `Link` headers from the first page to the last."""
    response = person.tasks("GET", params=params)
    while True:
        assert response.status_code == 200, response.text
        yield response.json()
        if "next" not in response.links:
            return
        response = person.call("GET", response.links["next"]["url"])


def all_pages(person: Person, **params: Any) -> list[dict[str, Any]]:
    return [task for page in pages(person, **params) for task in page]


def mixed(person: Person) -> None:
    """Create tasks whose orders by each sort differ, with ties and nulls."""
    tasks = [
        person.create(title=title, completed=title == "date", priority=priority, due_date=due)
        for title, priority, due in (
            ("pear", "low", None),
            ("Apple", "high", "2026-12-31"),
            ("fig", "medium", "0001-01-01"),
            ("apple", "none", None),
            ("date", "high", "9999-12-31T23:59:59.999999Z"),
            ("cherry", "urgent", "2026-12-31"),
            ("Banana", "low", None),
        )
    ]
    for position in (4, 0, 2):
        person.tasks("PATCH", tasks[position]["id"], json={"description": "changed"})


# Filters


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("milk", ["Buy MILK", "o'clock"]),
        ("BUY", ["Buy MILK"]),
        ("100%", ["100% done"]),
        ("%", ["100% done"]),
        ("_", ["snake_case"]),
        ("e_c", ["snake_case"]),
        ("\\", ["back\\slash"]),
        ("/", ["a/b"]),
        ("k\\s", ["back\\slash"]),
        ("'", ["o'clock"]),
        ("%(search)s", []),
        ("nothing like it", []),
        (" done", ["100% done", "1000 done"]),
    ],
)
def test_search_finds_literal_text_in_title_and_description_in_any_case(
    alice: Person, bob: Person, search: str, expected: list[str]
) -> None:
    bob.create(title=f"{search} milk % _ \\ / '")
    alice.create(title="Buy MILK", description="oat")
    for title in ("100% done", "1000 done", "snake_case", "snakeXcase", "back\\slash", "a/b"):
        alice.create(title=title)
    alice.create(title="o'clock", description="no milk")
    found = alice.tasks("GET", params={"search": search, "order": "asc"}).json()
    assert [task["title"] for task in found] == expected


# Order


NEWEST_OR_HIGHEST_FIRST = {"created_at", "updated_at", "priority"}


def in_order(tasks: list[dict[str, Any]], sort: str, order: str | None) -> list[dict[str, Any]]:
    """Return the tasks as the contract sorts them: nulls last in both directions."""

    def key(task: dict[str, Any]) -> tuple[Any, int]:
        ranks: dict[str, Any] = {"priority": PRIORITIES.index, "title": str.lower}
        return ranks.get(sort, str)(task[sort]), task["id"]

    is_descending = order == "desc" if order else sort in NEWEST_OR_HIGHEST_FIRST
    some = [task for task in tasks if task[sort] is not None]
    none = [task for task in tasks if task[sort] is None]
    return sorted(some, key=key, reverse=is_descending) + sorted(
        none, key=itemgetter("id"), reverse=is_descending
    )


@pytest.mark.parametrize("order", [*ORDERS, None])
@pytest.mark.parametrize("sort", SORTS)
def test_sort_and_order_decide_the_order_and_ids_break_ties(
    alice: Person, sort: str, order: str | None
) -> None:
    mixed(alice)
    params = {"sort": sort, **({"order": order} if order else {})}
    expected = in_order(alice.tasks("GET").json(), sort, order)
    assert alice.tasks("GET", params=params).json() == expected
    # The same one task, or three, at a time.
    for limit in (1, 3):
        assert all_pages(alice, **params, limit=limit) == expected


@pytest.mark.parametrize(
    ("params", "same_as"),
    [
        ({}, {"sort": "created_at"}),
        ({"order": "ASC"}, {"sort": "created_at", "order": "asc"}),
        ({"status": "COMPLETED"}, {"completed": "true"}),
        ({"sort": "created"}, {"sort": "created_at", "order": "desc"}),
        ({"sort_by": "Title", "sort_order": "desc"}, {"sort": "title", "order": "desc"}),
        ({"sort": "title", "sort_by": "priority"}, {"sort": "title"}),
        ({"sort": "updated"}, {"sort": "updated_at"}),
        ({"status": "", "search": "", "sort": "", "order": "", "limit": "", "cursor": ""}, {}),
        ({"page": "2", "skip": "0", "offset": "3", "_": "1", "Status": "done", "a\0": "\0"}, {}),
        ({"due_date": "2026-01-01", "priority": "all"}, {}),
        ({"status": "all", "limit": "500"}, {}),
    ],
)
def test_spellings_that_mean_the_same_and_unknown_parameters(
    alice: Person, params: dict[str, str], same_as: dict[str, str]
) -> None:
    mixed(alice)
    expected = alice.tasks("GET", params=same_as)
    response = alice.tasks("GET", params=params)
    assert (response.status_code, response.json()) == (200, expected.json())


@pytest.mark.parametrize(
    ("name", "value", "named"), WRONG, ids=[f"{name}-{value[:12]!a}" for name, value, _ in WRONG]
)
def test_a_wrong_value_is_400_and_names_the_allowed_ones(
    alice: Person, name: str, value: str, named: list[str]
) -> None:
    response = alice.tasks("GET", params={name: value})
    assert_problem(response, 400, name)
    (error,) = response.json()["errors"]
    assert all(each in error["message"] for each in named)


# Pages


def test_a_page_links_to_the_next_and_keeps_the_other_parameters(alice: Person) -> None:
    for _ in range(5):
        alice.create(title="50% of a&b")
    params = {"search": "50% of a&b", "sort": "title", "limit": "2", "mine": "é ="}
    response = alice.call("GET", "/api/me/tasks", params=params)
    assert response.links["next"]["rel"] == "next"
    target = urlsplit(response.links["next"]["url"])
    assert target.path == "/api/me/tasks"
    following = dict(parse_qsl(target.query))
    assert following.pop("cursor")
    assert following == params
    assert len(all_pages(alice, **params)) == 5


def test_only_a_limited_list_with_more_to_come_has_a_link(alice: Person) -> None:
    for _ in range(4):
        alice.create()
    assert [len(page) for page in pages(alice, limit=2)] == [2, 2]
    for params in ({}, {"limit": 4}, {"limit": 1, "search": "nothing"}):
        assert "link" not in alice.tasks("GET", params=params).headers


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sort", SORTS)
def test_pages_stay_stable_while_tasks_come_and_go(alice: Person, sort: str, order: str) -> None:
    created = [alice.create(title=f"task {n}") for n in range(9)]
    expected = created if order == "asc" else created[::-1]
    walk = pages(alice, sort=sort, order=order, limit=3)
    assert next(walk) == expected[:3]
    # The last task of the page, on which the cursor stands, goes; others come on either side.
    alice.tasks("DELETE", expected[2]["id"])
    alice.tasks("DELETE", expected[4]["id"])
    new = [alice.create(title=title)["id"] for title in ("a task", "task 9", "zebra")]
    rest = [task for page in walk for task in page]
    assert [task for task in rest if task["id"] not in new] == [expected[3], *expected[5:]]
    # A new one is read where it is still to come, and never twice.
    ids = [task["id"] for task in rest]
    assert len(set(ids)) == len(ids)
    assert (new[2] in ids) is (order == "asc")


def test_a_cursor_works_with_another_limit_and_with_200_characters_of_4_bytes(
    alice: Person,
) -> None:
    created = [alice.create(title=f"{'\U0001f600' * 199}{n}") for n in range(4)]
    url = alice.tasks("GET", params={"sort": "title", "limit": 1}).links["next"]["url"]
    response = alice.call("GET", url.replace("limit=1", "limit=50"))
    assert response.json() == created[1:]


@pytest.mark.parametrize(
    "other",
    [
        {"status": "completed"},
        {"search": "task"},
        {"sort": "updated_at"},
        {"order": "asc"},
        {"sort": "", "order": "asc"},
        {"priority": "medium"},
        {"due_before": "2026-12-31"},
    ],
)
def test_a_cursor_of_another_query_is_400(alice: Person, other: dict[str, str]) -> None:
    for _ in range(3):
        alice.create()
    params = {"sort": "created_at", "order": "desc", "limit": "1"}
    cursor = alice.tasks("GET", params=params).links["next"]["url"].rpartition("cursor=")[2]
    for same in ({}, {"sort": "created"}, {"sort": "", "sort_by": "created_at"}):
        again = alice.tasks("GET", params={**params, **same, "cursor": cursor})
        assert again.status_code == 200
    assert_problem(alice.tasks("GET", params={**params, **other, "cursor": cursor}), 400, "cursor")


def test_a_forged_cursor_and_one_of_another_user_are_400(alice: Person, bob: Person) -> None:
    for person in (alice, bob):
        for _ in range(3):
            person.create()
    path = alice.tasks("GET", params={"limit": 1}).links["next"]["url"]
    cursor = path.rpartition("cursor=")[2]
    changed = [
        f"{cursor[:n]}{'A' if cursor[n] != 'A' else 'B'}{cursor[n + 1 :]}"
        for n in range(0, len(cursor), 5)
    ]
    forged = [*changed, "x", "AAAA", "A" * 22, cursor[:-4], f"{cursor}AAAA", "é", "\0", "="]
    for each in forged:
        response = alice.tasks("GET", params={"limit": 1, "cursor": each})
        assert_problem(response, 400, "cursor")
    assert_problem(bob.tasks("GET", params={"limit": 1, "cursor": cursor}), 400, "cursor")
    assert_problem(bob.call("GET", path), 403)


# Long lists


def test_a_list_of_more_than_1000_tasks_is_streamed_and_complete(
    alice: Person, bob: Person, database_url: str
) -> None:
    for person in (alice, bob, alice):
        insert_tasks(database_url, person.id, 1250)
    for params in ({}, {"sort": "title", "order": "desc"}, {"status": "pending", "search": "TASK"}):
        response = alice.tasks("GET", params=params)
        assert response.headers["transfer-encoding"] == "chunked"
        assert "etag" not in response.headers
        expected = all_pages(alice, limit=500, **params)
        assert response.json() == expected
        assert len(expected) == (1250 if "status" in params else 2500)
        assert {task["user_id"] for task in expected} == {alice.id}


def test_pages_are_bounded_by_bytes_as_well_as_by_number(alice: Person, database_url: str) -> None:
    insert_tasks(database_url, alice.id, 1500, description=10_000)
    response = alice.tasks("GET", params={"limit": 500})
    assert len(response.content) < 1_200_000
    assert 50 < len(response.json()) < 500
    tasks = alice.tasks("GET").json()
    assert [task["title"] for task in tasks] == [f"task {n:06}" for n in range(1500, 0, -1)]
    assert all_pages(alice, limit=500) == tasks
