"""Tests of the operations on all tasks at once."""

from typing import Any

import pytest

from tests.support.problems import assert_problem
from tests.support.service import Person


def seed(person: Person) -> list[dict[str, Any]]:
    return [
        person.create(title=title, completed=title.startswith("done"))
        for title in ("milk", "done milk", "bread", "done bread", "100%")
    ]


@pytest.mark.parametrize(("completed", "count"), [(True, 3), (False, 2)])
def test_complete_all_sets_every_task_and_counts_those_that_change(
    alice: Person, bob: Person, *, completed: bool, count: int
) -> None:
    before, theirs = seed(alice), seed(bob)
    response = alice.tasks("PATCH", json={"completed": completed})
    assert (response.status_code, response.json()) == (200, {"updated": count})
    after = alice.tasks("GET", params={"order": "asc"}).json()
    assert [task["completed"] for task in after] == [completed] * 5
    for old, new in zip(before, after, strict=True):
        has_changed = old["completed"] is not completed
        assert (new["updated_at"] > old["updated_at"]) is has_changed
        assert new == {**old, "completed": completed, "updated_at": new["updated_at"]}
    assert alice.tasks("PATCH", json={"completed": completed}).json() == {"updated": 0}
    assert bob.tasks("GET", params={"order": "asc"}).json() == theirs


@pytest.mark.parametrize(
    ("params", "left"),
    [
        ({"status": "completed"}, ["milk", "bread", "100%"]),
        ({"status": "pending"}, ["done milk", "done bread"]),
        ({"status": "all"}, []),
        ({"status": "completed", "search": "MILK"}, ["milk", "bread", "done bread", "100%"]),
        ({"status": "all", "search": "%"}, ["milk", "done milk", "bread", "done bread"]),
        ({"status": "pending", "search": "nothing"}, None),
        ({"status": "all", "completed": "true"}, ["milk", "bread", "100%"]),
        ({"status": "pending", "completed": "true"}, None),
        ({"status": "completed", "sort": "title", "page": "1"}, ["milk", "bread", "100%"]),
    ],
)
def test_delete_by_status_deletes_what_the_list_would_show_and_counts_it(
    alice: Person, bob: Person, params: dict[str, str], left: list[str] | None
) -> None:
    tasks, theirs = seed(alice), seed(bob)
    left = [task["title"] for task in tasks] if left is None else left
    shown = alice.tasks("GET", params=params).json()
    response = alice.tasks("DELETE", params=params)
    assert (response.status_code, response.json()) == (200, {"deleted": len(shown)})
    assert [task["title"] for task in alice.tasks("GET", params={"order": "asc"}).json()] == left
    assert alice.tasks("DELETE", params=params).json() == {"deleted": 0}
    assert bob.tasks("GET", params={"order": "asc"}).json() == theirs


@pytest.mark.parametrize(
    ("options", "field"),
    [
        *(({"params": params}, "status") for params in ({}, {"status": ""}, {"Status": "all"})),
        ({"params": {"status": "done"}}, "status"),
        ({"params": {"status": "all", "search": "\0"}}, "search"),
        ({"params": {"status": "all", "limit": "1"}}, "limit"),
        ({"params": {"status": "all", "cursor": "x"}}, "cursor"),
        ({"params": {"status": "all", "priority": "highest"}}, "priority"),
        ({"json": {}}, "completed"),
        ({"json": {"completed": None}}, "completed"),
        ({"json": {"completed": True}, "params": {"limit": "1"}}, "limit"),
        ({"json": {"completed": True}, "params": {"cursor": "x"}}, "cursor"),
    ],
)
def test_what_is_refused_changes_nothing(
    alice: Person, options: dict[str, Any], field: str
) -> None:
    tasks = seed(alice)
    response = alice.tasks("PATCH" if "json" in options else "DELETE", **options)
    assert_problem(response, 400, field)
    assert alice.tasks("GET", params={"order": "asc"}).json() == tasks
