"""Requests as public front ends for this API send them, with the response that each needs.

They were recorded from 52 front ends that were written for the specification; the numbers say how
many of them send it so.
"""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.problems import assert_readable_by_the_page
from tests.support.service import ORIGIN, Person

BROWSER = {
    "Accept": "application/json, text/plain, */*",
    "Accept-Language": "en-GB,en;q=0.9",
    "Content-Type": "application/json",
    "Cookie": "better-auth.session_token=abc.def",
    "Origin": ORIGIN,
    "Referer": f"{ORIGIN}/",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "cross-site",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
}
Browser = Callable[..., httpx.Response]


@pytest.fixture
def browser(alice: Person) -> Browser:
    """Send requests about one's own tasks as a page of the front end's origin does."""

    def send(method: str, path: object = "", **options: Any) -> httpx.Response:
        headers = {**BROWSER, **options.pop("headers", {})}
        response = alice.tasks(method, path, headers=headers, **options)
        assert_readable_by_the_page(response)
        return response

    return send


def test_the_list_is_a_bare_array_whose_ids_are_numbers(alice: Person, browser: Browser) -> None:
    """20 expect a wrapper such as `{"tasks": […]}` and fall back to the array itself."""
    assert browser("GET").json() == []
    alice.create(title="one")
    tasks = browser("GET").json()
    assert isinstance(tasks, list)
    assert {type(tasks[0][name]) for name in ("id", "user_id")} == {int}
    assert tasks[0]["completed"] is False


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("status=all&sort=created", ["c", "a", "b"]),
        ("status=pending&sort=title", ["a", "b"]),
        ("status=completed&sort=created_at&order=desc", ["c"]),
        ("status=&search=&sort=&order=", ["c", "a", "b"]),
        ("search=A", ["a"]),
        ("sort=created&order=desc", ["c", "a", "b"]),
        ("order=desc", ["c", "a", "b"]),
        ("sort=updated", ["c", "a", "b"]),
        ("status=all&priority=all&due_date=2026-01-01", ["c", "a", "b"]),
        ("skip=0&limit=100", ["c", "a", "b"]),
        ("_=1764038400000", ["c", "a", "b"]),
    ],
)
def test_the_parameters_that_front_ends_send(
    alice: Person, browser: Browser, query: str, titles: list[str]
) -> None:
    for title in ("b", "a", "c"):
        alice.create(title=title, completed=title == "c")
    response = browser("GET", params=query)
    assert response.status_code == 200
    assert [task["title"] for task in response.json()] == titles


@pytest.mark.parametrize(
    "body",
    [
        {"title": "Buy milk", "description": ""},
        {"title": " Buy milk ", "description": None, "completed": False},
        {"title": "Buy milk", "priority": "medium", "due_date": None, "tags": ["home"]},
        {"title": "Buy milk", "userId": "abc", "user_id": "abc", "id": "tmp-1"},
        {"title": "Buy milk", "createdAt": "2026-01-01T00:00:00.000Z", "isRecurring": False},
    ],
)
def test_a_create_with_what_the_service_does_not_know_makes_the_task(
    alice: Person, browser: Browser, body: dict[str, Any]
) -> None:
    response = browser("POST", json=body)
    assert response.status_code == 201
    task = response.json()
    assert (task["title"], task["completed"], task["user_id"]) == ("Buy milk", False, alice.id)
    assert browser("GET").json() == [task]


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({"due_date": "2026-12-31T09:30"}, {"due_date": "2026-12-31T09:30:00.000000Z"}),
        ({"due_date": "2026-12-31"}, {"due_date": "2026-12-31T00:00:00.000000Z"}),
        ({"due_date": ""}, {"due_date": None}),
        ({"dueDate": "2026-12-31", "due_at": "2026-12-31"}, {"due_date": None}),
        ({"priority": "HIGH"}, {"priority": "high"}),
        ({"priority": "none", "tags": None}, {"priority": "none", "tags": []}),
        ({"tags": ["home", "Home", ""]}, {"tags": ["home"]}),
    ],
)
def test_a_form_with_priority_due_date_and_tags(
    browser: Browser, fields: dict[str, Any], stored: dict[str, Any]
) -> None:
    """59, 47 and 30 send one; 30 inputs are of type date, 24 of type datetime-local."""
    response = browser("POST", json={"title": "Buy milk", **fields})
    assert response.status_code == 201
    task = response.json()
    assert {name: task[name] for name in stored} == stored
    edited = browser("PUT", task["id"], json={"title": "Buy milk", **fields}).json()
    assert {name: edited[name] for name in stored} == stored


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("sort_by=priority", ["urgent", "high", "medium", "low"]),
        ("sort_by=priority&sort_order=asc", ["low", "medium", "high", "urgent"]),
        ("sort=due_date", ["high", "low", "urgent", "medium"]),
        ("sort=due_date&order=desc", ["low", "high", "urgent", "medium"]),
        ("priority=HIGH", ["high"]),
        ("tags=home&completed=false", ["urgent", "low"]),
    ],
)
def test_lists_by_priority_due_date_and_tags(
    alice: Person, browser: Browser, query: str, titles: list[str]
) -> None:
    alice.create(title="medium")
    alice.create(title="low", priority="low", due_date="2026-12-31", tags=["Home"])
    alice.create(title="high", priority="high", due_date="2026-12-30")
    alice.create(title="urgent", priority="urgent", tags=["home"])
    listed = [task["title"] for task in browser("GET", params=query).json()]
    without_date = {"urgent", "medium"}
    if "due_date" in query:
        assert [each for each in listed if each not in without_date] == titles[:2]
        assert set(listed[2:]) == without_date
    else:
        assert listed == titles


def test_an_agent_completes_a_task_twice_by_the_query_and_it_stays_completed(
    alice: Person,
) -> None:
    task = alice.create()["id"]
    for _ in range(2):
        url = f"/api/{alice.id}/tasks/{task}/complete?completed=true"
        assert alice.call("PATCH", url).json()["completed"] is True


def test_a_trailing_slash_is_ignored_and_never_a_redirect(alice: Person) -> None:
    created = alice.call("POST", f"/api/{alice.id}/tasks/", json={"title": "a task"})
    assert created.status_code == 201
    listed = alice.call("GET", f"/api/{alice.id}/tasks/")
    assert (listed.status_code, listed.json()) == (200, [created.json()])


@pytest.mark.parametrize("rest", [{}, {"description": "old", "priority": "high"}])
def test_an_edit_by_put_without_completed_keeps_a_task_completed(
    alice: Person, browser: Browser, rest: dict[str, str]
) -> None:
    """27 send an edit without `completed`: their users would find it undone."""
    task = alice.create(title="old", description="old", completed=True)
    edited = browser("PUT", task["id"], json={"title": "new", **rest}).json()
    assert (edited["title"], edited["description"], edited["completed"]) == ("new", "old", True)
