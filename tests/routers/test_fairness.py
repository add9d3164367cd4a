"""Tests that one account never keeps the others waiting, and that it has a quota."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final

import httpx
import pytest

from models.task import BULK_ROWS
from tests.conftest import Serve
from tests.support.database import Activity, execute, wait_until
from tests.support.problems import assert_problem
from tests.support.rows import insert_tasks
from tests.support.service import Person, at_once
from tests.support.tokens import SigningKey

pytestmark = pytest.mark.slow

POOL_SIZE: Final = 6
SHARE: Final = 2


@pytest.fixture
def activity(own_database: str) -> Iterator[Activity]:
    """Watch the database, and hold locks in the way of statements."""
    with closing(Activity(own_database)) as activity:
        yield activity


@pytest.fixture
def server(serve: Serve, own_database: str) -> httpx.Client:
    """Run a service with a pool of `POOL_SIZE` connections."""
    return serve(own_database, db_pool_size=POOL_SIZE)


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/api/me/tasks", {}),
        ("GET", "/api/me/tasks", {"params": {"limit": "1"}}),
        ("POST", "/api/me/tasks", {"json": {"title": "a task"}}),
        ("PATCH", "/api/me/tasks", {"json": {"completed": True}}),
        ("DELETE", "/api/me/tasks", {"params": {"status": "all"}}),
        ("GET", "/api/auth/me/export", {}),
        ("DELETE", "/api/auth/me", {}),
        ("GET", "/api/auth/me", {}),
    ],
)
def test_an_account_has_a_third_of_the_connections(  # noqa: PLR0913, PLR0917
    server: httpx.Client,
    activity: Activity,
    key: SigningKey,
    method: str,
    path: str,
    options: dict[str, Any],
) -> None:
    alice, bob = Person(server, key), Person(server, key)
    for person in (alice, bob):
        person.create()
    table, of_bob = "tasks", "/api/auth/me"
    if (method, path) == ("GET", of_bob):
        table, of_bob = "users", "/api/me/tasks"
    with ThreadPoolExecutor(POOL_SIZE + SHARE) as threads:
        with activity.locking(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"):
            waiting = [
                threads.submit(alice.call, method, path, **options)
                for _ in range(POOL_SIZE + SHARE)
            ]
            activity.await_waiting(SHARE)
            # Without the limit the pool would be used up by now.
            for _ in range(3):
                assert bob.call("GET", of_bob).status_code == 200
                assert server.get("/health/ready").status_code == 200
            assert activity.waiting() == SHARE
            # What waits longer than three seconds for its turn is refused.
            wait_until(lambda: sum(each.done() for each in waiting) == POOL_SIZE)
            refused = [each for each in waiting if each.done()]
        for each in refused:
            assert_problem(each.result(), 503)
        assert 503 not in {each.result().status_code for each in waiting if each not in refused}


@pytest.mark.parametrize(
    ("method", "paging"),
    [("GET", {}), ("GET", {"limit": "1"}), ("PATCH", {}), ("DELETE", {})],
)
def test_a_statement_with_a_search_has_two_seconds(
    server: httpx.Client,
    activity: Activity,
    key: SigningKey,
    method: str,
    paging: dict[str, str],
) -> None:
    alice = Person(server, key)
    alice.create()
    body = {"json": {"completed": True}} if method == "PATCH" else {}
    with ThreadPoolExecutor(1) as thread:
        with activity.locking("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE"):
            plain = thread.submit(alice.tasks, "GET")
            started_at = time.monotonic()
            params = {"search": "x", "status": "all", **paging}
            response = alice.tasks(method, params=params, **body)
            assert_problem(response, 503)
            assert 1.9 < time.monotonic() - started_at < 5
            assert not plain.done()
        assert plain.result().status_code == 200
    assert server.get("/health/ready").status_code == 200


@pytest.mark.parametrize("path", ["/api/me/tasks", "/api/auth/me/export"])
def test_an_account_reads_a_few_streams_at_once(
    server: httpx.Client, own_database: str, key: SigningKey, path: str
) -> None:
    alice, bob = Person(server, key), Person(server, key)
    for person in (alice, bob):
        insert_tasks(own_database, person.id, 1500, description=5000)
    streams = []
    with httpx.Client(base_url=server.base_url, limits=httpx.Limits(max_connections=50)) as client:
        for _ in range(20):
            request = client.build_request("GET", path, headers=alice.headers)
            response = client.send(request, stream=True)
            if response.status_code == 503:
                response.close()
                break
            streams.append(response)
        assert 2 <= len(streams) < 20
        assert bob.call("GET", path).status_code == 200
        assert alice.tasks("GET", params={"limit": 1}).status_code == 200
        for stream in streams:
            stream.close()
        # Each is over once its client has gone, and after a HEAD at once.
        wait_until(lambda: alice.call("GET", path).status_code == 200)
        for _ in range(20):
            assert alice.call("HEAD", path).status_code == 200


def test_an_account_has_a_quota_of_tasks(serve: Serve, own_database: str, key: SigningKey) -> None:
    server = serve(own_database, tasks_per_account=3)
    alice, bob = Person(server, key), Person(server, key)
    headers = {"Idempotency-Key": "first"}
    first = alice.tasks("POST", json={"title": "a task"}, headers=headers)
    others = [alice.create()["id"] for _ in range(2)]
    for refused in ({}, {"headers": {"Idempotency-Key": "new"}}):
        assert_problem(alice.tasks("POST", json={"title": "one more"}, **refused), 409)
    again = alice.tasks("POST", json={"title": "a task"}, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert len(alice.tasks("GET").json()) == 3
    bob.create()
    alice.tasks("DELETE", others[0])
    alice.create()


def test_a_quota_is_exceeded_by_one_per_cent_at_most_and_counted_once_in_a_while(
    serve: Serve, own_database: str, key: SigningKey
) -> None:
    replicas = [Person(serve(own_database, tasks_per_account=300), key, sub="one") for _ in "12"]
    insert_tasks(own_database, replicas[0].id, 290)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda n: replicas[n % 2].tasks("POST", json={"title": "x"}), range(40)))
    ((count,),) = execute(own_database, "SELECT count(*) FROM tasks")
    assert 300 <= count <= 300 + 2 * 3


def test_a_quota_counts_creates_at_once(serve: Serve, own_database: str, key: SigningKey) -> None:
    alice = Person(serve(own_database, db_pool_size=POOL_SIZE, tasks_per_account=10), key)
    created = at_once(40, lambda _: alice.tasks("POST", json={"title": "x"}).status_code)
    assert set(created) == {201, 409}
    # Beyond the quota are those that its other connections create during the last count.
    assert 10 <= created.count(201) < 10 + SHARE


def test_more_tasks_than_one_statement_changes_are_changed_in_steps(
    server: httpx.Client, own_database: str, key: SigningKey
) -> None:
    alice = Person(server, key)
    insert_tasks(own_database, alice.id, 45_000)
    changed = alice.tasks("PATCH", json={"completed": True}, timeout=120)
    assert changed.json() == {"updated": 22_500}
    deleted = alice.tasks("DELETE", params={"status": "completed", "search": "2"}, timeout=120)
    ((left,),) = execute(own_database, "SELECT count(*) FROM tasks")
    assert deleted.json() == {"deleted": 45_000 - left}
    assert 0 < left < 45_000 - BULK_ROWS
    assert alice.call("DELETE", "/api/auth/me", timeout=120).status_code == 204
    assert execute(own_database, "SELECT count(*) FROM tasks") == [(0,)]
