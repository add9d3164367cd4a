"""Tests of the endpoints of single tasks: each method, each status code."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from core.migrations import upgrade
from tests.conftest import MakeDatabase
from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem
from tests.support.service import Person, make_settings, running_service
from tests.support.tokens import SigningKey

OPERATIONS = [
    pytest.param("GET", "", None, id="list"),
    pytest.param("POST", "", {"title": "new"}, id="create"),
    pytest.param("GET", "/{task}", None, id="read"),
    pytest.param("PUT", "/{task}", {"title": "new"}, id="replace"),
    pytest.param("PATCH", "/{task}", {"title": "new"}, id="update"),
    pytest.param("PATCH", "/{task}", {}, id="update-nothing"),
    pytest.param("PATCH", "/{task}/complete", {"completed": True}, id="complete"),
    pytest.param("PATCH", "/{task}/complete", None, id="toggle"),
    pytest.param("PATCH", "/{task}/complete", {}, id="toggle-by-an-empty-body"),
    pytest.param("PATCH", "", {"completed": True}, id="complete-all"),
    pytest.param("DELETE", "?status=all", None, id="delete-all"),
    pytest.param("DELETE", "/{task}", None, id="delete"),
]
OF_ONE_TASK = [each for each in OPERATIONS if "{task}" in str(each.values[1])]
WITH_A_BODY = [each for each in OPERATIONS if each.values[2]]

every_operation = pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
every_operation_of_one_task = pytest.mark.parametrize(("method", "path", "body"), OF_ONE_TASK)
every_operation_with_a_body = pytest.mark.parametrize(("method", "path", "body"), WITH_A_BODY)


def address(person: Person, path: str, task: object) -> str:
    return f"/api/{person.id}/tasks{path.format(task=task)}"


def moment(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    assert time.utcoffset() == timedelta(0)
    return time


# Permissions


@every_operation
def test_without_a_token_every_operation_is_401_and_changes_nothing(
    client: httpx.Client, alice: Person, method: str, path: str, body: Any
) -> None:
    task = alice.create(title="mine")
    response = client.request(method, address(alice, path, task["id"]), json=body)
    assert_problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"
    assert alice.tasks("GET").json() == [task]


@every_operation
def test_under_the_path_of_another_user_every_operation_is_403_and_changes_nothing(
    alice: Person, bob: Person, method: str, path: str, body: Any
) -> None:
    task = alice.create(title="mine")
    assert_problem(bob.call(method, address(alice, path, task["id"]), json=body), 403)
    assert alice.tasks("GET").json() == [task]
    assert bob.tasks("GET").json() == []


@every_operation
def test_a_path_with_an_id_that_no_user_has_is_403_like_any_other(
    alice: Person, method: str, path: str, body: Any
) -> None:
    for user_id in ("9223372036854775807", "9" * 30, "0", "nobody", "1e3", "%00", "-1"):
        response = alice.call(method, f"/api/{user_id}/tasks{path.format(task=1)}", json=body)
        assert_problem(response, 403)


@pytest.mark.parametrize("spelling", ["0{}", "+{}", "{}.0", "%20{}", "{}%20", "-{}"])
def test_the_number_of_the_caller_has_one_spelling(alice: Person, spelling: str) -> None:
    assert_problem(alice.call("GET", f"/api/{spelling.format(alice.id)}/tasks"), 403)


@every_operation
def test_the_subject_of_the_token_and_me_name_the_caller_as_the_id_does(
    sign_in: Callable[..., Person], method: str, path: str, body: Any
) -> None:
    subject = f"{uuid4().hex} é|?"
    alice = sign_in(sub=subject)
    for name in (quote(subject, safe=""), "me"):
        task = alice.create()
        there = f"/api/{name}/tasks{path.format(task=task['id'])}"
        assert alice.call(method, there, json=body).is_success


@every_operation_of_one_task
def test_a_task_that_does_not_exist_is_404(
    alice: Person, method: str, path: str, body: Any
) -> None:
    gone = alice.create()["id"]
    assert alice.tasks("DELETE", gone).status_code == 204
    assert_problem(alice.call(method, address(alice, path, gone), json=body), 404)


@every_operation_of_one_task
def test_a_task_of_another_user_looks_like_one_that_does_not_exist(
    alice: Person, bob: Person, method: str, path: str, body: Any
) -> None:
    task = alice.create(title="mine")
    of_alice = bob.call(method, address(bob, path, task["id"]), json=body)
    of_nobody = bob.call(method, address(bob, path, 2**62), json=body)
    assert_problem(of_alice, 404)
    assert of_alice.json() == of_nobody.json()
    assert alice.tasks("GET").json() == [task]


@every_operation
def test_an_account_that_is_gone_is_404(
    database_url: str, alice: Person, method: str, path: str, body: Any
) -> None:
    task = alice.create()
    execute(database_url, "DELETE FROM users WHERE id = %s", alice.id)
    assert_problem(alice.call(method, address(alice, path, task["id"]), json=body), 404)


@every_operation
def test_the_number_of_an_account_that_never_existed_is_404(
    client: httpx.Client, key: SigningKey, method: str, path: str, body: Any
) -> None:
    subject = str(2**62)
    response = client.request(
        method,
        f"/api/{subject}/tasks{path.format(task=1)}",
        json=body,
        headers={"Authorization": f"Bearer {key.token(sub=subject, email=None)}"},
    )
    assert_problem(response, 404)


def test_a_list_has_the_tasks_of_its_owner_only(alice: Person, bob: Person) -> None:
    of_alice = [alice.create(title=f"alice {n}") for n in range(3)]
    of_bob = [bob.create(title=f"bob {n}") for n in range(2)]
    assert alice.tasks("GET").json() == of_alice
    assert bob.tasks("GET").json() == of_bob


# The order of the checks: 401, 403, then 400 and 404


@every_operation_with_a_body
def test_an_invalid_body_without_a_token_is_401(
    client: httpx.Client, alice: Person, method: str, path: str, body: Any
) -> None:
    wrong = dict.fromkeys(body, 5)
    assert_problem(client.request(method, address(alice, path, 1), json=wrong), 401)


@every_operation_with_a_body
def test_an_invalid_body_under_the_path_of_another_user_is_403(
    alice: Person, bob: Person, method: str, path: str, body: Any
) -> None:
    wrong = dict.fromkeys(body, 5)
    assert_problem(bob.call(method, address(alice, path, 1), json=wrong), 403)


@every_operation_of_one_task
def test_an_invalid_id_is_401_without_a_token_and_403_under_the_path_of_another_user(
    alice: Person, bob: Person, method: str, path: str, body: Any
) -> None:
    there = address(alice, path, "01")
    assert_problem(alice.client.request(method, there, json=body), 401)
    assert_problem(bob.call(method, there, json=body), 403)


@every_operation_with_a_body
def test_an_invalid_body_is_400_and_names_the_fields(
    alice: Person, method: str, path: str, body: Any
) -> None:
    task = alice.create()
    wrong = dict.fromkeys(body, 5)
    response = alice.call(method, address(alice, path, task["id"]), json=wrong)
    assert_problem(response, 400, *body)
    assert alice.tasks("GET").json() == [task]


# POST


def test_a_new_task_has_all_fields_and_its_defaults(alice: Person) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    response = alice.tasks("POST", json={"title": "Buy milk"})
    assert response.status_code == 201
    task = response.json()
    assert list(task) == [
        "id", "user_id", "title", "description", "completed", "created_at", "updated_at",
    ]  # fmt: skip
    assert isinstance(task["id"], int)
    assert task["user_id"] == alice.id
    assert (task["title"], task["description"], task["completed"]) == ("Buy milk", None, False)
    assert task["created_at"] == task["updated_at"]
    assert before < moment(task["created_at"]) < datetime.now(UTC) + timedelta(seconds=5)


def test_the_location_of_a_new_task_leads_to_it(alice: Person) -> None:
    response = alice.tasks("POST", json={"title": "Buy milk"})
    assert response.headers["location"] == f"/api/{alice.id}/tasks/{response.json()['id']}"
    assert alice.call("GET", response.headers["location"]).json() == response.json()


def test_the_location_has_the_user_id_as_the_caller_spelled_it(
    sign_in: Callable[..., Person],
) -> None:
    subject = f"auth|{uuid4().hex}?"
    alice = sign_in(sub=subject)
    there = f"/api/{quote(subject, safe='')}/tasks"
    response = alice.call("POST", there, json={"title": "Buy milk"})
    assert response.headers["location"] == f"{there}/{response.json()['id']}"
    assert alice.call("GET", response.headers["location"]).json() == response.json()


def test_a_task_is_created_with_the_values_of_the_body(alice: Person) -> None:
    told = {"title": "Café ☕ \U0001f600", "description": "two\nlines", "completed": True}
    task = alice.create(**told)
    assert {name: task[name] for name in told} == told
    assert alice.tasks("GET", task["id"]).json() == task


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
    assert changed["user_id"] == alice.id
    assert changed["title"] == "new"
    assert changed["created_at"] >= task["created_at"]
    assert (changed["id"] == task["id"]) is (method != "POST")
    assert "more" not in changed
    assert bob.tasks("GET").json() == []


# GET


def test_the_list_is_empty_at_first(alice: Person) -> None:
    response = alice.tasks("GET")
    assert (response.status_code, response.json()) == (200, [])


def test_the_list_has_every_task_oldest_first_whatever_changed_since(alice: Person) -> None:
    made = [alice.create(title=f"task {n}") for n in (3, 1, 2)]
    alice.tasks("PATCH", made[0]["id"], json={"title": "changed last"})
    assert [task["id"] for task in alice.tasks("GET").json()] == [task["id"] for task in made]


def test_times_are_in_utc_whatever_zone_the_database_is_set_to(
    make_database: MakeDatabase, key_server: KeyServer, key: SigningKey
) -> None:
    url = make_database()
    upgrade(url)
    name = url.partition("?")[0].rpartition("/")[2]
    execute(url, f"ALTER DATABASE {name} SET timezone TO 'Asia/Kolkata'")
    with running_service(make_settings(url, key_server.url)) as client:
        alice = Person(client, key)
        for made in (alice.create(), alice.call("GET", "/api/auth/me").json()):
            assert abs(moment(made["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)


# PUT


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "new"},
        {"title": "new", "completed": False},
        {"title": "new", "description": None},
        {"title": "new", "description": ""},
        {"title": "new", "description": "new", "completed": False},
    ],
)
def test_put_sets_what_the_body_has_and_keeps_the_rest(
    alice: Person, changes: dict[str, Any]
) -> None:
    task = alice.create(title="old", description="old", completed=True)
    response = alice.tasks("PUT", task["id"], json=changes)
    assert response.status_code == 200
    assert response.json() == {**task, **changes, "updated_at": response.json()["updated_at"]}
    assert alice.tasks("GET", task["id"]).json() == response.json()


def test_put_without_a_title_is_400(alice: Person) -> None:
    task = alice.create(description="old")
    assert_problem(alice.tasks("PUT", task["id"], json={"completed": True}), 400, "title")
    assert alice.tasks("GET", task["id"]).json() == task


# PATCH


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "new"},
        {"description": "new"},
        {"description": None},
        {"description": ""},
        {"completed": True},
        {"completed": False},
        {"title": "new", "completed": False},
        {"title": "new", "description": "new", "completed": False},
    ],
)
@pytest.mark.parametrize("completed", [True, False])
def test_patch_changes_the_fields_that_it_has_and_nothing_else(
    alice: Person, changes: dict[str, Any], *, completed: bool
) -> None:
    task = alice.create(title="old", description="old", completed=completed)
    response = alice.tasks("PATCH", task["id"], json=changes)
    assert response.status_code == 200
    changed = response.json()
    assert changed == {**task, **changes, "updated_at": changed["updated_at"]}
    assert alice.tasks("GET", task["id"]).json() == changed


@pytest.mark.parametrize("changes", [{}, {"more": 1, "id": 5}])
def test_patch_without_a_known_field_changes_nothing(
    alice: Person, changes: dict[str, Any]
) -> None:
    task = alice.create(description="old")
    response = alice.tasks("PATCH", task["id"], json=changes)
    assert (response.status_code, response.json()) == (200, task)
    assert alice.tasks("GET", task["id"]).json() == task


@pytest.mark.parametrize("field", ["title", "completed"])
@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
def test_a_title_and_a_completion_cannot_be_null(alice: Person, method: str, field: str) -> None:
    task = alice.create()
    body = {"title": "new", "description": "new", field: None}
    path = "" if method == "POST" else task["id"]
    assert_problem(alice.tasks(method, path, json=body), 400, field)
    assert alice.tasks("GET").json() == [task]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "", {"title": "a task"}),
        ("PATCH", "", {"title": "a task"}),
        ("PATCH", "/complete", {"completed": False}),
        ("PATCH", "/complete", None),
    ],
)
def test_a_change_moves_updated_at_and_leaves_created_at(
    alice: Person, method: str, path: str, body: Any
) -> None:
    task = alice.create()
    changed = alice.tasks(method, f"{task['id']}{path}", json=body).json()
    assert moment(changed["updated_at"]) > moment(task["updated_at"])
    assert changed["created_at"] == task["created_at"]


# PATCH …/complete


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("after", [True, False])
def test_complete_sets_what_its_body_says(alice: Person, *, before: bool, after: bool) -> None:
    task = alice.create(description="old", completed=before)
    response = alice.tasks("PATCH", f"{task['id']}/complete", json={"completed": after})
    assert response.status_code == 200
    assert response.json() == {
        **task,
        "completed": after,
        "updated_at": response.json()["updated_at"],
    }


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
    response = alice.tasks(
        "PATCH",
        f"{task['id']}/complete",
        content=body,
        headers={"Content-Type": "application/json"},
    )
    assert_problem(response, 400)
    assert alice.tasks("GET", task["id"]).json() == task


# DELETE


def test_a_deleted_task_is_gone_and_the_others_stay(alice: Person) -> None:
    first, second = alice.create(), alice.create()
    response = alice.tasks("DELETE", first["id"])
    assert (response.status_code, response.content) == (204, b"")
    assert alice.tasks("GET").json() == [second]
    assert_problem(alice.tasks("DELETE", first["id"]), 404)
