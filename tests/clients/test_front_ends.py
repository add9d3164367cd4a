"""Requests as public front ends for this API send them, with the response that each needs.

They were recorded from 52 front ends that were written for the specification; the numbers say how
many of them send it so.
"""

import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem
from tests.support.service import ORIGIN, Person, make_settings, running_service
from tests.support.tokens import ISSUER, SigningKey

BROWSER = {
    "Accept": "application/json, text/plain, */*",
    "Accept-Language": "en-GB,en;q=0.9",
    "Content-Type": "application/json",
    "Origin": ORIGIN,
    "Referer": f"{ORIGIN}/",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "cross-site",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
}


@pytest.fixture
def browser(alice: Person) -> Callable[..., httpx.Response]:
    """Send requests as a page of the front end's origin does."""

    def send(method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**BROWSER, **options.pop("headers", {})}
        response = alice.call(method, path, headers=headers, **options)
        # Without these two, the page sees no response at all.
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["access-control-allow-credentials"] == "true"
        return response

    return send


Browser = Callable[..., httpx.Response]


# The list


def test_the_list_is_a_bare_array_whose_ids_are_numbers(alice: Person, browser: Browser) -> None:
    """20 expect a wrapper such as `{"tasks": […]}` and fall back to the array itself."""
    alice.create(title="one")
    tasks = browser("GET", f"/api/{alice.id}/tasks").json()
    assert isinstance(tasks, list)
    assert {type(tasks[0][name]) for name in ("id", "user_id")} == {int}
    assert tasks[0]["completed"] is False


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("status=all&sort=created", ["b", "a", "c"]),
        ("status=pending&sort=title", ["a", "b"]),
        ("status=completed&sort=created_at&order=desc", ["c"]),
        ("status=&search=&sort=&order=", ["b", "a", "c"]),
        ("search=A", ["a"]),
        ("sort=created&order=desc", ["c", "a", "b"]),
        ("order=desc", ["c", "a", "b"]),
        ("sort=updated", ["b", "a", "c"]),
        ("status=all&priority=high&due_date=2026-01-01&tags=home", ["b", "a", "c"]),
        ("skip=0&limit=100", ["b", "a", "c"]),
        ("_=1764038400000", ["b", "a", "c"]),
    ],
)
def test_the_parameters_that_front_ends_send(
    alice: Person, browser: Browser, query: str, titles: list[str]
) -> None:
    for title in ("b", "a", "c"):
        alice.create(title=title, completed=title == "c")
    response = browser("GET", f"/api/{alice.id}/tasks?{query}")
    assert response.status_code == 200
    assert [task["title"] for task in response.json()] == titles


def test_a_user_that_is_new_sees_an_empty_list_and_no_error(
    alice: Person, browser: Browser
) -> None:
    response = browser("GET", f"/api/{alice.id}/tasks")
    assert (response.status_code, response.json()) == (200, [])


# Create and edit


@pytest.mark.parametrize(
    "body",
    [
        {"title": "Buy milk"},
        {"title": "Buy milk", "description": ""},
        {"title": "Buy milk", "description": None},
        {"title": " Buy milk ", "completed": False},
        {"title": "Buy milk", "priority": "medium", "due_date": None, "tags": ["home"]},
        {"title": "Buy milk", "userId": "abc", "user_id": "abc", "id": "tmp-1"},
        {"title": "Buy milk", "createdAt": "2026-01-01T00:00:00.000Z", "isRecurring": False},
    ],
)
def test_a_create_with_what_the_service_does_not_know_makes_the_task(
    alice: Person, browser: Browser, body: dict[str, Any]
) -> None:
    response = browser("POST", f"/api/{alice.id}/tasks", json=body)
    assert response.status_code == 201
    task = response.json()
    assert (task["title"], task["completed"], task["user_id"]) == ("Buy milk", False, alice.id)
    assert browser("GET", f"/api/{alice.id}/tasks").json() == [task]


@pytest.mark.parametrize(
    ("body", "description"),
    [
        ({"title": "new"}, "old"),
        ({"title": "new", "description": "new"}, "new"),
        ({"title": "new", "description": ""}, ""),
        ({"title": "new", "description": None}, None),
        ({"title": "new", "priority": "high"}, "old"),
    ],
)
def test_an_edit_by_put_without_completed_keeps_a_task_completed(
    alice: Person, browser: Browser, body: dict[str, Any], description: str | None
) -> None:
    """27 send an edit without `completed`: their users would find it undone."""
    task = alice.create(title="old", description="old", completed=True)
    response = browser("PUT", f"/api/{alice.id}/tasks/{task['id']}", json=body)
    assert response.status_code == 200
    edited = response.json()
    assert (edited["title"], edited["description"]) == ("new", description)
    assert edited["completed"] is True
    assert edited["created_at"] == task["created_at"]


def test_an_edit_that_sends_the_whole_task_back(alice: Person, browser: Browser) -> None:
    task = alice.create(title="old", description="old")
    body = {**task, "title": "new", "completed": True}
    response = browser("PUT", f"/api/{alice.id}/tasks/{task['id']}", json=body)
    assert response.json() == {**body, "updated_at": response.json()["updated_at"]}


# Complete


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"content": b""}, False, True),
        ({"json": {}}, False, True),
        ({"json": {}}, True, False),
        ({"json": {"completed": True}}, False, True),
        ({"json": {"completed": True}}, True, True),
        ({"json": {"completed": False}}, True, False),
        ({"json": {"completed": True, "id": 1, "title": "ignored"}}, False, True),
        ({"json": {"is_completed": True}}, False, True),
    ],
)
def test_complete_sets_what_the_body_says_and_toggles_where_it_says_nothing(
    alice: Person, browser: Browser, options: dict[str, Any], *, before: bool, after: bool
) -> None:
    task = alice.create(title="a task", completed=before)
    path = f"/api/{alice.id}/tasks/{task['id']}/complete"
    response = browser("PATCH", path, **options)
    assert response.status_code == 200
    assert response.json() == {
        **task, "completed": after, "updated_at": response.json()["updated_at"],
    }  # fmt: skip


def test_a_toggle_by_patch_of_the_task_itself(alice: Person, browser: Browser) -> None:
    task = alice.create(title="a task", description="kept")
    path = f"/api/{alice.id}/tasks/{task['id']}"
    toggled = browser("PATCH", path, json={"completed": True}).json()
    assert (toggled["completed"], toggled["description"]) == (True, "kept")


# Delete


@pytest.mark.parametrize("options", [{}, {"json": {}}, {"content": b""}])
def test_a_delete_is_204_without_a_body_whatever_is_sent_along(
    alice: Person, browser: Browser, options: dict[str, Any]
) -> None:
    task = alice.create()
    response = browser("DELETE", f"/api/{alice.id}/tasks/{task['id']}", **options)
    assert (response.status_code, response.content) == (204, b"")
    assert browser("GET", f"/api/{alice.id}/tasks").json() == []


# Errors that a page shows


def test_an_error_has_a_sentence_and_a_message_for_each_field(
    alice: Person, browser: Browser
) -> None:
    problem = browser("POST", f"/api/{alice.id}/tasks", json={"title": "  "}).json()
    assert isinstance(problem["detail"], str)
    assert problem["errors"] == [{"field": "title", "message": "Write a title"}]


# Paths


def test_the_id_of_the_session_the_number_and_me_all_name_the_caller(
    sign_in: Callable[..., Person],
) -> None:
    subject = "kX2mB8vQ0ZtY3nR7"
    alice = sign_in(sub=subject)
    task = alice.create()
    for name in (subject, alice.id, "me"):
        assert alice.call("GET", f"/api/{name}/tasks").json() == [task]
    assert_problem(alice.call("GET", "/api/undefined/tasks"), 403)
    alice.call("DELETE", "/api/auth/me")


# Other origins


def preflight(client: httpx.Client, origin: str, method: str, headers: str) -> httpx.Response:
    return client.options(
        "/api/1/tasks",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )


@pytest.mark.parametrize(
    "headers",
    [
        "authorization",
        "authorization,content-type",
        "authorization, content-type, idempotency-key, if-match, if-none-match",
        "authorization,content-type,x-requested-with,x-csrf-token,cache-control,pragma,baggage",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_preflight_of_a_configured_origin_allows_credentials_and_any_header(
    client: httpx.Client, method: str, headers: str
) -> None:
    """5 send `credentials: "include"`: a browser then takes no `*` for an origin or a header."""
    response = preflight(client, ORIGIN, method, headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["access-control-allow-credentials"] == "true"
    assert method in response.headers["access-control-allow-methods"].split(", ")
    allowed = {
        each.strip().lower() for each in response.headers["access-control-allow-headers"].split(",")
    }
    assert {each.strip() for each in headers.split(",")} <= allowed
    assert "Origin" in response.headers["vary"]


def test_a_request_with_credentials_reads_the_headers_that_a_page_needs(
    alice: Person, browser: Browser
) -> None:
    headers = {"Cookie": "better-auth.session_token=abc.def"}
    response = browser("GET", f"/api/{alice.id}/tasks", headers=headers)
    exposed = set(response.headers["access-control-expose-headers"].split(", "))
    assert exposed == {"ETag", "Link", "Location", "Retry-After", "X-Request-ID"}
    assert "set-cookie" not in response.headers


def test_errors_can_be_read_by_the_page_too(alice: Person, browser: Browser) -> None:
    assert browser("GET", f"/api/{alice.id}/tasks/0").status_code == 404
    assert browser("GET", "/api/somebody/tasks").status_code == 403
    wrong = {"Authorization": "Bearer nonsense"}
    assert browser("GET", f"/api/{alice.id}/tasks", headers=wrong).status_code == 401
    assert browser("POST", f"/api/{alice.id}/tasks", content=b"x" * 65_537).status_code == 413
    assert browser("POST", f"/api/{alice.id}/tasks/1").status_code == 405


@pytest.mark.parametrize("origin", ["http://localhost:3001", "https://evil.example", "null"])
def test_a_refused_preflight_is_a_problem_and_its_log_line_names_the_origin(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, origin: str
) -> None:
    with caplog.at_level(logging.INFO):
        response = preflight(client, origin, "PUT", "authorization")
    assert_problem(response, 400)
    assert "CORS_ORIGINS" in response.json()["detail"]
    assert "access-control-allow-origin" not in response.headers
    assert any(origin in record.getMessage() for record in caplog.records)


def test_a_refused_method_is_named_in_the_log(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert_problem(preflight(client, ORIGIN, "TRACE", "authorization"), 400)
    assert any(ORIGIN in each.getMessage() for each in caplog.records)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("jwt_issuer", f"{ISSUER}/"), ("jwt_audience", "http://localhost:3000/")],
)
def test_a_setting_that_differs_by_a_slash_at_the_end_is_named_in_the_log(  # noqa: PLR0913, PLR0917
    database_url: str,
    key_server: KeyServer,
    key: SigningKey,
    caplog: pytest.LogCaptureFixture,
    setting: str,
    value: str,
) -> None:
    token = key.token()
    settings = make_settings(database_url, key_server.url, **{setting: value})
    with caplog.at_level(logging.INFO), running_service(settings) as client:
        response = client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert_problem(response, 401)
    (line,) = [each.getMessage() for each in caplog.records if "slash" in each.getMessage()]
    assert repr(value) in line
    assert repr(ISSUER) in line
    assert token not in caplog.text
