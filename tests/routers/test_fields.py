"""Tests of each field of a task: what is read, stored, returned and filtered by."""

import hashlib
import json
from typing import Any

import pytest

from tests.support.database import execute
from tests.support.problems import assert_problem
from tests.support.service import Person

UNSEEN = ("\u200b", "\ufeff", "\u2800", "\x1c", "\u3164", "\u00ad\u2060", "\ufe0f", "\u0300")
TIMES = {
    "2026-12-31": "2026-12-31T00:00:00.000000Z",
    "2026-12-31T09:30": "2026-12-31T09:30:00.000000Z",
    "2026-12-31T09:30:15": "2026-12-31T09:30:15.000000Z",
    "2026-12-31t09:30:15.5z": "2026-12-31T09:30:15.500000Z",
    "2026-12-31T09:30:15.123456789Z": "2026-12-31T09:30:15.123456Z",
    "2026-12-31T09:30:15+05:30": "2026-12-31T04:00:15.000000Z",
    "2026-12-31T23:30:15-0100": "2027-01-01T00:30:15.000000Z",
    "0001-01-01": "0001-01-01T00:00:00.000000Z",
    "9999-12-31T23:59:59.999999Z": "9999-12-31T23:59:59.999999Z",
    "2028-02-29": "2028-02-29T00:00:00.000000Z",
}
NO_TIMES = [
    1767225600, 1.5, True, [], "1767225600", "20261231", "2026-12-31 09:30", "2026-12-31T24:00",
    "2026-12-31T23:59:60Z", "2026-02-29", "2026-13-01", "0000-01-01", "10000-01-01", "tomorrow",
    "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2026-12-31T09:30+25:00",
    "2026-12-31T", "2026-12-31T09", "2026-W01-1", "\u0662026-12-31", " 2026-12-31",
    f"2026-12-31T09:30:15.{'1' * 1000}", "\0", "\ud800",
]  # fmt: skip
UNCHANGED: dict[str, list[object]] = {
    "title": [
        "x", "x" * 200, "\U0001f600" * 200, "'; DROP TABLE tasks; --", "<script>alert(1)</script>",
        "%s %(title)s :title {0} \\", "\u202etxt.exe \u00ad \u200b", "one\ttwo\nthree",
    ],
    "description": ["e\u0301\r\n\t\u0085", "  x " * 2500, "\U0001f600" * 10_000, "", None],
}  # fmt: skip
NOT_STORABLE = ["\0", "\ud800", "\udfff", "\udc00\ud800", "a\0b", "\ud83dx"]
REFUSED: dict[str, list[object]] = {
    "title": [
        *UNSEEN, *NOT_STORABLE, "a\x07b", "\x7f", "e\u0301" * 201, "", " \t\n\u00a0\u2003 ",
        "x" * 201, "\U0001f600" * 201, None, 5, True, ["a"], {"a": 1}, 1e999,
    ],
    "description": [*NOT_STORABLE, "a\x1bb", "x" * 10_001, 5, False, []],
    "completed": ["yes", "true", "", 1, 0, 1.0, [], 1e999, None],
}  # fmt: skip
LONGEST_TAGS = [f"{n:02}{'x' * 48}" for n in range(20)]


@pytest.mark.parametrize(
    ("field", "sent", "stored"),
    [
        *(("priority", name.upper(), name) for name in ("none", "low", "medium", "high", "urgent")),
        ("priority", None, "none"),
        ("priority", "", "none"),
        ("due_date", None, None),
        ("due_date", "", None),
        *(("due_date", sent, stored) for sent, stored in TIMES.items()),
        ("tags", None, []),
        ("tags", [], []),
        ("tags", [" home ", "", " \u200b", "HOME", "Home", "e\u0301"], ["home", "\u00e9"]),
        ("tags", LONGEST_TAGS, LONGEST_TAGS),
        ("tags", ['a"b\\c{d}', "NULL", "it's"], ['a"b\\c{d}', "NULL", "it's"]),
        *((field, text, text) for field, texts in UNCHANGED.items() for text in texts),
        ("title", f"  {'x' * 200}\n", "x" * 200),
        ("title", "\u00a0a  b\u2003", "a  b"),
        ("title", "e\u0301" * 200, "\u00e9" * 200),
        ("completed", True, True),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_each_form_of_a_value_is_stored_in_one_form(
    alice: Person, field: str, sent: object, stored: object
) -> None:
    task = alice.create(**{field: sent})
    other = alice.create()["id"]
    for method, path in (("PUT", other), ("PATCH", task["id"])):
        body = {"title": "a task", field: sent}
        assert alice.tasks(method, path, json=body).json()[field] == stored
    assert task[field] == stored == alice.tasks("GET", task["id"]).json()[field]


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        *(("priority", sent) for sent in ("highest", "1", 1, True, ["high"], "h\u0131gh", " high")),
        *(("due_date", sent) for sent in NO_TIMES),
        *(
            ("tags", sent)
            for sent in ("home", {"a": 1}, [1], [None], [["a"]], ["a,b"], ["x" * 51], ["a"] * 21)
        ),
        *(("tags", [bad]) for bad in ("\0", "\ud800", "a\x07")),
        *((field, sent) for field, values in REFUSED.items() for sent in values),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_is_refused_is_named_and_changes_nothing(
    alice: Person, field: str, sent: object
) -> None:
    task = alice.create(tags=["kept"], due_date="2026-12-31", priority="high")
    body = {"title": "a task", field: sent}
    for method, path in (("POST", ""), ("PUT", task["id"]), ("PATCH", task["id"])):
        # As httpx would not: it sends no half of a surrogate pair. 1e999 is JSON, and infinity.
        content = json.dumps(body).replace("Infinity", "1e999")
        headers = {"Content-Type": "application/json"}
        response = alice.tasks(method, path, content=content, headers=headers)
        assert_problem(response, 400, field)
        if field in {"title", "description"} and len(str(sent)) > 8:
            assert str(sent) not in response.text
    assert alice.tasks("GET").json() == [task]


FILTERED: dict[str, dict[str, Any]] = {
    "none": {"priority": "none"},
    "low": {"priority": "low", "due_date": "2026-12-30", "tags": ["home"]},
    "high": {"priority": "high", "due_date": "2026-12-31", "tags": ["HOME", "Größe"]},
    "urgent": {"priority": "urgent", "due_date": "2027-01-01T09:00Z", "tags": ["homework"]},
}


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("priority=high", ["high"]),
        ("priority=HIGH,low", ["high", "low"]),
        ("priority=high&priority=low", ["high", "low"]),
        ("priority=all", ["urgent", "high", "low", "none"]),
        ("priority=high,all", ["urgent", "high", "low", "none"]),
        ("priority=", ["urgent", "high", "low", "none"]),
        ("tag=home", ["high", "low"]),
        ("tags=Home", ["high", "low"]),
        ("tag=home,gr%C3%96%C3%9Fe", ["high"]),
        ("tag=home&tags=work", []),
        ("tag=,", ["urgent", "high", "low", "none"]),
        ("tag=%25", []),
        ("due_before=2026-12-31", ["low"]),
        ("due_after=2026-12-31", ["urgent", "high"]),
        ("due_after=2026-12-31T00:00:00.000001Z", ["urgent"]),
        ("due_after=2026-12-30&due_before=2027-01-01", ["high", "low"]),
        ("due_after=2026-12-31T01:00:00%2B01:00&due_before=2027-01-01", ["high"]),
        ("completed=false&status=all", ["urgent", "high", "low", "none"]),
        ("completed=TRUE", []),
    ],
)
def test_filters_narrow_the_list_and_the_changes_of_many(
    alice: Person, bob: Person, query: str, titles: list[str]
) -> None:
    for title, fields in FILTERED.items():
        alice.create(title=title, **fields)
    theirs = bob.create(priority="high", tags=["home"], due_date="2026-12-30")
    listed = alice.call("GET", f"/api/me/tasks?{query}").json()
    assert [task["title"] for task in listed] == titles
    changed = alice.call("PATCH", f"/api/me/tasks?{query}", json={"completed": True})
    assert changed.json() == {"updated": 0 if query == "completed=TRUE" else len(titles)}
    is_completed = {task["title"]: task["completed"] for task in alice.tasks("GET").json()}
    assert is_completed == {title: title in titles for title in FILTERED}
    alice.tasks("PATCH", json={"completed": False})
    query = query if "status" in query else f"status=all&{query}"
    deleted = alice.call("DELETE", f"/api/me/tasks?{query}")
    assert deleted.json() == {"deleted": len(titles)}
    assert {task["title"] for task in alice.tasks("GET").json()} == set(FILTERED) - set(titles)
    assert bob.tasks("GET").json() == [theirs]


def test_case_is_folded_whatever_the_locale_of_the_database(alice: Person) -> None:
    """The embedded PostgreSQL's databases have the locale C, whose `lower` knows ASCII alone."""
    for title in ("éclair", "ÉTAGE", "Ёлка", "zebra", "Émile"):
        alice.create(title=title, tags=[title])
    for search in ("É", "ёЛ", "ZEBRA"):
        for params in ({"search": search}, {"tag": "ÉCLAIR"}):
            assert alice.tasks("GET", params=params).json(), params
    titles = [task["title"] for task in alice.tasks("GET", params={"sort": "title"}).json()]
    accented = [title for title in titles if title[0] in "éÉ"]
    assert accented == ["éclair", "Émile", "ÉTAGE"]


def test_a_retry_of_what_release_1_0_has_answered_is_the_same_body(
    alice: Person, database_url: str
) -> None:
    headers = {"Idempotency-Key": "from-1.0"}
    body: dict[str, Any] = {"title": "a task", "priority": "high", "tags": ["home"]}
    first = alice.tasks("POST", json=body, headers=headers)
    # What 1.0 stored for this body, of which it knew the title alone.
    known = b'{"completed": false, "description": null, "title": "a task"}'
    statement = "UPDATE tasks SET idempotency_digest = %s WHERE id = %s"
    execute(database_url, statement, hashlib.sha256(known).hexdigest(), first.json()["id"])
    again = alice.tasks("POST", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    other = alice.tasks("POST", json={**body, "title": "another"}, headers=headers)
    assert_problem(other, 409)
