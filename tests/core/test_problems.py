"""Tests of errors of every kind, and of the headers that every answer carries."""

import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from core.migrations import upgrade
from tests.conftest import MakeDatabase
from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem
from tests.support.service import ORIGIN, Person, make_settings, running_service
from tests.support.tokens import SigningKey

NOWHERE = "postgresql://somebody:top-secret@127.0.0.1:1/nothing"
EXPOSED = {"ETag", "Link", "Location", "Retry-After", "X-Request-ID"}
SIGN_UP = {"email": "a@example.com", "password": "a long enough one"}


@pytest.fixture(scope="module")
def without_database(key_server: KeyServer) -> Iterator[httpx.Client]:
    """Run a service whose database is away."""
    with running_service(make_settings(NOWHERE, key_server.url)) as client:
        yield client


def assert_readable_by_a_browser(answer: httpx.Response) -> None:
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert set(answer.headers["access-control-expose-headers"].split(", ")) == EXPOSED
    assert "origin" in answer.headers["vary"].lower()
    # Tokens are sent, cookies are not.
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/health/ready", None),
        ("POST", "/api/auth/signup", SIGN_UP),
        ("POST", "/api/auth/login", SIGN_UP),
        ("GET", "/api/auth/me", None),
        ("GET", "/api/1/tasks", None),
        ("POST", "/api/1/tasks", {"title": "a"}),
        ("GET", "/api/1/tasks/1", None),
        ("PUT", "/api/1/tasks/1", {"title": "a"}),
        ("PATCH", "/api/1/tasks/1", {"title": "a"}),
        ("PATCH", "/api/1/tasks/1/complete", None),
        ("DELETE", "/api/1/tasks/1", None),
    ],
)
def test_the_database_being_away_is_503_and_says_when_to_come_back(
    without_database: httpx.Client, key: SigningKey, method: str, path: str, body: Any
) -> None:
    headers = {"Authorization": f"Bearer {key.token()}", "Origin": ORIGIN}
    answer = without_database.request(method, path, json=body, headers=headers)
    assert_problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    assert_readable_by_a_browser(answer)
    for secret in ("top-secret", "127.0.0.1", "nothing", "psycopg2", "SELECT"):
        assert secret not in answer.text


def test_without_a_token_it_is_401_even_then(without_database: httpx.Client) -> None:
    assert_problem(without_database.get("/api/1/tasks"), 401)


def test_the_log_says_why_the_database_is_away_and_not_with_which_password(
    without_database: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    without_database.post("/api/auth/login", json=SIGN_UP)
    assert "Connection refused" in caplog.text
    assert "top-secret" not in caplog.text


def test_no_key_at_hand_is_503_and_not_401(database_url: str, key: SigningKey) -> None:
    with running_service(make_settings(database_url, "http://127.0.0.1:1/jwks")) as client:
        headers = {"Authorization": f"Bearer {key.token()}", "Origin": ORIGIN}
        answer = client.get("/api/1/tasks", headers=headers)
        assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert_readable_by_a_browser(answer)


def test_an_error_that_nobody_expected_is_500_tells_nothing_and_is_logged(
    make_database: MakeDatabase,
    key_server: KeyServer,
    key: SigningKey,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = make_database()
    upgrade(url)
    caplog.set_level(logging.INFO, logger="utils.logs")
    with running_service(make_settings(url, key_server.url)) as client:
        alice = Person(client, key)
        execute(url, "DROP TABLE tasks")
        headers = {"Origin": ORIGIN, "X-Request-ID": "the-one-that-fails"}
        answer = alice.tasks("POST", json={"title": "a private title"}, headers=headers)
        assert_problem(answer, 500)
        assert_readable_by_a_browser(answer)
        assert answer.headers["x-request-id"] == "the-one-that-fails"
        for word in ("tasks", "INSERT", "psycopg2", "Traceback", "UndefinedTable"):
            assert word not in answer.text
        assert client.get("/health").status_code == 200
    assert "UndefinedTable" in caplog.text
    assert "a private title" not in caplog.text
    assert alice.token not in caplog.text
    assert " 500 " in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", b"", 404),
        ("DELETE", "/health", b"", 405),
        ("GET", "/api/1/tasks", b"", 401),
        ("POST", "/api/auth/signup", b"nonsense", 400),
        ("POST", "/api/auth/signup", b"x" * 65_537, 413),
        ("GET", "/health", b"", 200),
    ],
)
def test_every_answer_has_a_request_id_and_can_be_read_by_the_front_end(
    client: httpx.Client, method: str, path: str, body: bytes, status: int
) -> None:
    headers = {"Origin": ORIGIN, "Content-Type": "application/json", "X-Request-ID": "mine"}
    answer = client.request(method, path, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["x-request-id"] == "mine"
    assert_readable_by_a_browser(answer)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3001", ""])
def test_another_origin_is_not_let_in(client: httpx.Client, origin: str) -> None:
    answer = client.get("/health", headers={"Origin": origin})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def preflight(client: httpx.Client, origin: str, method: str, *headers: str) -> httpx.Response:
    return client.options(
        "/api/1/tasks/1",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": ", ".join(headers),
        },
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_preflight_lets_the_front_end_send_every_method_and_header_that_it_needs(
    client: httpx.Client, method: str
) -> None:
    answer = preflight(client, ORIGIN, method, "authorization", "content-type", "x-request-id")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "x-request-id"} <= set(allowed)
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("origin", "method", "header"),
    [
        ("https://evil.example", "GET", "authorization"),
        (ORIGIN, "TRACE", "authorization"),
        (ORIGIN, "GET", "x-something-else"),
    ],
)
def test_any_other_preflight_is_refused(
    client: httpx.Client, origin: str, method: str, header: str
) -> None:
    answer = preflight(client, origin, method, header)
    assert answer.status_code == 400
    assert answer.headers["x-request-id"]


def test_the_front_end_may_stand_at_several_origins(
    database_url: str, key_server: KeyServer
) -> None:
    origins = ("https://a.example", "https://b.example:8443")
    settings = make_settings(database_url, key_server.url, cors_origins=origins)
    with running_service(settings) as client:
        for origin in origins:
            answer = client.get("/health", headers={"Origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
        answer = client.get("/health", headers={"Origin": ORIGIN})
        assert "access-control-allow-origin" not in answer.headers
