"""Tests of what reaches PostgreSQL: one statement for each request about tasks."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.keyserver import KeyServer
from tests.support.proxy import PostgresProxy, running_proxy
from tests.support.rows import insert_tasks
from tests.support.service import Person, make_settings, running_service
from tests.support.tokens import SigningKey

NEW = {"json": {"title": "new"}}
ALL = {"params": {"status": "all"}}
FILTERED = {"status": "all", "search": "a", "sort": "title", "order": "desc", "limit": 2}
ONCE = {"Idempotency-Key": "one"}
NEWEST = {"headers": {"If-Match": "{tag}"}}
OUTDATED = {"headers": {"If-Match": '"0"'}}
UNMATCHED = {"params": {"status": "all", "search": "no such text"}}
REQUESTS: list[tuple[str, str, dict[str, Any], int, int]] = [
    ("GET", "", {}, 200, 1),
    ("HEAD", "", {}, 200, 1),
    ("GET", "", {"params": FILTERED}, 200, 1),
    ("GET", "", {"headers": {"If-None-Match": "*"}}, 304, 1),
    ("POST", "", NEW, 201, 1),
    ("POST", "", {**NEW, "headers": ONCE}, 201, 1),
    ("POST", "", {"json": {"title": "other"}, "headers": ONCE}, 409, 1),
    ("GET", "/{task}", {}, 200, 1),
    ("GET", "/1000000", {}, 404, 1),
    ("PUT", "/{task}", NEW, 200, 1),
    ("PUT", "/1000000", NEW, 404, 1),
    ("PATCH", "/{task}", {**NEW, **NEWEST}, 200, 1),
    ("PATCH", "/{task}/complete", {}, 200, 1),
    ("PATCH", "/{task}/complete", {"json": {"completed": True}}, 200, 1),
    ("PATCH", "", {"json": {"completed": True}}, 200, 1),
    ("DELETE", "/{task}", NEWEST, 204, 1),
    ("DELETE", "/{task}", {}, 204, 1),
    ("DELETE", "/1000000", {}, 404, 1),
    ("DELETE", "", ALL, 200, 1),
    # An empty result and a condition that does not hold are asked about once more.
    ("GET", "", UNMATCHED, 200, 2),
    ("PATCH", "", {"json": {"completed": False}}, 200, 2),
    ("DELETE", "", UNMATCHED, 200, 2),
    ("PATCH", "/{task}", {**NEW, **OUTDATED}, 412, 2),
    ("DELETE", "/{task}", OUTDATED, 412, 2),
    # What is refused before that costs nothing.
    ("GET", "/01", {}, 404, 0),
    ("POST", "", {"json": {"title": ""}}, 400, 0),
]


@pytest.fixture(scope="module")
def proxy(database_url: str) -> Iterator[PostgresProxy]:
    """Run a proxy between a service and PostgreSQL."""
    with running_proxy(database_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def carol(proxy: PostgresProxy, key: SigningKey, key_server: KeyServer) -> Iterator[Person]:
    """Sign in at a service behind the proxy."""
    with running_service(make_settings(proxy.url, key_server.url)) as client:
        yield Person(client, key)


@pytest.mark.parametrize(("method", "path", "options", "status", "count"), REQUESTS)
def test_a_request_is_one_statement_that_names_its_owner(  # noqa: PLR0913, PLR0917
    proxy: PostgresProxy,
    carol: Person,
    method: str,
    path: str,
    options: dict[str, Any],
    status: int,
    count: int,
) -> None:
    created = carol.tasks("POST", json={"title": "a task"})
    tag, task = created.headers["etag"], created.json()["id"]
    headers = {
        name: each.replace("{tag}", tag) for name, each in options.get("headers", {}).items()
    }
    proxy.statements.clear()
    response = carol.tasks(method, path.format(task=task)[1:], **{**options, "headers": headers})
    assert response.status_code == status
    assert len(proxy.statements) == count
    for statement in proxy.statements[:1]:
        assert "user_id" in statement
        assert str(carol.id) in statement


def test_a_list_of_up_to_1000_tasks_is_one_statement_and_a_longer_one_is_one_more_for_each_1000(
    proxy: PostgresProxy, carol: Person, database_url: str
) -> None:
    carol.tasks("DELETE", params={"status": "all"})
    for inserted, statements in ((1000, 1), (1, 3), (1999, 4), (1, 5)):
        insert_tasks(database_url, carol.id, inserted)
        proxy.statements.clear()
        response = carol.tasks("GET")
        assert len(proxy.statements) == statements
        assert ("etag" in response.headers) is (statements == 1)


def test_a_refused_caller_costs_no_statement(proxy: PostgresProxy, carol: Person) -> None:
    proxy.statements.clear()
    assert carol.call("GET", "/api/somebody/tasks").status_code == 403
    assert carol.client.get("/api/me/tasks").status_code == 401
    assert proxy.statements == []
