"""Tests of the log: one line a request, a request id, and nothing secret."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from core.migrations import upgrade
from tests.conftest import MakeDatabase
from tests.support.database import execute, wait_until
from tests.support.keyserver import KeyServer
from tests.support.process import Server, running_process, running_server, start, variables
from tests.support.programs import await_port, free_port
from tests.support.service import Person
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey
from tests.support.wire import HEALTH, connect, read_answer

Lines = Callable[[str, int], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def own_database(make_database: MakeDatabase) -> str:
    url = make_database()
    upgrade(url)
    return url


@pytest.fixture(scope="module")
def server(
    own_database: str, key_server: KeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Run a process that logs JSON."""
    environment = {**variables(own_database, key_server.url), "LOG_FORMAT": "json"}
    with running_server(tmp_path_factory.mktemp("logs"), environment) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def lines(server: Server) -> Lines:
    """Return a function that waits for the log lines of a request."""

    def find(request_id: str, count: int = 1) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def are_there() -> bool:
            found[:] = [
                record
                for line in server.log.read_text().splitlines()
                if (record := json.loads(line))["request_id"] == request_id
            ]
            return len(found) >= count

        wait_until(are_there)
        assert len(found) == count
        return found

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
    alice: Person, lines: Lines, method: str, path: str, logged: str
) -> None:
    request_id = uuid4().hex
    headers = {"X-Request-ID": request_id}
    answer = alice.call(method, path.format(alice=alice.id), headers=headers)
    *others, record = lines(request_id, 2 if answer.status_code == 403 else 1)
    assert (record["method"], f"{record['route']} {record['status']}") == (method, logged)
    assert record["status"] == answer.status_code
    assert record["user_id"] == alice.id
    assert 0 < record["milliseconds"] < 30_000
    expected = rf"{method} {re.escape(logged)} [0-9.]+ ms user={alice.id}"
    assert re.fullmatch(expected, record["message"])
    assert [each["message"] for each in others if "secret" in each["message"]] == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/secret/path", 404), ("DELETE", "/health", 405), ("OPTIONS", "/api/1/tasks", 405)],
)
def test_a_request_without_token_or_route_has_its_line_too(
    client: httpx.Client, lines: Lines, method: str, path: str, status: int
) -> None:
    request_id = uuid4().hex
    answer = client.request(method, path, headers={"X-Request-ID": request_id})
    assert answer.status_code == status
    (record,) = lines(request_id, 1)
    assert (record["method"], record["status"], record["user_id"]) == (method, status, None)
    assert "secret" not in record["message"]


def test_a_preflight_has_its_line_too(client: httpx.Client, lines: Lines) -> None:
    request_id = uuid4().hex
    headers = {
        "X-Request-ID": request_id,
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "PUT",
    }
    answer = client.options("/api/1/tasks/1", headers=headers)
    assert answer.headers["x-request-id"] == request_id
    (record,) = lines(request_id, 1)
    assert record["message"].startswith("OPTIONS (none) 200 ")


def test_every_line_of_a_request_has_its_id(
    client: httpx.Client, lines: Lines, own_database: str, key: SigningKey
) -> None:
    """Warnings of the database, tracebacks and the reason of a 401 too."""
    alice = Person(client, key)

    def call(method: str = "POST", **options: Any) -> tuple[int, list[str]]:
        request_id = uuid4().hex
        headers = {"X-Request-ID": request_id, **options.pop("headers", {})}
        response = alice.tasks(method, headers=headers, **options)
        messages = [
            f"{each['message']}\n{each.get('exc_info', '')}" for each in lines(request_id, 2)
        ]
        return response.status_code, messages

    status, messages = call(headers={"Authorization": "Bearer a.b.c"})
    assert (status, messages[0][:5]) == (401, "401: ")
    execute(own_database, "ALTER TABLE tasks ADD CONSTRAINT none CHECK (false) NOT VALID")
    status, messages = call(json={"title": "x"})
    assert status == 500
    assert "Traceback (most recent call last)" in messages[0]
    execute(own_database, "ALTER TABLE tasks RENAME TO jobs")
    status, messages = call(json={"title": "x"})
    assert (status, messages[0][:22]) == (503, "database unavailable: ")
    execute(own_database, "ALTER TABLE jobs RENAME TO tasks")
    execute(own_database, "ALTER TABLE tasks DROP CONSTRAINT none")


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


@pytest.mark.slow
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
            if each["logger"] == "core.middleware"
        ]
        assert all(
            each["request_id"] and each["milliseconds"] > 0
            for each in records
            if each["logger"] == "core.middleware"
        )
    else:
        shape = (
            r"[0-9-]{10} [0-9:,]{12} INFO core\.middleware: (\S+) (\S+) ([0-9]{3}) [0-9.]+ ms"
            r" user=(\S+) request=[0-9a-f]{32}\n"
        )
        found = [re.fullmatch(shape, each) for each in lines if " core.middleware: " in each]
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


@pytest.mark.slow
def test_a_full_pipe_of_standard_error_stops_nothing_and_dropped_lines_are_counted(
    tmp_path: Path, database_url: str, key_server: KeyServer
) -> None:
    reading, writing = os.pipe()
    port = free_port()
    environment = {**variables(database_url, key_server.url), "MIGRATE_ON_START": "false"}
    process = start(tmp_path, environment, "--port", str(port), log=writing)
    os.close(writing)
    try:
        await_port(port)
        with (
            connect(f"http://127.0.0.1:{port}") as connection,
            connection.makefile("rb") as responses,
        ):

            def ask(count: int) -> None:
                for _ in range(count):
                    connection.sendall(HEALTH)
                    assert read_answer(responses)[0] == 200

            # The pipe takes some 600 lines, and the queue before it 10,000.
            ask(11_500)
            os.set_blocking(reading, False)
            said = ""

            def is_counted() -> bool:
                nonlocal said
                with suppress(BlockingIOError):
                    said += os.read(reading, 2**20).decode()
                ask(1)
                return bool(re.search(r"[1-9][0-9]* log lines dropped", said))

            wait_until(is_counted, 30)
            # Full again: it ends nevertheless.
            ask(5_000)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(10) is not None
        assert time.monotonic() - began < 4
    finally:
        process.kill()
        process.wait()
        os.close(reading)
