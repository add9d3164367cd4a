"""Tests of errors that are not the caller's, of request ids, and of CORS."""

import logging

import httpx
import pytest

from tests.conftest import Serve
from tests.support.database import execute
from tests.support.problems import assert_problem, assert_readable_by_the_page
from tests.support.service import ORIGIN, Person
from tests.support.tokens import SigningKey


def test_the_log_says_why_the_database_is_away_and_not_with_which_password(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve("postgresql://somebody:top-secret@127.0.0.1:1/nothing")
    body = {"email": "a@example.com", "password": "a long enough one"}
    assert client.post("/api/auth/login", json=body).status_code == 503
    assert "Connection refused" in caplog.text
    assert "top-secret" not in caplog.text
    # Without a token it is 401 even then.
    assert_problem(client.get("/api/1/tasks"), 401)


def test_no_key_at_hand_is_503_and_not_401(serve: Serve, key: SigningKey) -> None:
    client = serve(jwks_url="http://127.0.0.1:1/jwks")
    headers = {"Authorization": f"Bearer {key.token()}", "Origin": ORIGIN}
    response = client.get("/api/1/tasks", headers=headers)
    assert_problem(response, 503)
    assert_readable_by_the_page(response)


def test_an_unexpected_error_is_500_without_the_reason_and_is_logged_without_the_row(
    own_database: str, serve: Serve, key: SigningKey, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL quotes the row, in a line that begins with DETAIL."""
    caplog.set_level(logging.INFO)
    execute(own_database, "ALTER TABLE tasks ADD CHECK (title <> 'a private title')")
    alice = Person(serve(own_database), key)
    task = alice.create()["id"]
    for method, path in (("POST", ""), ("PUT", task), ("PATCH", task)):
        headers = {"Origin": ORIGIN, "X-Request-ID": "the-one-that-fails"}
        body = {"title": "a private title"}
        response = alice.tasks(method, path, json=body, headers=headers)
        assert_problem(response, 500)
        assert_readable_by_the_page(response)
        assert response.headers["x-request-id"] == "the-one-that-fails"
        for word in ("tasks", "INSERT", "psycopg2", "Traceback", "CheckViolation"):
            assert word not in response.text
    assert alice.tasks("GET", task).status_code == 200
    assert "CheckViolation" in caplog.text
    assert " 500 " in caplog.text
    for secret in ("a private title", "DETAIL", alice.token):
        assert secret not in caplog.text


def test_a_missing_table_is_503_and_the_log_names_it(
    own_database: str, serve: Serve, key: SigningKey, caplog: pytest.LogCaptureFixture
) -> None:
    alice = Person(serve(own_database), key)
    execute(own_database, "ALTER TABLE tasks RENAME TO jobs")
    response = alice.tasks("POST", json={"title": "a private title"})
    assert_problem(response, 503)
    assert "tasks" not in response.text
    execute(own_database, "ALTER TABLE jobs RENAME TO tasks")
    alice.create()
    assert 'relation "tasks" does not exist' in caplog.text
    assert "a private title" not in caplog.text


# CORS


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3001", ""])
def test_another_origin_is_not_let_in(client: httpx.Client, origin: str) -> None:
    response = client.get("/health", headers={"Origin": origin})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


def preflight(client: httpx.Client, origin: str, method: str, headers: str = "") -> httpx.Response:
    return client.options(
        "/api/1/tasks/1",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )


@pytest.mark.parametrize(
    "headers",
    ["authorization", "authorization,content-type,if-match,x-anything", "a, idempotency-key"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_preflight_allows_credentials_every_method_and_any_header(
    client: httpx.Client, method: str, headers: str
) -> None:
    """5 front ends send `credentials: "include"`: a browser then takes no `*`."""
    response = preflight(client, ORIGIN, method, headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["access-control-allow-credentials"] == "true"
    assert "origin" in response.headers["vary"].lower()
    assert method in response.headers["access-control-allow-methods"].split(", ")
    allowed = response.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    assert set(headers.replace(" ", "").split(",")) <= set(allowed)
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("origin", "method"),
    [("https://evil.example", "GET"), ("null", "PUT"), (f"{ORIGIN}1", "PUT"), (ORIGIN, "TRACE")],
)
def test_any_other_preflight_is_refused_and_the_log_names_the_origin(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, origin: str, method: str
) -> None:
    caplog.set_level(logging.INFO)
    response = preflight(client, origin, method, "authorization")
    assert_problem(response, 400, "Origin")
    assert "CORS_ORIGINS" in response.json()["detail"]
    assert origin in caplog.text


def test_the_front_end_may_stand_at_several_origins(serve: Serve) -> None:
    origins = ("https://a.example", "https://b.example:8443")
    client = serve(cors_origins=origins)
    for origin, allowed in ((origins[0], origins[0]), (origins[1], origins[1]), (ORIGIN, None)):
        response = client.get("/health", headers={"Origin": origin})
        assert response.headers.get("access-control-allow-origin") == allowed
