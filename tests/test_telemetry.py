"""Tests of what the service tells OpenTelemetry, by the bytes that a real collector gets."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace

import psycopg2
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.collector import Collector, attributes, running_collector
from tests.support.database import execute
from tests.support.keyserver import KeyServer, running_key_server
from tests.support.process import ROOT, running_process
from tests.support.service import Person
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey

pytestmark = pytest.mark.slow

USED = frozenset({("db.client.connection.state", "used")})


def environment_for(database_url: str, key_server: KeyServer) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "JWKS_URL": key_server.url,
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "LOG_FORMAT": "json",
        "MIGRATE_ON_START": "false",
    }


@pytest.fixture(scope="module")
def told(
    database_url: str, key: SigningKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SimpleNamespace]:
    """Return what a collector got from a service that was used, and the service's log."""
    folder = tmp_path_factory.mktemp("telemetry")
    with running_collector() as collector, running_key_server(key) as key_server:
        environment = {
            **environment_for(database_url, key_server),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_METRIC_EXPORT_INTERVAL": "50",
        }
        with running_process(folder, environment) as (client, log):
            alice = Person(client, key)
            task = alice.create(title="a task")
            alice.tasks("GET", task["id"])
            alice.tasks("PUT", task["id"], json={"title": ""})
            execute(database_url, "DELETE FROM users WHERE id = %s", alice.id)
            assert alice.tasks("POST", json={"title": "of nobody"}).status_code == 404
            headers = {"Authorization": f"Bearer {key.token(exp=1)}"}
            for _ in range(3):
                assert client.get("/api/auth/me", headers=headers).status_code == 401
            assert client.get("/api/auth/me").status_code == 401
            used_meanwhile = used_while_a_statement_waits(
                collector, database_url, Person(client, key)
            )
            key_server.status = 500
            unknown = {"Authorization": f"Bearer {SigningKey().token()}"}
            assert client.get("/api/auth/me", headers=unknown).status_code == 401
        # Ending, it has sent what it still had.
        yield SimpleNamespace(collector=collector, log=log, used_meanwhile=used_meanwhile)


def used_while_a_statement_waits(collector: Collector, database_url: str, bob: Person) -> float:
    """Return how many connections were in use at a time while one was waiting for a lock."""
    task = bob.create()["id"]
    with closing(psycopg2.connect(database_url)) as other, ThreadPoolExecutor() as pool:
        other.cursor().execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", (task,))
        waiting = pool.submit(bob.tasks, "DELETE", task)
        deadline = time.monotonic() + 30
        while collector.metric("db.client.connection.count").get(USED, 0) == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        used = collector.metric("db.client.connection.count")[USED]
        other.rollback()
        assert waiting.result().status_code == 204
    return used


def requests(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


def test_a_request_is_a_span_with_its_route_and_its_status(told: SimpleNamespace) -> None:
    (span,) = requests(told.collector.spans(), "POST /api/{user_id}/tasks")[:1]
    found = attributes(span)
    assert span.kind == Span.SPAN_KIND_SERVER
    assert found["http.route"] == "/api/{user_id}/tasks"
    assert found["http.response.status_code"] == 201


def test_a_statement_is_a_span_within_its_request(told: SimpleNamespace) -> None:
    spans = told.collector.spans()
    (request, *_) = requests(spans, "POST /api/{user_id}/tasks")
    (statement,) = [span for span in spans if span.parent_span_id == request.span_id]
    assert (statement.name, statement.trace_id) == ("INSERT", request.trace_id)
    assert statement.kind == Span.SPAN_KIND_CLIENT
    assert attributes(statement)["db.system.name"] == "postgresql"
    text = attributes(statement)["db.query.text"]
    assert text.startswith("INSERT INTO tasks")
    assert "%(title)s" in text
    assert (
        request.start_time_unix_nano
        < statement.start_time_unix_nano
        < statement.end_time_unix_nano
        < request.end_time_unix_nano
    )


def test_a_statement_that_failed_says_so_and_not_why(told: SimpleNamespace) -> None:
    (span,) = [
        each for each in told.collector.spans() if each.status.code == Status.STATUS_CODE_ERROR
        and each.name == "INSERT"
    ]  # fmt: skip
    assert attributes(span)["error.type"] == "ForeignKeyViolation"
    assert not span.events
    assert not span.status.message


def test_the_fetch_of_the_key_set_is_a_span_of_the_request_that_began_it(
    told: SimpleNamespace,
) -> None:
    spans = told.collector.spans()
    first, last = [span for span in spans if span.name == "fetch the key set"]
    by_id = {span.span_id: span for span in spans}
    for fetch, code in ((first, Status.STATUS_CODE_UNSET), (last, Status.STATUS_CODE_ERROR)):
        assert by_id[fetch.parent_span_id].name == "GET /api/auth/me"
        assert fetch.status.code == code


def test_requests_are_counted_by_route_and_status(told: SimpleNamespace) -> None:
    counts: dict[tuple[str, int], float] = {}
    for key, value in told.collector.metric("http.server.request.duration").items():
        labels = dict(key)
        counts[labels["http.route"], labels["http.response.status_code"]] = value
    assert counts == {
        ("/api/auth/me", 200): 2,
        ("/api/auth/me", 401): 5,
        ("/api/{user_id}/tasks", 201): 2,
        ("/api/{user_id}/tasks", 404): 1,
        ("/api/{user_id}/tasks/{task_id}", 200): 1,
        ("/api/{user_id}/tasks/{task_id}", 204): 1,
        ("/api/{user_id}/tasks/{task_id}", 400): 1,
    }


def test_refused_tokens_are_counted_by_their_reason(told: SimpleNamespace) -> None:
    assert told.collector.metric("auth.tokens.refused") == {
        frozenset({("reason", "The token has expired.")}): 3,
        frozenset({("reason", "Send one token: Authorization: Bearer …")}): 1,
        frozenset({("reason", "The token is not signed by a key of the key set.")}): 1,
    }


def test_fetches_of_the_key_set_are_counted_by_their_outcome(told: SimpleNamespace) -> None:
    assert told.collector.metric("jwks.fetches") == {
        frozenset({("outcome", "success")}): 1,
        frozenset({("outcome", "failure")}): 1,
    }


def test_a_connection_is_in_use_for_as_long_as_its_statement_runs(told: SimpleNamespace) -> None:
    assert told.used_meanwhile == 1
    assert told.collector.metric("db.client.connection.count") == {USED: 0}


def test_what_callers_make_up_is_in_no_span(told: SimpleNamespace) -> None:
    for span in told.collector.spans():
        found = attributes(span)
        assert not found.get("url.path")
        assert not found.get("url.query")


def test_no_log_goes_out_and_none_complains(told: SimpleNamespace) -> None:
    assert {path for path, _ in told.collector.received} == {"/v1/traces", "/v1/metrics"}
    levels = [
        (line["level"], line["message"])
        for line in map(json.loads, told.log)
        if line["level"] != "INFO"
    ]
    ((level, message),) = levels
    assert level == "WARNING"
    assert message.startswith("key set not refreshed")


START = """
import sys
{before}
from fastapi.testclient import TestClient
from tests.support.service import make_settings
from main import create_app

app = create_app(make_settings("postgresql://localhost/nothing", "http://localhost/jwks"))
with TestClient(app) as client:
    assert client.get("/health").status_code == 200
    print([name for name in sys.modules if name.startswith("opentelemetry.sdk.")])
"""


@pytest.mark.parametrize(
    ("before", "environment"),
    [
        ("", {}),
        (
            "sys.modules['opentelemetry.sdk'] = None",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        ),
    ],
    ids=["no variable", "a variable without the extra"],
)
def test_nothing_is_made_unless_a_variable_asks_for_it_and_the_extra_is_there(
    before: str, environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START.format(before=before)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[]\n", done.stderr
    assert ("Automatic OpenTelemetry export requires" in done.stderr) is bool(environment)
