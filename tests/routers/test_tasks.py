"""Tests of the endpoints of single tasks; tests/models/test_columns.py has their columns."""

from datetime import UTC, datetime, timedelta
from typing import Any
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


def test_a_new_task_has_its_defaults_and_its_location_leads_to_it(alice: Person) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    response = alice.tasks("POST", json={"title": "Buy milk"})
    assert response.status_code == 201
    task = response.json()
    assert isinstance(task["id"], int)
    assert task["user_id"] == alice.id
    assert (task["title"], task["description"], task["completed"]) == ("Buy milk", None, False)
    assert task["created_at"] == task["updated_at"]
    assert before < moment(task["created_at"]) < datetime.now(UTC) + timedelta(seconds=5)
    assert response.headers["location"] == f"/api/{alice.id}/tasks/{task['id']}"
    assert alice.call("GET", response.headers["location"]).json() == task


def test_the_location_names_the_user_as_the_request_did(sign_in: SignIn) -> None:
    subject = f"auth|{uuid4().hex}?"
    alice = sign_in(sub=subject)
    path = f"/api/{quote(subject, safe='')}/tasks"
    response = alice.call("POST", path, json={"title": "Buy milk"})
    assert response.headers["location"] == f"{path}/{response.json()['id']}"
    assert alice.call("GET", response.headers["location"]).json() == response.json()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_unknown_fields_are_ignored_and_never_stored(
    alice: Person, bob: Person, method: str
) -> None:
    task = alice.create()
    stranger = {
        "id": 1, "user_id": bob.id, "created_at": "2000-01-01T00:00:00Z",
        "updated_at": None, "auth_subject": "x", "more": {"of": ["it"]},
    }  # fmt: skip
    response = alice.tasks(
        method, "" if method == "POST" else task["id"], json={"title": "new", **stranger}
    )
    changed = response.json()
    assert response.is_success
    assert (changed["user_id"], changed["title"]) == (alice.id, "new")
    assert changed["created_at"] >= task["created_at"]
    assert (changed["id"] == task["id"]) is (method != "POST")
    assert set(changed) == set(task)
    assert bob.tasks("GET").json() == []


def test_a_list_has_the_tasks_of_its_owner_only(alice: Person, bob: Person) -> None:
    assert alice.tasks("GET").json() == []
    for person in (alice, bob, alice):
        person.create(title=str(person.id))
    for person, count in ((alice, 2), (bob, 1)):
        titles = [task["title"] for task in person.tasks("GET").json()]
        assert titles == [str(person.id)] * count


def test_times_are_in_utc_whatever_zone_the_database_is_set_to(
    own_database: str, serve: Serve, key: SigningKey
) -> None:
    name = own_database.partition("?")[0].rpartition("/")[2]
    execute(own_database, f"ALTER DATABASE {name} SET timezone TO 'Asia/Kolkata'")
    alice = Person(serve(own_database), key)
    for created in (alice.create(), alice.account()):
        assert abs(moment(created["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)


# PUT and PATCH


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("PUT", {"title": "new"}),
        ("PUT", {"title": "new", "description": ""}),
        ("PUT", {"title": "new", "description": None, "completed": False}),
        ("PATCH", {"title": "new"}),
        ("PATCH", {"description": None}),
        ("PATCH", {"description": "", "completed": False}),
        ("PATCH", {"title": "new", "description": "new", "completed": False}),
    ],
)
def test_put_and_patch_set_what_the_body_has_and_keep_the_rest(
    alice: Person, method: str, changes: dict[str, Any]
) -> None:
    task = alice.create(title="old", description="old", completed=True)
    response = alice.tasks(method, task["id"], json=changes)
    assert response.status_code == 200
    changed = response.json()
    assert changed == {**task, **changes, "updated_at": changed["updated_at"]}
    assert moment(changed["updated_at"]) > moment(task["updated_at"])
    assert alice.tasks("GET", task["id"]).json() == changed


@pytest.mark.parametrize("changes", [{}, {"more": 1, "id": 5}])
def test_patch_without_a_known_field_changes_nothing(
    alice: Person, changes: dict[str, Any]
) -> None:
    task = alice.create(description="old")
    response = alice.tasks("PATCH", task["id"], json=changes)
    assert (response.status_code, response.json()) == (200, task)
    assert alice.tasks("GET", task["id"]).json() == task


def test_put_needs_a_title_and_nothing_else(alice: Person) -> None:
    task = alice.create(description="old")
    assert_problem(alice.tasks("PUT", task["id"], json={"completed": True}), 400, "title")
    assert alice.tasks("GET", task["id"]).json() == task


# PATCH …/complete and DELETE


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("after", [True, False])
def test_complete_sets_what_its_body_says(alice: Person, *, before: bool, after: bool) -> None:
    task = alice.create(description="old", completed=before)
    response = alice.tasks("PATCH", f"{task['id']}/complete", json={"completed": after})
    assert response.status_code == 200
    updated_at = response.json()["updated_at"]
    assert response.json() == {**task, "completed": after, "updated_at": updated_at}
    assert moment(updated_at) > moment(task["updated_at"])


@pytest.mark.parametrize("content", [b"", b"{}", b' {"more": 1}'])
@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}])
def test_complete_without_the_field_toggles_each_time(
    alice: Person, content: bytes, headers: dict[str, str]
) -> None:
    path = f"{alice.create()['id']}/complete"
    headers = {"Content-Type": "application/json"} if content else headers
    responses = [alice.tasks("PATCH", path, content=content, headers=headers) for _ in range(3)]
    assert [response.json()["completed"] for response in responses] == [True, False, True]


@pytest.mark.parametrize(
    "body", [b"null", b'{"completed":null}', b'{"completed":1}', b"[]", b"true", b" ", b"{"]
)
def test_complete_with_any_other_body_is_400_and_changes_nothing(
    alice: Person, body: bytes
) -> None:
    task = alice.create()
    path, headers = f"{task['id']}/complete", {"Content-Type": "application/json"}
    assert_problem(alice.tasks("PATCH", path, content=body, headers=headers), 400)
    assert alice.tasks("GET", task["id"]).json() == task


def test_a_deleted_task_is_gone_and_the_others_stay(alice: Person) -> None:
    first, second = alice.create(), alice.create()
    response = alice.tasks("DELETE", first["id"])
    assert (response.status_code, response.content) == (204, b"")
    assert alice.tasks("GET").json() == [second]
    for method in ("GET", "DELETE"):
        assert_problem(alice.tasks(method, first["id"]), 404)
