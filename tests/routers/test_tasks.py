"""Tests of the endpoints of single tasks; tests/models/test_columns.py has their columns."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.conftest import Serve, SignIn
from tests.support.database import execute
from tests.support.problems import assert_problem
from tests.support.service import Person
from tests.support.tokens import SigningKey


def moment(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    assert time.utcoffset() == timedelta(0)
    return time


# POST and GET


def test_a_new_task_has_its_defaults_and_its_location_names_the_user_as_the_request_did(
    sign_in: SignIn,
) -> None:
    subject = f"auth|{uuid4().hex}?"
    alice = sign_in(sub=subject)
    for user in (alice.id, quote(subject, safe="")):
        before = datetime.now(UTC) - timedelta(seconds=5)
        response = alice.call("POST", f"/api/{user}/tasks", json={"title": "Buy milk"})
        assert response.status_code == 201
        task = response.json()
        assert task == {
            "id": task["id"], "user_id": alice.id, "title": "Buy milk", "description": None,
            "completed": False, "priority": "medium", "due_date": None, "tags": [],
            "created_at": task["created_at"], "updated_at": task["created_at"],
        }  # fmt: skip
        assert type(task["id"]) is int
        assert before < moment(task["created_at"]) < before + timedelta(seconds=10)
        assert response.headers["location"] == f"/api/{user}/tasks/{task['id']}"
        assert alice.call("GET", response.headers["location"]).json() == task


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_unknown_fields_are_ignored_and_never_stored(
    alice: Person, bob: Person, method: str
) -> None:
    task = alice.create()
    stranger = {
        "id": 1, "user_id": bob.id, "created_at": "2000-01-01T00:00:00Z", "updated_at": None,
        "auth_subject": "x", "userId": "x", "dueDate": "2026-12-31", "more": {"of": ["it"]},
    }  # fmt: skip
    path = "" if method == "POST" else task["id"]
    response = alice.tasks(method, path, json={"title": "new", **stranger})
    changed = response.json()
    assert response.is_success
    assert (changed["user_id"], changed["title"]) == (alice.id, "new")
    assert changed["created_at"] >= task["created_at"]
    assert (changed["id"] == task["id"]) is (method != "POST")
    assert changed.keys() == task.keys()
    assert changed["due_date"] is None
    assert bob.tasks("GET").json() == []


def test_times_are_in_utc_whatever_zone_the_database_is_set_to(
    own_database: str, serve: Serve, key: SigningKey
) -> None:
    name = own_database.partition("?")[0].rpartition("/")[2]
    execute(own_database, f"ALTER DATABASE {name} SET timezone TO 'Asia/Kolkata'")
    alice = Person(serve(own_database), key)
    for created in (alice.create(), alice.account()):
        assert abs(moment(created["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)


# PUT and PATCH


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_put_and_patch_set_what_the_body_has_and_keep_the_rest(alice: Person, method: str) -> None:
    task = alice.create(title="old", description="old", completed=True)
    for changes in ({"title": "new"}, {"title": "newer", "description": "", "completed": False}):
        response = alice.tasks(method, task["id"], json=changes)
        assert response.status_code == 200
        changed = response.json()
        assert changed == {**task, **changes, "updated_at": changed["updated_at"]}
        assert moment(changed["updated_at"]) > moment(task["updated_at"])
        assert alice.tasks("GET", task["id"]).json() == changed
        task = changed


def test_patch_without_a_known_field_changes_nothing(alice: Person) -> None:
    task = alice.create(description="old")
    for changes in ({}, {"more": 1, "id": 5}):
        response = alice.tasks("PATCH", task["id"], json=changes)
        assert (response.status_code, response.json()) == (200, task)
    assert alice.tasks("GET", task["id"]).json() == task


def test_put_and_post_need_a_title(alice: Person) -> None:
    task = alice.create(description="old")
    for method, path in (("PUT", task["id"]), ("POST", "")):
        body = {"completed": True, "Title": "new"}
        assert_problem(alice.tasks(method, path, json=body), 400, "title")
    assert alice.tasks("GET").json() == [task]


# PATCH …/complete and DELETE


@pytest.mark.parametrize(
    ("content", "query", "completed"),
    [
        *((content, "", [True, False, True]) for content in (b"", b"{}", b' {"more": 1}')),
        (b'{"completed": true}', "", [True, True]),
        (b'{"completed": false}', "", [False, False]),
        (b"", "?completed=true", [True, True]),
        (b"{}", "?completed=FALSE", [False, False]),
        (b'{"completed": true}', "?completed=false", [True, True]),
        (b"", "?completed=", [True, False]),
    ],
)
def test_complete_sets_what_body_or_query_say_and_toggles_where_neither_does(
    alice: Person, content: bytes, query: str, completed: list[bool]
) -> None:
    task = alice.create(description="old")
    for expected in completed:
        response = alice.tasks(
            "PATCH",
            f"{task['id']}/complete{query}",
            content=content,
            headers={"Content-Type": "application/json"},
        )
        updated_at = response.json()["updated_at"]
        assert response.json() == {**task, "completed": expected, "updated_at": updated_at}
        assert moment(updated_at) > moment(task["updated_at"])
        task = response.json()
    # A body without a type is none.
    assert alice.tasks("PATCH", f"{task['id']}/complete").status_code == 200


@pytest.mark.parametrize(
    "body", [b"null", b'{"completed":null}', b'{"completed":1}', b"[]", b"true", b" ", b"{"]
)
def test_complete_with_any_other_body_is_400_and_changes_nothing(
    alice: Person, body: bytes
) -> None:
    task = alice.create()
    path, headers = f"{task['id']}/complete", {"Content-Type": "application/json"}
    assert_problem(alice.tasks("PATCH", path, content=body, headers=headers), 400)
    query = {"completed": "yes"}
    assert_problem(alice.tasks("PATCH", path, params=query), 400, "completed")
    assert alice.tasks("GET", task["id"]).json() == task


def test_a_deleted_task_is_gone_and_the_others_stay(alice: Person) -> None:
    first, second = alice.create(), alice.create()
    # Some front ends send a body along.
    response = alice.tasks("DELETE", first["id"], json={})
    assert (response.status_code, response.content) == (204, b"")
    assert alice.tasks("GET").json() == [second]
    for method in ("GET", "DELETE"):
        assert_problem(alice.tasks(method, first["id"]), 404)
