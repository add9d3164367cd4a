"""Tests that no secret is disclosed: in a log, a response, an error or to OpenTelemetry."""

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import make_url

from core.settings import ConfigurationError, load_settings
from tests.conftest import MakeDatabase
from tests.support.collector import Collector, attributes, running_collector
from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.process import running_process
from tests.support.proxy import PostgresProxy, running_proxy
from tests.support.service import Person, make_settings
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey

pytestmark = pytest.mark.slow

SIGNUP, LOGIN = "/api/auth/signup", "/api/auth/login"


@dataclass
class Told:
    """All output of a service, and the secrets that it received."""

    collector: Collector
    log: list[str]
    secrets: dict[str, list[str]] = field(default_factory=dict)
    responses: list[httpx.Response] = field(default_factory=list)

    def keep(self, kind: str, secret: str) -> str:
        """Record a secret and return it."""
        self.secrets.setdefault(kind, []).append(secret)
        return secret


def use(
    told: Told, client: httpx.Client, key: SigningKey, proxy: PostgresProxy, database_url: str
) -> None:
    """Send requests with secrets in them that succeed and that fail, in each way."""

    def password(text: str = "") -> str:
        return told.keep("password", f"{text}{uuid4().hex}")

    def send(method: str, path: str, **options: object) -> httpx.Response:
        response = client.request(method, path, **options)  # type: ignore[arg-type] # as httpx takes them
        told.responses.append(response)
        return response

    def post(path: str, **body: object) -> int:
        return send("POST", path, json=body).status_code

    # Sign-up, accepted and refused in each way, and login.
    email, good = f"{uuid4().hex}@example.com", password()
    assert post(SIGNUP, email=email, password=good) == 201
    assert post(SIGNUP, email=email, password=password()) == 409
    assert post(SIGNUP, email=email, password=password("x" * 60)) == 400
    assert post(SIGNUP, email=email, password=password("\0")) == 400
    assert post(SIGNUP, email=email, password=[password()]) == 400
    assert post(SIGNUP, email="nonsense", password=password()) == 400
    assert post(SIGNUP, mail=email, password=password()) == 400
    assert post(SIGNUP, email=email, password=told.keep("password", "sh0rt!q")) == 400
    for content in (b'{"password": "%s"', b"password=%s", b'{"password": "%s\xff"}'):
        headers = {"Content-Type": "application/json"}
        sent = content % password().encode()
        assert send("POST", SIGNUP, content=sent, headers=headers).status_code == 400
    assert post(LOGIN, email=email, password=good) == 200
    assert post(LOGIN, email=email, password=password()) == 401
    assert post(LOGIN, email=f"{uuid4().hex}@example.com", password=password()) == 401
    assert post(f"{SIGNUP}?password={password()}", email="x", password=good) == 400

    # Tokens, good and bad, where they belong and where they do not.
    alice = Person(client, key)
    for token in (alice.token, key.token(exp=1), SigningKey().token(), "not.a.token"):
        parts = token.split(".")
        if len(token) > 100:
            told.keep("token", token)
            told.secrets["token"] += parts[1:]
        bearer = {"Authorization": f"Bearer {token}"}
        send("GET", "/api/auth/me", headers=bearer)
        send("GET", f"/api/auth/me?access_token={token}")
        send("GET", f"/api/{token}/tasks", headers=bearer)
        send("GET", f"/api/{token}/tasks/{token}", headers=alice.headers)
        send("GET", f"/{token}", headers={"Authorization": token})
        send("POST", LOGIN, json={"email": token, "password": token})

    # PostgreSQL refuses a row and quotes it, then has no such table, then does not respond.
    execute(database_url, "ALTER TABLE users ADD CONSTRAINT no_more CHECK (id < 0) NOT VALID")
    assert post(SIGNUP, email=f"{uuid4().hex}@example.com", password=password()) == 500
    execute(database_url, "ALTER TABLE users RENAME TO gone")
    assert post(SIGNUP, email=f"{uuid4().hex}@example.com", password=password()) == 503
    assert post(LOGIN, email=email, password=good) == 503
    proxy.close()
    assert post(LOGIN, email=email, password=good) == 503


@pytest.fixture(scope="module")
def told(
    make_database: MakeDatabase,
    key: SigningKey,
    key_server: KeyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Told]:
    """Run the service as a process and return all of its output."""
    database_url = make_database()
    with running_collector() as collector, running_proxy(database_url) as proxy:
        url = make_url(proxy.url)
        # Where PostgreSQL trusts every client, any password is accepted.
        secret = url.password or f"database-{uuid4().hex}"
        environment = {
            "DATABASE_URL": url.set(password=secret).render_as_string(hide_password=False),
            "JWKS_URL": key_server.url,
            "JWT_ISSUER": ISSUER,
            "JWT_AUDIENCE": AUDIENCE,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        }
        log: list[str] = []
        told = Told(collector, log)
        told.secrets["database"] = [environment["DATABASE_URL"], secret]
        told.secrets["hash"] = ["$2b$"]
        folder = tmp_path_factory.mktemp("secrets")
        with running_process(folder, environment) as (client, lines):
            use(told, client, key, proxy, database_url)
        log += lines
        yield told


KINDS = pytest.mark.parametrize("kind", ["password", "hash", "token", "database"])


@KINDS
def test_no_secret_is_in_the_log(told: Told, kind: str) -> None:
    log = "".join(told.log)
    assert log.count(" core.middleware: ") > 40
    # Unhandled errors are logged, with their traceback.
    assert log.count("Traceback") >= 1
    assert "CheckViolation" in log
    assert not [secret for secret in told.secrets[kind] if secret in log]


@KINDS
def test_no_secret_is_in_a_response(told: Told, kind: str) -> None:
    assert len(told.responses) > 40
    for response in told.responses:
        said = f"{response.headers!r}{response.text}"
        assert not [secret for secret in told.secrets[kind] if secret in said], response.url


@KINDS
def test_no_secret_is_sent_to_opentelemetry(told: Told, kind: str) -> None:
    refused = [
        span
        for span in told.collector.spans()
        if span.name == f"POST {SIGNUP}" and attributes(span)["http.response.status_code"] == 400
    ]
    assert len(refused) == 10
    assert told.collector.bodies("/v1/metrics")
    for _, body in told.collector.received:
        # Strings stand in protobuf as they are.
        assert not [secret for secret in told.secrets[kind] if secret.encode() in body]


def test_settings_do_not_show_the_databases_address() -> None:
    settings = make_settings("postgresql://me:top-secret@db.example.com/todo", "http://localhost")
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "top-secret" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:top-secret@db.example.com:nonsense/todo?nonsense=1",
        "mysql://me:top-secret@db.example.com/todo",
        "postgresql://me:top-secret@[db.example.com/todo",
        "top-secret",
    ],
)
def test_an_address_that_is_wrong_is_refused_without_showing_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert "DATABASE_URL" in str(refused.value)
    assert "top-secret" not in "".join(traceback.format_exception(refused.value))
