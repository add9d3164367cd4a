"""Tests of HEAD: what GET would say, without the body."""

import httpx

from tests.support.problems import assert_problem
from tests.support.rows import insert_tasks
from tests.support.service import ORIGIN, Person

# What differs between two requests, and what only a body has (RFC 9110 §9.3.2).
DIFFERENT = {"x-request-id", "date", "transfer-encoding"}


def headers_of(response: httpx.Response) -> list[tuple[str, str]]:
    return [each for each in response.headers.multi_items() if each[0] not in DIFFERENT]


def test_every_address_with_get_takes_head(alice: Person) -> None:
    task = alice.create()["id"]
    alice.create()
    document = alice.client.get("/openapi.json").json()
    paths = [path for path, item in document["paths"].items() if "get" in item]
    assert len(paths) >= 6
    paths += ["/openapi.json", "/docs", "/docs/assets/swagger-ui.css"]
    paths += ["/api/me/tasks?limit=1", "/api/me/tasks?sort=nothing", "/api/me/tasks/0"]
    for path in paths:
        address = path.replace("{user_id}", "me").replace("{task_id}", str(task))
        get, head = (
            alice.call(method, address, headers={"Origin": ORIGIN}) for method in ("GET", "HEAD")
        )
        assert (head.status_code, head.content) == (get.status_code, b""), address
        assert headers_of(head) == headers_of(get)
        assert get.content


def test_head_is_refused_as_get_is(client: httpx.Client, alice: Person) -> None:
    for path in ("/api/me/tasks", "/api/auth/me", "/api/auth/me/export", "/nowhere"):
        get, head = (client.request(method, path) for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert headers_of(head) == headers_of(get)
    for path in ("/api/auth/signup", "/api/me/tasks/1/complete"):
        assert alice.call("HEAD", path).status_code == 405


def test_after_the_head_of_a_long_list_the_connection_goes_on(
    alice: Person, database_url: str
) -> None:
    insert_tasks(database_url, alice.id, 1500)
    head = alice.tasks("HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert len(alice.tasks("GET").json()) == 1500
    assert_problem(alice.tasks("GET", 0), 404)
