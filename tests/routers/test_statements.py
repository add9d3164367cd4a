"""Tests of what reaches PostgreSQL: one statement for each request about tasks."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.keyserver import KeyServer
from tests.support.proxy import PostgresProxy, running_proxy
from tests.support.rows import insert_tasks
from tests.support.service import Person, make_settings, running_service
from tests.support.tokens import SigningKey

ONE_STATEMENT: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "", {}, 200),
    ("HEAD", "", {}, 200),
    (
        "GET",
        "",
        {"params": {"status": "all", "search": "a", "sort": "title", "order": "desc", "limit": 2}},
        200,
    ),
    ("GET", "", {"headers": {"If-None-Match": "*"}}, 304),
    ("POST", "", {"json": {"title": "new"}}, 201),
    ("POST", "", {"json": {"title": "new"}, "headers": {"Idempotency-Key": "one"}}, 201),
    ("POST", "", {"json": {"title": "new"}, "headers": {"Idempotency-Key": "one"}}, 201),
    ("POST", "", {"json": {"title": "old"}, "headers": {"Idempotency-Key": "one"}}, 409),
    ("GET", "/{task}", {}, 200),
    ("GET", "/{task}", {"headers": {"If-None-Match": '"0"'}}, 200),
    ("GET", "/1000000", {}, 404),
    ("PUT", "/{task}", {"json": {"title": "new"}}, 200),
    ("PUT", "/{task}", {"json": {"title": "new"}, "headers": {"If-Match": "*"}}, 200),
    ("PUT", "/1000000", {"json": {"title": "new"}}, 404),
    ("PATCH", "/{task}", {"json": {"title": "new"}, "headers": {"If-Match": "{tag}"}}, 200),
    ("PATCH", "/{task}", {"json": {}}, 200),
    ("PATCH", "/{task}/complete", {}, 200),
    ("PATCH", "/{task}/complete", {"json": {"completed": True}}, 200),
    ("PATCH", "", {"json": {"completed": True}}, 200),
    ("DELETE", "/{task}", {"headers": {"If-Match": "{tag}"}}, 204),
    ("DELETE", "/{task}", {}, 204),
    ("DELETE", "/1000000", {}, 404),
    ("DELETE", "", {"params": {"status": "all"}}, 200),
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


@pytest.mark.parametrize(("method", "path", "options", "status"), ONE_STATEMENT)
def test_a_request_is_one_statement_that_names_its_owner(  # noqa: PLR0913, PLR0917
    proxy: PostgresProxy,
    carol: Person,
    method: str,
    path: str,
    options: dict[str, Any],
    status: int,
) -> None:
    created = carol.tasks("POST", json={"title": "a task"})
    headers = {
        name: value.replace("{tag}", created.headers["etag"])
        for name, value in options.get("headers", {}).items()
    }
    task = created.json()["id"]
    proxy.statements.clear()
    path = path.format(task=task)[1:]
    response = carol.tasks(method, path, **{**options, "headers": headers})
    assert response.status_code == status
    (statement,) = proxy.statements
    assert "user_id" in statement
    assert str(carol.id) in statement


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "", {"params": {"search": "no such text"}}, 200),
        ("PATCH", "", {"json": {"completed": False}}, 200),
        ("DELETE", "", {"params": {"status": "all", "search": "no such text"}}, 200),
        ("PATCH", "/{task}", {"json": {"title": "new"}, "headers": {"If-Match": '"0"'}}, 412),
        ("DELETE", "/{task}", {"headers": {"If-Match": '"0"'}}, 412),
    ],
)
def test_only_an_empty_result_or_a_missed_condition_asks_once_more(  # noqa: PLR0913, PLR0917
    proxy: PostgresProxy,
    carol: Person,
    method: str,
    path: str,
    options: dict[str, Any],
    status: int,
) -> None:
    task = carol.create()["id"]
    proxy.statements.clear()
    response = carol.tasks(method, path.format(task=task)[1:], **options)
    assert response.status_code == status
    assert len(proxy.statements) == 2


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


def test_an_account_that_was_used_before_costs_no_statement(
    proxy: PostgresProxy, carol: Person
) -> None:
    proxy.statements.clear()
    responses = [carol.call("GET", "/api/somebody/tasks") for _ in range(3)]
    assert {response.status_code for response in responses} == {403}
    assert proxy.statements == []
