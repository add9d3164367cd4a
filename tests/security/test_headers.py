"""Tests of the headers that keep an answer from being stored, or taken for what it is not."""

from typing import Any

import httpx
import pytest

from tests.support.service import Person, make_settings, running_service

ORIGIN = "http://localhost:3000"
SIGNUP = "/api/auth/signup"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
LONG = b'{"title": "' + b"x" * 65536 + b'"}'


def assert_kept_private(answer: httpx.Response, *, stored: bool = False) -> None:
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers.get_list("cache-control") == ([] if stored else ["no-store"])


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "", {}, 200),
        ("POST", "", {"json": {"title": "two"}}, 201),
        ("GET", "/{task}", {}, 200),
        ("PUT", "/{task}", {"json": {"title": "two"}}, 200),
        ("PATCH", "/{task}", {"json": {}}, 200),
        ("PATCH", "/{task}/complete", {}, 200),
        ("DELETE", "/{task}", {}, 204),
        ("GET", "/0", {}, 404),
        ("POST", "", {"json": {"title": ""}}, 400),
        ("POST", "", {"content": LONG}, 413),
        ("PUT", "", {}, 405),
        ("GET", "/1/2/3", {}, 404),
    ],
)
def test_no_answer_about_tasks_is_stored(
    alice: Person, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    task = alice.create()["id"]
    answer = alice.tasks(method, path.format(task=task)[1:], **options)
    assert answer.status_code == status
    assert_kept_private(answer)


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
def test_no_answer_to_anybody_else_is_stored(
    client: httpx.Client, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    answer = client.request(method, path, **options)
    assert answer.status_code == status
    assert_kept_private(answer)


def test_no_account_is_stored(alice: Person) -> None:
    answer = alice.call("GET", "/api/auth/me")
    assert answer.status_code == 200
    assert_kept_private(answer)


@pytest.mark.parametrize("path", ["/docs", "/docs/assets/swagger-ui.css", "/docs/assets/nothing"])
def test_the_description_for_people_may_be_stored_and_is_what_it_says(
    client: httpx.Client, path: str
) -> None:
    assert_kept_private(client.get(path), stored=True)


def test_a_refusal_for_too_many_attempts_and_one_for_want_of_a_database_are_not_stored() -> None:
    settings = make_settings(
        "postgresql://127.0.0.1:1/nothing", "http://127.0.0.1:1/jwks", auth_rate_limit="1/minute"
    )
    with running_service(settings) as client:
        body = {"email": "somebody@example.com", "password": "correct horse"}
        answers = [client.post("/api/auth/login", json=body) for _ in range(2)]
        answers.append(client.get("/health/ready"))
        headers = {"Authorization": "Bearer a.b.c"}
        answers.append(client.get("/api/auth/me", headers=headers))
    assert [answer.status_code for answer in answers] == [503, 429, 503, 503]
    for answer in answers:
        assert_kept_private(answer)


def test_an_error_that_nobody_expected_is_not_stored_either(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("models.user.by_email", fail)
    with running_service(make_settings(database_url, "http://127.0.0.1:1/jwks")) as client:
        body = {"email": "somebody@example.com", "password": "correct horse"}
        answer = client.post("/api/auth/login", json=body)
    assert answer.status_code == 500
    assert "on purpose" not in answer.text
    assert_kept_private(answer)


def test_started_as_the_readme_says_the_server_does_not_name_itself(database_url: str) -> None:
    settings = make_settings(database_url, "http://127.0.0.1:1/jwks")
    with running_service(settings, server_header=False) as client:
        assert "server" not in client.get("/health").headers
