"""Tests of the log: one line a request, a request id, and nothing secret."""

import json
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import MakeDatabase
from tests.support.keyserver import KeyServer
from tests.support.process import running_process
from tests.support.service import Person
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey
from utils import logs

Line = Callable[[str], logging.LogRecord]


@pytest.fixture
def line(caplog: pytest.LogCaptureFixture) -> Line:
    """Give the one log line of the request with an id."""
    caplog.set_level(logging.INFO, logger="utils.logs")

    def find(request_id: str) -> logging.LogRecord:
        deadline = time.monotonic() + 5
        # The line follows the answer.
        while time.monotonic() < deadline:
            records = [
                each for each in caplog.records if getattr(each, "request_id", "") == request_id
            ]
            if records:
                (record,) = records
                return record
            time.sleep(0.005)
        raise AssertionError(caplog.text)

    return find


@pytest.mark.parametrize(
    ("method", "path", "logged"),
    [
        ("GET", "/api/{alice}/tasks", "/api/{user_id}/tasks 200"),
        ("GET", "/api/{alice}/tasks?secret=query", "/api/{user_id}/tasks 200"),
        ("GET", "/api/{alice}/tasks/5secret", "/api/{user_id}/tasks/{task_id} 404"),
        ("PATCH", "/api/0/tasks/1/complete", "/api/{user_id}/tasks/{task_id}/complete 403"),
        ("POST", "/api/{alice}/tasks", "/api/{user_id}/tasks 400"),
        ("GET", "/api/auth/me", "/api/auth/me 200"),
    ],
)
def test_a_request_has_one_line_with_the_route_and_the_user(
    alice: Person, line: Line, method: str, path: str, logged: str
) -> None:
    request_id = uuid4().hex
    headers = {"X-Request-ID": request_id}
    answer = alice.call(method, path.format(alice=alice.id), headers=headers)
    record: Any = line(request_id)
    assert (record.method, f"{record.route} {record.status}") == (method, logged)
    assert record.status == answer.status_code
    assert record.user_id == alice.id
    assert 0 < record.milliseconds < 30_000
    expected = rf"{method} {re.escape(logged)} [0-9.]+ ms user={alice.id} request={request_id}"
    assert re.fullmatch(expected, record.getMessage())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/secret/path", 404), ("DELETE", "/health", 405), ("OPTIONS", "/api/1/tasks", 405)],
)
def test_a_request_of_nobody_to_nowhere_has_its_line_too(
    client: httpx.Client, line: Line, method: str, path: str, status: int
) -> None:
    request_id = uuid4().hex
    answer = client.request(method, path, headers={"X-Request-ID": request_id})
    assert answer.status_code == status
    record: Any = line(request_id)
    assert (record.method, record.status, record.user_id) == (method, status, None)
    assert "secret" not in record.getMessage()


def test_a_preflight_has_its_line_too(client: httpx.Client, line: Line) -> None:
    request_id = uuid4().hex
    headers = {
        "X-Request-ID": request_id,
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "PUT",
    }
    answer = client.options("/api/1/tasks/1", headers=headers)
    assert answer.headers["x-request-id"] == request_id
    assert line(request_id).getMessage().startswith("OPTIONS (none) 200 ")


@pytest.mark.parametrize(
    "request_id",
    ["a", "A-1_b.c:d/e+f=", "x" * 128, "550e8400-e29b-41d4-a716-446655440000"],
)
def test_a_sane_request_id_is_kept(client: httpx.Client, request_id: str) -> None:
    answer = client.get("/health", headers={"X-Request-ID": request_id})
    assert answer.headers["x-request-id"] == request_id


@pytest.mark.parametrize(
    "request_id",
    [
        b"", b"a b", b"x" * 129, b"a\tb", b"caf\xc3\xa9", b"\xff", b"a\x7f", b"a\x1b[31m",
        b"<script>", b'"', b"a,b", b"a;b", b"%0aINFO", b"${jndi:ldap}", b"a status=200",
    ],
)  # fmt: skip
def test_any_other_request_id_is_replaced(client: httpx.Client, request_id: bytes) -> None:
    headers = [(b"X-Request-ID", request_id)]
    answer = client.get("/health", headers=headers)
    if answer.status_code == 200:
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    else:
        # Control characters do not get past the server, before there is a request.
        assert answer.status_code == 400
        assert b"\x1b" in request_id or b"\x7f" in request_id


def test_each_request_without_an_id_gets_one_of_its_own(client: httpx.Client) -> None:
    seen = {client.get("/health").headers["x-request-id"] for _ in range(5)}
    assert len(seen) == 5
    assert all(re.fullmatch(r"[0-9a-f]{32}", request_id) for request_id in seen)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_real_process_logs_each_request_once_and_nothing_secret(
    tmp_path: Path,
    make_database: MakeDatabase,
    key_server: KeyServer,
    key: SigningKey,
    log_format: str,
) -> None:
    environment = {
        "DATABASE_URL": make_database(),
        "JWKS_URL": key_server.url,
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "LOG_FORMAT": log_format,
    }
    email, password = f"{uuid4().hex}@example.com", f"password {uuid4().hex}"
    with running_process(tmp_path, environment) as (client, lines):
        alice = Person(client, key)
        task = alice.create(title="a private title")
        alice.tasks("GET", task["id"])
        body = {"email": email, "password": password}
        assert client.post("/api/auth/signup", json=body).status_code == 201
        assert client.post("/api/auth/login", json=body).status_code == 200
        client.get(f"/api/1/tasks?token={alice.token}", headers={"Authorization": "Bearer a.b.c"})
        client.get("/nowhere")
    log = "".join(lines)
    for secret in (
        alice.token,
        password,
        email,
        "a private title",
        "$2b$",
        environment["DATABASE_URL"],
    ):
        assert secret not in log
    assert "Traceback" not in log
    if log_format == "json":
        records = [json.loads(each) for each in lines]
        assert all(set(each) >= {"time", "level", "logger", "message"} for each in records)
        seen = [
            (each["method"], each["route"], each["status"], each["user_id"])
            for each in records
            if each["logger"] == "utils.logs"
        ]
        assert all(
            each["request_id"] and each["milliseconds"] > 0
            for each in records
            if each["logger"] == "utils.logs"
        )
    else:
        shape = (
            r"[0-9-]{10} [0-9:,]{12} INFO utils\.logs: (\S+) (\S+) ([0-9]{3}) [0-9.]+ ms"
            r" user=(\S+) request=[0-9a-f]{32}\n"
        )
        found = [re.fullmatch(shape, each) for each in lines if " utils.logs: " in each]
        seen = [
            (each[1], each[2], int(each[3]), None if each[4] == "None" else int(each[4]))
            for each in found
            if each is not None
        ]
        assert len(seen) == len(found)
    assert seen == [
        ("GET", "/api/auth/me", 200, alice.id),
        ("POST", "/api/{user_id}/tasks", 201, alice.id),
        ("GET", "/api/{user_id}/tasks/{task_id}", 200, alice.id),
        ("POST", "/api/auth/signup", 201, None),
        ("POST", "/api/auth/login", 200, None),
        ("GET", "/api/{user_id}/tasks", 401, None),
        ("GET", "(none)", 404, None),
    ]
