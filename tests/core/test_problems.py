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
    # For front ends that say `credentials: "include"`; no cookie is read.
    assert answer.headers["access-control-allow-credentials"] == "true"


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


@pytest.fixture
def own_database(make_database: MakeDatabase) -> str:
    url = make_database()
    upgrade(url)
    return url


def test_an_unexpected_error_is_500_without_the_reason_and_is_logged_without_the_row(
    own_database: str, key_server: KeyServer, key: SigningKey, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL quotes the row, in a line that begins with DETAIL."""
    caplog.set_level(logging.INFO)
    execute(own_database, "ALTER TABLE tasks ADD CHECK (title <> 'a private title')")
    with running_service(make_settings(own_database, key_server.url)) as client:
        alice = Person(client, key)
        task = alice.create()["id"]
        for method, path in (("POST", ""), ("PUT", task), ("PATCH", task)):
            headers = {"Origin": ORIGIN, "X-Request-ID": "the-one-that-fails"}
            body = {"title": "a private title"}
            response = alice.tasks(method, path, json=body, headers=headers)
            assert_problem(response, 500)
            assert_readable_by_a_browser(response)
            assert response.headers["x-request-id"] == "the-one-that-fails"
            for word in ("tasks", "INSERT", "psycopg2", "Traceback", "CheckViolation"):
                assert word not in response.text
        assert client.get("/health").status_code == 200
    assert "CheckViolation" in caplog.text
    for secret in ("a private title", "DETAIL", alice.token):
        assert secret not in caplog.text
    assert " 500 " in caplog.text


def test_a_missing_table_is_503_and_the_log_names_it(
    own_database: str, key_server: KeyServer, key: SigningKey, caplog: pytest.LogCaptureFixture
) -> None:
    with running_service(make_settings(own_database, key_server.url)) as client:
        alice = Person(client, key)
        execute(own_database, "ALTER TABLE tasks RENAME TO jobs")
        response = alice.tasks("POST", json={"title": "a private title"})
        assert_problem(response, 503)
        assert int(response.headers["retry-after"]) > 0
        assert "tasks" not in response.text
        execute(own_database, "ALTER TABLE jobs RENAME TO tasks")
        alice.create()
    assert 'relation "tasks" does not exist' in caplog.text
    assert "a private title" not in caplog.text


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
    answer = preflight(client, ORIGIN, method, "authorization", "content-type", "x-anything")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "x-anything"} <= set(allowed)
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(("origin", "method"), [("https://evil.example", "GET"), (ORIGIN, "TRACE")])
def test_any_other_preflight_is_refused_and_the_log_names_the_origin(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, origin: str, method: str
) -> None:
    caplog.set_level(logging.INFO)
    assert_problem(preflight(client, origin, method, "authorization"), 400)
    assert origin in caplog.text


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
