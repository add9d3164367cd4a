"""Tests of entity tags and conditional requests (RFC 9110 §13)."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import httpx
import pytest

from tests.support.database import execute
from tests.support.problems import assert_problem
from tests.support.service import Person

CHANGES = [
    pytest.param("PUT", "", {"title": "new"}, id="replace"),
    pytest.param("PATCH", "", {"description": "new"}, id="update"),
    pytest.param("PATCH", "/complete", {"completed": True}, id="complete"),
    pytest.param("PATCH", "/complete", None, id="toggle"),
]
DELETE = pytest.param("DELETE", "", None, id="delete")
NO_CHANGE = pytest.param("PATCH", "", {}, id="update-nothing")

every_change = pytest.mark.parametrize(("method", "path", "body"), CHANGES)
every_write = pytest.mark.parametrize(("method", "path", "body"), [*CHANGES, DELETE, NO_CHANGE])


def send(  # noqa: PLR0913, PLR0917 - the parts of a request
    person: Person, task: int, method: str, path: str, body: Any, if_match: str | None = None
) -> httpx.Response:
    headers = {} if if_match is None else {"If-Match": if_match}
    return person.tasks(method, f"{task}{path}", json=body, headers=headers)


def etag(person: Person, task: int) -> str:
    return person.tasks("GET", task).headers["etag"]


@every_change
def test_every_change_changes_the_tag_and_its_response_has_the_new_one(
    alice: Person, method: str, path: str, body: Any
) -> None:
    created = alice.tasks("POST", json={"title": "old"})
    task = created.json()["id"]
    assert created.headers["etag"] == etag(alice, task)
    tags = [created.headers["etag"]]
    for _ in range(3):
        response = send(alice, task, method, path, body)
        assert response.headers["etag"] == etag(alice, task)
        tags.append(response.headers["etag"])
    assert len(set(tags)) == 4
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


def test_two_changes_within_one_microsecond_have_different_tags(
    alice: Person, database_url: str
) -> None:
    task = alice.create()
    before = etag(alice, task["id"])
    statement = "UPDATE tasks SET title = %s, updated_at = updated_at WHERE id = %s"
    execute(database_url, statement, "new", task["id"])
    response = alice.tasks("GET", task["id"])
    assert response.json() == {**task, "title": "new"}
    assert response.headers["etag"] != before


# If-Match


@every_write
def test_a_write_with_the_newest_tag_is_done_and_with_an_older_one_412(
    alice: Person, method: str, path: str, body: Any
) -> None:
    task = alice.create()["id"]
    old = etag(alice, task)
    kept = alice.tasks("PATCH", task, json={"title": "changed meanwhile"}).json()
    assert_problem(send(alice, task, method, path, body, old), 412)
    assert alice.tasks("GET").json() == [kept]
    assert send(alice, task, method, path, body, etag(alice, task)).is_success


@every_write
@pytest.mark.parametrize("if_match", ['"1"', "*"])
def test_a_task_that_does_not_exist_or_is_not_the_callers_is_404_whatever_the_condition(  # noqa: PLR0913, PLR0917
    alice: Person, bob: Person, if_match: str, method: str, path: str, body: Any
) -> None:
    theirs = bob.create()
    for task, condition in ((2**62, if_match), (theirs["id"], etag(bob, theirs["id"]))):
        assert_problem(send(alice, task, method, path, body, condition), 404)
    assert bob.tasks("GET").json() == [theirs]


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ("{}", 200),
        ("*", 200),
        ('"0", {}', 200),
        ('{},"0"', 200),
        ('"a,b" ,\t{}', 200),
        ("W/{}", 412),
        ('W/{}, "0"', 412),
        ('"0"', 412),
        ("0", 412),
        ("", 412),
        ('"', 412),
        ('"\'; --"', 412),
        ('"%s"', 412),
        ('"*"', 412),
    ],
)
def test_if_match_takes_lists_and_the_star_and_no_weak_tag(
    alice: Person, if_match: str, status: int
) -> None:
    task = alice.create()
    condition = if_match.replace("{}", etag(alice, task["id"]))
    response = send(alice, task["id"], "PATCH", "", {"title": "new"}, condition)
    if status == 200:
        assert response.json()["title"] == "new"
    else:
        assert_problem(response, 412)
        assert alice.tasks("GET", task["id"]).json() == task


def test_several_if_match_headers_are_one_list(alice: Person) -> None:
    task = alice.create()["id"]
    headers = [*alice.headers.items(), ("If-Match", '"0"'), ("If-Match", etag(alice, task))]
    path = f"/api/{alice.id}/tasks/{task}"
    assert alice.client.patch(path, json={"title": "new"}, headers=headers).status_code == 200
    assert alice.client.patch(path, json={"title": "newer"}, headers=headers).status_code == 412


@pytest.mark.parametrize(
    ("method", "path", "body"), [CHANGES[1], CHANGES[3], DELETE], ids=["update", "toggle", "delete"]
)
def test_of_concurrent_writers_with_the_same_tag_one_wins_and_the_others_get_412(
    alice: Person, method: str, path: str, body: Any
) -> None:
    writers = 4
    barrier = Barrier(writers)

    def write(task: int, tag: str) -> int:
        barrier.wait()
        return send(alice, task, method, path, body, tag).status_code

    lost = {404, 412} if method == "DELETE" else {412}
    with ThreadPoolExecutor(writers) as threads:
        for _ in range(10):
            task = alice.create()["id"]
            tag = etag(alice, task)
            statuses = list(threads.map(write, [task] * writers, [tag] * writers))
            won = [status for status in statuses if status in {200, 204}]
            assert len(won) == 1, statuses
            assert set(statuses) - set(won) <= lost, statuses


# If-None-Match


@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [
        ("{}", 304),
        ("W/{}", 304),
        ("*", 304),
        ('"0", W/{}', 304),
        ('"0"', 200),
        ("0", 200),
        ("", 200),
        ('"*"', 200),
    ],
)
@pytest.mark.parametrize("path", ["", "{}", "?limit=1", "?search=task&sort=title"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_none_match_saves_what_the_caller_has(
    alice: Person, method: str, path: str, if_none_match: str, status: int
) -> None:
    task = alice.create()["id"]
    alice.create()
    address = f"/api/{alice.id}/tasks" + (f"/{task}" if path == "{}" else path)
    full = alice.call("GET", address)
    condition = if_none_match.replace("{}", full.headers["etag"])
    response = alice.call(method, address, headers={"If-None-Match": condition})
    assert response.status_code == status
    assert response.headers["etag"] == full.headers["etag"]
    assert response.headers.get("link") == full.headers.get("link")
    assert response.content == (full.content if (method, status) == ("GET", 200) else b"")


def test_the_tag_of_a_page_changes_with_its_tasks_and_with_what_follows_it(alice: Person) -> None:
    def tag(**params: object) -> str:
        return alice.tasks("GET", params=params).headers["etag"]

    first = alice.create()
    tags = [tag(limit=1)]
    second = alice.create()
    tags.append(tag(limit=1))
    alice.tasks("PATCH", first["id"], json={"title": "new"})
    tags.append(tag(limit=1))
    assert len(set(tags)) == 3
    assert tag(limit=1) == tags[2]
    whole = tag()
    alice.tasks("DELETE", second["id"])
    assert tag() != whole
