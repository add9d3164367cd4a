"""Tests of the headers that forbid caching and content sniffing."""

from typing import Any

import httpx
import pytest

from tests.support.service import Person, make_settings, running_service

ORIGIN = "http://localhost:3000"
SIGNUP = "/api/auth/signup"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
LONG = b'{"title": "' + b"x" * 65536 + b'"}'


def assert_private(response: httpx.Response, *, stored: bool = False) -> None:
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    assert response.headers.get_list("cache-control") == ([] if stored else ["no-store"])


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "", {}, 200),
        ("POST", "", {"json": {"title": "two"}}, 201),
        ("GET", "/{task}", {}, 200),
        ("GET", "/{task}", {"headers": {"If-None-Match": "*"}}, 304),
        ("PATCH", "/{task}", {"json": {}, "headers": {"If-Match": '"0"'}}, 412),
        ("PUT", "/{task}", {"json": {"title": "two"}}, 200),
        ("PATCH", "/{task}", {"json": {}}, 200),
        ("PATCH", "/{task}/complete", {}, 200),
        ("DELETE", "/{task}", {}, 204),
        ("GET", "/0", {}, 404),
        ("POST", "", {"json": {"title": ""}}, 400),
        ("POST", "", {"content": LONG}, 413),
        ("PUT", "", {}, 405),
        ("PATCH", "", {"json": {"completed": True}}, 200),
        ("DELETE", "", {"params": {"status": "all"}}, 200),
        ("GET", "/1/2/3", {}, 404),
    ],
)
def test_responses_about_tasks_may_not_be_cached(
    alice: Person, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    task = alice.create()["id"]
    response = alice.tasks(method, path.format(task=task)[1:], **options)
    assert response.status_code == status
    assert_private(response)


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/api/auth/me", {}, 401),
        ("GET", "/api/1/tasks", {"headers": {"Authorization": "Bearer a.b.c"}}, 401),
        ("POST", SIGNUP, {"json": {"email": "no", "password": "no"}}, 400),
        ("POST", "/api/auth/login", {"json": {"email": "a@b.co", "password": "wrong one"}}, 401),
        ("OPTIONS", "/api/1/tasks", {"headers": PREFLIGHT}, 200),
        ("OPTIONS", "/api/1/tasks", {"headers": {**PREFLIGHT, "Origin": "http://evil"}}, 400),
        ("GET", "/api", {}, 404),
        ("GET", "/nowhere", {}, 404),
        ("GET", "/docsomewhere", {}, 404),
        ("GET", "/health", {}, 200),
        ("GET", "/health/ready", {}, 200),
        ("GET", "/openapi.json", {}, 200),
    ],
)
def test_other_responses_may_not_be_cached(
    client: httpx.Client, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    response = client.request(method, path, **options)
    assert response.status_code == status
    assert_private(response)


def test_an_account_may_not_be_cached(alice: Person) -> None:
    response = alice.call("GET", "/api/auth/me")
    assert response.status_code == 200
    assert_private(response)


@pytest.mark.parametrize("path", ["/docs", "/docs/assets/swagger-ui.css", "/docs/assets/nothing"])
def test_the_documentation_may_be_cached_and_not_sniffed(client: httpx.Client, path: str) -> None:
    assert_private(client.get(path), stored=True)


def test_429_and_503_may_not_be_cached() -> None:
    settings = make_settings(
        "postgresql://127.0.0.1:1/nothing", "http://127.0.0.1:1/jwks", auth_rate_limit="1/minute"
    )
    with running_service(settings) as client:
        body = {"email": "somebody@example.com", "password": "correct horse"}
        responses = [client.post("/api/auth/login", json=body) for _ in range(2)]
        responses.append(client.get("/health/ready"))
        headers = {"Authorization": "Bearer a.b.c"}
        responses.append(client.get("/api/auth/me", headers=headers))
    assert [response.status_code for response in responses] == [503, 429, 503, 503]
    for response in responses:
        assert_private(response)


def test_an_unhandled_error_may_not_be_cached(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("models.user.get_user_by_email", fail)
    with running_service(make_settings(database_url, "http://127.0.0.1:1/jwks")) as client:
        body = {"email": "somebody@example.com", "password": "correct horse"}
        response = client.post("/api/auth/login", json=body)
    assert response.status_code == 500
    assert "on purpose" not in response.text
    assert_private(response)


def test_with_the_options_of_the_readme_the_server_does_not_name_itself(database_url: str) -> None:
    settings = make_settings(database_url, "http://127.0.0.1:1/jwks")
    with running_service(settings, server_header=False) as client:
        assert "server" not in client.get("/health").headers
