"""Tests of the log: one line for each request with its id, and standard error that nobody reads."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from core.logs import CLOSE_SECONDS, MAX_QUEUED
from core.migrations import upgrade
from tests.conftest import MakeDatabase
from tests.support.database import execute, wait_until
from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem, assert_readable_by_the_page
from tests.support.process import Server, running_server, start, variables
from tests.support.programs import await_port, free_port
from tests.support.service import ORIGIN, Person
from tests.support.tokens import SigningKey
from tests.support.wire import HEALTH, connect, read_response


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
def client(server: Server) -> httpx.Client:
    return server.client


def records(server: Server, request_id: str, count: int) -> list[dict[str, Any]]:
    """Wait for the lines of a request, and check their number."""

    def lines() -> list[dict[str, Any]]:
        every = map(json.loads, server.log.read_text().splitlines())
        return [each for each in every if each["request_id"] == request_id]

    wait_until(lambda: len(lines()) >= count)
    found = lines()
    assert len(found) == count
    return found


@pytest.mark.parametrize(
    ("method", "path", "outcome"),
    [
        ("GET", "/api/{me}/tasks?secret=query", "/api/{user_id}/tasks 200"),
        ("GET", "/api/{me}/tasks/5secret", "/api/{user_id}/tasks/{task_id} 404"),
        ("PATCH", "/api/0/tasks/1/complete", "/api/{user_id}/tasks/{task_id}/complete 403"),
        ("POST", "/api/{me}/tasks", "/api/{user_id}/tasks 400"),
        ("GET", "/api/auth/me", "/api/auth/me 200"),
        ("GET", "/secret/path", "(none) 404"),
        ("DELETE", "/health", "/health 405"),
        ("OPTIONS", "/api/1/tasks", "/api/{user_id}/tasks 405"),
        ("OPTIONS", "/a/preflight", "(none) 200"),
    ],
)
def test_a_request_has_one_line_with_the_route_and_the_user(
    server: Server, alice: Person, method: str, path: str, outcome: str
) -> None:
    headers = {"X-Request-ID": uuid4().hex}
    if "preflight" in path:
        headers |= {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    response = alice.call(method, path.format(me=alice.id), headers=headers)
    # A 403 has a line before it that says why.
    count = 2 if outcome.endswith("403") else 1
    *reasons, record = records(server, headers["X-Request-ID"], count)
    user = None if outcome.startswith("(none)") or outcome.endswith("405") else alice.id
    assert (record["method"], record["user_id"]) == (method, user)
    assert f"{record['route']} {record['status']}" == outcome
    assert record["status"] == response.status_code
    assert {"time", "level", "logger"} <= set(record)
    assert 0 < record["milliseconds"] < 30_000
    expected = rf"{method} {re.escape(outcome)} [0-9.]+ ms user={user}"
    assert re.fullmatch(expected, record["message"])
    assert "secret" not in str(reasons)


def test_every_line_of_a_request_has_its_id_and_none_quotes_the_row(
    client: httpx.Client, server: Server, own_database: str, key: SigningKey
) -> None:
    """Warnings about the database, tracebacks and the reason of a 401 too."""
    alice = Person(client, key)
    task = alice.create()["id"]

    def fail(status: int, method: str = "POST", path: object = "", **headers: str) -> str:
        """Check the response to a request that fails, and return the line that says why."""
        headers |= {"Origin": ORIGIN, "X-Request-ID": uuid4().hex}
        response = alice.tasks(method, path, json={"title": "a private title"}, headers=headers)
        assert_problem(response, status)
        assert_readable_by_the_page(response)
        assert response.headers["x-request-id"] == headers["X-Request-ID"]
        for word in ("tasks", "INSERT", "psycopg2", "Traceback", "CheckViolation"):
            assert word not in response.text
        reason, _ = records(server, headers["X-Request-ID"], 2)
        return f"{reason['message']}\n{reason.get('exc_info', '')}"

    assert fail(401, Authorization="Bearer a.b.c").startswith("401: ")
    # PostgreSQL quotes the row, in a line that begins with DETAIL.
    check = "CHECK (title <> 'a private title')"
    execute(own_database, f"ALTER TABLE tasks ADD CONSTRAINT none {check}")
    for method, path in (("POST", ""), ("PUT", task), ("PATCH", task)):
        reason = fail(500, method, path)
        assert "Traceback (most recent call last)" in reason
        assert "CheckViolation" in reason
    execute(own_database, "ALTER TABLE tasks RENAME TO jobs")
    assert 'database unavailable: relation "tasks" does not exist' in fail(503)
    execute(own_database, "ALTER TABLE jobs RENAME TO tasks")
    execute(own_database, "ALTER TABLE tasks DROP CONSTRAINT none")
    assert alice.tasks("GET", task).status_code == 200
    for secret in ("a private title", "DETAIL", alice.token):
        assert secret not in server.log.read_text()


@pytest.mark.parametrize(
    "request_id", ["a", "A-1_b.c:d/e+f=", "x" * 128, "550e8400-e29b-41d4-a716-446655440000"]
)
def test_a_sane_request_id_is_kept(client: httpx.Client, request_id: str) -> None:
    response = client.get("/health", headers={"X-Request-ID": request_id})
    assert response.headers["x-request-id"] == request_id


@pytest.mark.parametrize(
    "request_id",
    [
        None, b"", b"a b", b"x" * 129, b"a\tb", b"caf\xc3\xa9", b"\xff",
        b"<script>", b'"', b"a,b", b"a;b", b"%0aINFO", b"${jndi:ldap}", b"a status=200",
    ],
)  # fmt: skip
def test_any_other_request_id_is_replaced(client: httpx.Client, request_id: bytes | None) -> None:
    headers = [] if request_id is None else [(b"X-Request-ID", request_id)]
    made = {client.get("/health", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in made)


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

            def send(count: int) -> None:
                for _ in range(count):
                    connection.sendall(HEALTH)
                    assert read_response(responses)[0] == 200

            # The pipe takes about 600 lines.
            send(MAX_QUEUED + 1_500)
            os.set_blocking(reading, False)
            log = ""

            def is_counted() -> bool:
                nonlocal log
                with suppress(BlockingIOError):
                    log += os.read(reading, 2**20).decode()
                send(1)
                return bool(re.search(r"[1-9][0-9]* log lines dropped", log))

            wait_until(is_counted, 30)
            # Full again: the process ends nevertheless.
            send(5_000)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(10) is not None
        assert time.monotonic() - began < CLOSE_SECONDS + 1.5
    finally:
        process.kill()
        process.wait()
        os.close(reading)
