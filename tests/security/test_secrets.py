"""Tests of a service's output: its log, its responses and OpenTelemetry, without secrets."""

import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from sqlalchemy import make_url

from tests.conftest import MakeDatabase
from tests.support.collector import Collector, attributes, running_collector
from tests.support.database import Activity, execute, wait_until
from tests.support.keyserver import KeyServer, running_key_server
from tests.support.process import ROOT, running_server, variables
from tests.support.proxy import PostgresProxy, running_proxy
from tests.support.service import Person
from tests.support.tokens import SigningKey

pytestmark = pytest.mark.slow

SIGNUP, LOGIN, TASKS = "/api/auth/signup", "/api/auth/login", "/api/{user_id}/tasks"
CONNECTIONS = "db.client.connection.count"
USED = frozenset({("db.client.connection.state", "used")})


class Output:
    """All output of a service, and the secrets that it received."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.secrets: defaultdict[str, list[str]] = defaultdict(list, hash=["$2b$"])
        self.responses: list[httpx.Response] = []
        self.log: list[str] = []

    def keep(self, kind: str, secret: str) -> str:
        """Record a secret and return it."""
        self.secrets[kind].append(secret)
        return secret


def use_tasks(
    output: Output, client: httpx.Client, key: SigningKey, key_server: KeyServer, url: str
) -> None:
    """Send requests of users, one of whom is deleted, and tokens, while the key server fails."""
    alice, bob = Person(client, key), Person(client, key)
    task = alice.create(title=output.keep("title", f"private {uuid4().hex}"))
    alice.tasks("GET", task["id"])
    alice.tasks("PUT", task["id"], json={"title": ""})
    execute(url, "DELETE FROM users WHERE id = %s", alice.id)
    assert alice.tasks("POST", json={"title": "of nobody"}).status_code == 404
    assert client.get("/api/auth/me/").status_code == 401
    task = bob.create()
    with closing(Activity(url)) as activity, ThreadPoolExecutor() as threads:
        with activity.locking("SELECT FROM tasks FOR UPDATE"):
            waiting = threads.submit(bob.tasks, "DELETE", task["id"])
            # A connection is in use for as long as its statement runs.
            wait_until(lambda: output.collector.metric(CONNECTIONS) == {USED: 1}, 30)
        assert waiting.result().status_code == 204
    key_server.status = 500
    unknown = {"Authorization": f"Bearer {SigningKey().token()}"}
    assert client.get("/api/auth/me", headers=unknown).status_code == 401
    key_server.status = 200


def use_secrets(
    output: Output, client: httpx.Client, key: SigningKey, proxy: PostgresProxy, url: str
) -> None:
    """Send requests with secrets in them that succeed and that fail, in each way."""

    def password(text: str = "") -> str:
        return output.keep("password", f"{text}{uuid4().hex}")

    def post(path: str, **body: object) -> int:
        return client.post(path, json=body).status_code

    # Sign-up, accepted and refused in each way, and log-in.
    email, good = output.keep("email", f"{uuid4().hex}@example.com"), password()
    assert post(SIGNUP, email=email, password=good) == 201
    assert post(SIGNUP, email=email, password=password()) == 409
    assert post(SIGNUP, email=email, password=password("x" * 60)) == 400
    assert post(SIGNUP, email=email, password=password("\0")) == 400
    assert post(SIGNUP, email=email, password=[password()]) == 400
    assert post(SIGNUP, email="nonsense", password=password()) == 400
    assert post(SIGNUP, mail=email, password=password()) == 400
    assert post(SIGNUP, email=email, password=output.keep("password", "sh0rt!q")) == 400
    for content in (b'{"password": "%s"', b"password=%s", b'{"password": "%s\xff"}'):
        headers = {"Content-Type": "application/json"}
        sent = content % password().encode()
        assert client.post(SIGNUP, content=sent, headers=headers).status_code == 400
    assert post(LOGIN, email=email, password=good) == 200
    assert post(LOGIN, email=email, password=password()) == 401
    assert post(LOGIN, email=f"{uuid4().hex}@example.com", password=password()) == 401
    assert post(f"{SIGNUP}?password={password()}", email="x", password=good) == 400

    # Tokens, good and bad, where they belong and where they do not.
    carol = Person(client, key)
    for token in (carol.token, key.token(exp=1), SigningKey().token(), "not.a.token"):
        if len(token) > 100:
            output.keep("token", token)
            output.secrets["token"] += token.split(".")[1:]
        bearer = {"Authorization": f"Bearer {token}"}
        client.get("/api/auth/me", headers=bearer)
        client.get(f"/api/auth/me?access_token={token}")
        client.get(f"/api/{token}/tasks", headers=bearer)
        client.get(f"/api/{token}/tasks/{token}", headers=carol.headers)
        client.get(f"/{token}", headers={"Authorization": token})
        post(LOGIN, email=token, password=token)

    # PostgreSQL refuses a row and quotes it, then has no such table, then does not respond.
    execute(url, "ALTER TABLE users ADD CONSTRAINT no_more CHECK (id < 0) NOT VALID")
    assert post(SIGNUP, email=f"{uuid4().hex}@example.com", password=password()) == 500
    execute(url, "ALTER TABLE users RENAME TO gone")
    assert post(SIGNUP, email=f"{uuid4().hex}@example.com", password=password()) == 503
    assert post(LOGIN, email=email, password=good) == 503
    proxy.close()
    assert post(LOGIN, email=email, password=good) == 503


@pytest.fixture(scope="module")
def output(
    make_database: MakeDatabase, key: SigningKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Output]:
    """Run the service as a process and return all of its output."""
    database_url = make_database()
    with (
        running_collector() as collector,
        running_key_server(key) as key_server,
        running_proxy(database_url) as proxy,
    ):
        url = make_url(proxy.url)
        # Where PostgreSQL trusts every client, any password is accepted.
        secret = url.password or f"database-{uuid4().hex}"
        address = url.set(password=secret).render_as_string(hide_password=False)
        environment = {
            **variables(address, key_server.url),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_METRIC_EXPORT_INTERVAL": "50",
        }
        output = Output(collector)
        output.secrets["database"] = [address, secret]
        folder = tmp_path_factory.mktemp("secrets")
        with running_server(folder, environment) as server:
            server.client.event_hooks["response"].append(output.responses.append)
            use_tasks(output, server.client, key, key_server, database_url)
            use_secrets(output, server.client, key, proxy, database_url)
        output.log += server.log.read_text().splitlines(keepends=True)
        yield output


@pytest.mark.parametrize("kind", ["password", "hash", "token", "database", "email", "title"])
def test_no_secret_is_in_the_log_in_a_response_or_in_opentelemetry_data(
    output: Output, kind: str
) -> None:
    secrets = output.secrets[kind]
    log = "".join(output.log)
    # Unhandled errors are logged, with their traceback.
    assert "Traceback" in log
    assert "CheckViolation" in log
    assert not [secret for secret in secrets if secret in log]
    if kind in ("email", "title"):
        return
    for response in output.responses:
        text = f"{response.headers!r}{response.text}"
        assert not [secret for secret in secrets if secret in text], response.url
    assert {path for path, _ in output.collector.received} == {"/v1/traces", "/v1/metrics"}
    assert " opentelemetry" not in log
    for _, body in output.collector.received:
        # Strings stand in protobuf as they are.
        assert not [secret for secret in secrets if secret.encode() in body]


def test_the_log_has_one_line_in_text_for_each_request(output: Output) -> None:
    shape = (
        r"[0-9-]{10} [0-9:,]{12} INFO core\.middleware: (\S+) \S+ ([0-9]{3}) [0-9.]+ ms"
        r" user=(?:None|[0-9]+) request=[0-9a-f]{32}\n"
    )
    lines = [line for line in output.log if " INFO core.middleware: " in line]
    found = Counter(match.groups() for line in lines if (match := re.fullmatch(shape, line)))
    sent = ((each.request.method, str(each.status_code)) for each in output.responses)
    assert found == Counter(sent)
    assert found.total() == len(lines) > 50


def test_a_statement_is_a_span_within_that_of_its_request(output: Output) -> None:
    spans = output.collector.spans()
    for span in spans:
        assert not attributes(span).get("url.path")
        assert not attributes(span).get("url.query")
    inserts = [span for span in spans if span.name == "INSERT"]
    request = next(span for span in spans if span.name == f"POST {TASKS}")
    assert attributes(request)["http.response.status_code"] == 201
    (statement,) = [span for span in inserts if span.parent_span_id == request.span_id]
    assert "%(title)s" in attributes(statement)["db.query.text"]
    # One that failed has its error, and no message.
    failed = [span for span in inserts if span.status.code == Status.STATUS_CODE_ERROR]
    errors = {attributes(span)["error.type"] for span in failed}
    assert errors >= {"ForeignKeyViolation", "CheckViolation"}
    assert not [span for span in failed if span.events or span.status.message]


def test_requests_are_counted_by_route_and_status(output: Output) -> None:
    counted: Counter[tuple[str, int]] = Counter()
    for labels, count in output.collector.metric("http.server.request.duration").items():
        route, status = map(dict(labels).get, ("http.route", "http.response.status_code"))
        counted[str(route), int(status or 0)] += int(count)
    sent = Counter((each.url.path.rstrip("/"), each.status_code) for each in output.responses)
    for path, status in sent:
        if path in (SIGNUP, LOGIN, "/api/auth/me"):
            assert counted[path, status] == sent[path, status]
    assert (counted[TASKS, 201], counted[f"{TASKS}/{{task_id}}", 204]) == (2, 1)


def test_refused_tokens_fetches_of_keys_and_connections_are_counted(output: Output) -> None:
    counted = output.collector.metric("auth.tokens.refused")
    refused = [each.url.path for each in output.responses if each.status_code == 401]
    assert sum(counted.values()) == len(refused) - refused.count(LOGIN)
    reasons = {dict(labels)["reason"]: count for labels, count in counted.items()}
    assert reasons["The token has expired."] == 2
    assert len(reasons) >= 4
    assert output.collector.metric(CONNECTIONS) == {USED: 0}
    fetches = output.collector.metric("jwks.fetches")
    assert fetches.pop(frozenset({("outcome", "failure")})) == 1
    assert fetches.keys() == {frozenset({("outcome", "success")})}


START = """
import sys
{before}
from fastapi.testclient import TestClient
from tests.support.service import make_settings
from application import create_app

with TestClient(create_app(make_settings("postgresql://x/x", "http://localhost/x"))):
    print([name for name in sys.modules if name.startswith("opentelemetry.sdk.")])
"""


@pytest.mark.parametrize(
    ("before", "variable"),
    [("", ""), ("sys.modules['opentelemetry.sdk'] = None", "OTEL_EXPORTER_OTLP_ENDPOINT")],
    ids=["no variable", "a variable without the extra"],
)
def test_opentelemetry_is_off_without_a_variable_that_asks_for_it_or_without_the_extra(
    before: str, variable: str
) -> None:
    command = [sys.executable, "-c", START.format(before=before)]
    environment = {**os.environ, **({variable: "http://127.0.0.1:1"} if variable else {})}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr
    assert ("Automatic OpenTelemetry export requires" in done.stderr) is bool(variable)
