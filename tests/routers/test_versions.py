"""Tests of entity tags and conditional requests (RFC 9110 §13)."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import pytest

from tests.support.database import execute
from tests.support.nginx import running_nginx
from tests.support.problems import assert_problem
from tests.support.rows import insert_tasks
from tests.support.service import Person
from tests.support.tokens import SigningKey

CHANGES = {
    "replace": ("PUT", "", {"title": "new"}),
    "update": ("PATCH", "", {"description": "new"}),
    "complete": ("PATCH", "/complete", {"completed": True}),
    "toggle": ("PATCH", "/complete", None),
}
WRITES = {
    **CHANGES,
    "update-nothing": ("PATCH", "", {}),
    "delete": ("DELETE", "", None),
}
every_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
Write = tuple[str, str, Any]


def send(person: Person, task: int, write: Write, if_match: str) -> httpx.Response:
    method, path, body = write
    return person.tasks(method, f"{task}{path}", json=body, headers={"If-Match": if_match})


def etag(person: Person, task: int) -> str:
    return person.tasks("GET", task).headers["etag"]


@pytest.mark.parametrize("write", CHANGES.values(), ids=CHANGES)
def test_every_change_changes_the_tag_and_its_response_has_the_new_one(
    alice: Person, write: Write
) -> None:
    created = alice.tasks("POST", json={"title": "old"})
    task = created.json()["id"]
    tags = [created.headers["etag"]]
    for _ in range(3):
        tags.append(send(alice, task, write, "*").headers["etag"])
        assert tags[-1] == etag(alice, task)
    assert len(set(tags)) == 4
    assert all(tag.startswith('"') for tag in tags)


def test_two_changes_within_one_microsecond_have_different_tags(
    alice: Person, database_url: str
) -> None:
    task = alice.create()["id"]
    before = etag(alice, task)
    statement = "UPDATE tasks SET title = %s, updated_at = updated_at WHERE id = %s"
    execute(database_url, statement, "new", task)
    assert etag(alice, task) != before


def test_two_times_with_the_same_transaction_number_have_different_tags(
    alice: Person, database_url: str
) -> None:
    # After a restore the numbers of transactions come again.
    insert_tasks(database_url, alice.id, 2)
    assert len({etag(alice, task["id"]) for task in alice.tasks("GET").json()}) == 2


def test_the_tag_of_a_page_changes_with_its_tasks_and_with_what_follows_it(alice: Person) -> None:
    def tag() -> str:
        return alice.tasks("GET", params={"limit": 1, "order": "asc"}).headers["etag"]

    first = alice.create()
    tags = [tag()]
    second = alice.create()
    tags.append(tag())
    alice.tasks("PATCH", first["id"], json={"title": "new"})
    tags.append(tag())
    assert tag() == tags[-1]
    alice.tasks("DELETE", second["id"])
    assert len({*tags, tag()}) == 4


# Conditions


@every_write
def test_a_write_with_the_newest_tag_is_done_and_with_an_older_one_412(
    alice: Person, write: Write
) -> None:
    task = alice.create()["id"]
    old = etag(alice, task)
    kept = alice.tasks("PATCH", task, json={"title": "changed meanwhile"}).json()
    assert_problem(send(alice, task, write, old), 412)
    assert alice.tasks("GET").json() == [kept]
    assert send(alice, task, write, etag(alice, task)).is_success


@every_write
@pytest.mark.parametrize("if_match", ['"1"', "*"])
def test_a_task_that_does_not_exist_or_is_not_the_callers_is_404_whatever_the_condition(
    alice: Person, bob: Person, if_match: str, write: Write
) -> None:
    theirs = bob.create()
    for task, condition in ((2**62, if_match), (theirs["id"], etag(bob, theirs["id"]))):
        assert_problem(send(alice, task, write, condition), 404)
    assert bob.tasks("GET").json() == [theirs]


# Proxies that compress change tags: nginx and Cloudflare make them weak, Apache adds a suffix.
MATCHING = (
    *('"{}"', "*", '"0", "{}"', '"{}","0"', '"a,b" ,\t"{}"', 'W/"{}"', '"0", W/"{}"'),
    *('"{}-gzip"', '"{}-br"', '"{}-zstd"', '"{}-deflate"', 'W/"{}-gzip"', '"{}--gzip"', '"{};gz"'),
)
OTHER = (
    *('"0"', 'W/"0"', "{}", "", '"', '"\'; --"', '"%s"', '"*"'),
    *('"{}-other"', '"{}gzip"', '"-gzip"', '"{}-gzip-1"'),
)
CONDITIONS = [*((each, True) for each in MATCHING), *((each, False) for each in OTHER)]
every_condition = pytest.mark.parametrize(("condition", "matches"), CONDITIONS)


@every_condition
def test_if_match_is_a_list_of_tags_as_proxies_have_changed_them(
    alice: Person, condition: str, *, matches: bool
) -> None:
    task = alice.create()
    if_match = condition.format(etag(alice, task["id"]).strip('"'))
    response = send(alice, task["id"], ("PATCH", "", {"title": "new"}), if_match)
    if matches:
        assert response.json()["title"] == "new"
    else:
        assert_problem(response, 412)
        assert alice.tasks("GET", task["id"]).json() == task


@every_condition
@pytest.mark.parametrize("path", ["", "{}", "?limit=1", "?search=task&sort=title"])
def test_if_none_match_saves_what_the_caller_has(
    alice: Person, path: str, condition: str, *, matches: bool
) -> None:
    task = alice.create()["id"]
    alice.create()
    address = f"/api/{alice.id}/tasks" + (f"/{task}" if path == "{}" else path)
    full = alice.call("GET", address)
    headers = {"If-None-Match": condition.format(full.headers["etag"].strip('"'))}
    for method in ("GET", "HEAD"):
        response = alice.call(method, address, headers=headers)
        assert response.status_code == (304 if matches else 200)
        assert response.headers["etag"] == full.headers["etag"]
        assert response.headers.get("link") == full.headers.get("link")
        assert response.content == (b"" if matches or method == "HEAD" else full.content)


def test_several_if_match_headers_are_one_list(alice: Person) -> None:
    task = alice.create()["id"]
    headers = [*alice.headers.items(), ("If-Match", '"0"'), ("If-Match", etag(alice, task))]
    path = f"/api/{alice.id}/tasks/{task}"
    assert alice.client.patch(path, json={"title": "new"}, headers=headers).status_code == 200
    assert alice.client.patch(path, json={"title": "newer"}, headers=headers).status_code == 412


@pytest.mark.parametrize("name", ["update", "toggle", "delete"])
def test_of_concurrent_writers_with_the_same_tag_one_wins_and_the_others_get_412(
    alice: Person, name: str
) -> None:
    writers = 4
    barrier = Barrier(writers)

    def write(task: int, tag: str) -> int:
        barrier.wait()
        return send(alice, task, WRITES[name], tag).status_code

    with ThreadPoolExecutor(writers) as threads:
        for _ in range(10):
            task = alice.create()["id"]
            tag = etag(alice, task)
            won, *lost = sorted(threads.map(write, [task] * writers, [tag] * writers))
            assert won in {200, 204}
            assert set(lost) <= ({404, 412} if name == "delete" else {412})


@pytest.mark.slow
def test_every_edit_with_if_match_works_through_an_nginx_that_compresses(
    client: httpx.Client, key: SigningKey, tmp_path: Path
) -> None:
    gzip = "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;"
    with (
        running_nginx(tmp_path, [client.base_url.port or 80] * 3, gzip) as url,
        httpx.Client(base_url=url, timeout=30) as compressed,
    ):
        alice = Person(compressed, key)
        task = alice.create()["id"]
        for write in WRITES.values():
            read = alice.tasks("GET", task)
            assert (read.headers["content-encoding"], read.headers["etag"][:2]) == ("gzip", "W/")
            again = alice.tasks("GET", task, headers={"If-None-Match": read.headers["etag"]})
            assert again.status_code == 304
            assert send(alice, task, write, read.headers["etag"]).is_success
        assert alice.tasks("GET").json() == []
