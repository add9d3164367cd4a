"""Tests of the health checks."""

import pytest
from sqlalchemy import make_url

from core.migrations import upgrade
from tests.conftest import MakeDatabase, Serve
from tests.support.database import execute, wait_until
from tests.support.keyserver import running_key_server
from tests.support.problems import assert_problem
from tests.support.programs import free_port
from tests.support.proxy import PostgresProxy
from tests.support.tokens import SigningKey
from utils.jwks import RETRY_SECONDS


def test_with_an_old_schema_it_is_not_ready_until_it_is_the_newest(
    make_database: MakeDatabase, serve: Serve
) -> None:
    url = make_database()
    client = serve(url)
    assert_problem(client.get("/health/ready"), 503)
    upgrade(url)
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})


@pytest.mark.slow
def test_a_read_only_database_is_not_ready_until_it_can_be_written(
    own_database: str, postgres: str, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    name = make_url(own_database).database

    def change(setting: str) -> None:
        """Change the database as when a primary becomes a replica: connections end."""
        execute(postgres, f"ALTER DATABASE {name} {setting}")
        execute(
            postgres,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            name,
        )

    client = serve(own_database)
    assert client.get("/health/ready").status_code == 200
    change("SET default_transaction_read_only = on")
    account = {"email": "me@example.com", "password": "a long enough one"}
    assert_problem(client.post("/api/auth/signup", json=account), 503)
    assert_problem(client.get("/health/ready"), 503)
    assert "read-only" in caplog.text
    change("RESET default_transaction_read_only")
    assert client.get("/health/ready").status_code == 200
    assert client.post("/api/auth/signup", json=account).status_code == 201


@pytest.mark.slow
def test_without_a_key_server_the_process_runs_and_is_not_ready_until_there_is_one(
    serve: Serve, key: SigningKey
) -> None:
    port = free_port()
    client = serve(jwks_url=f"http://127.0.0.1:{port}/api/auth/jwks")
    assert client.get("/health").status_code == 200
    assert_problem(client.get("/health/ready"), 503)
    with running_key_server(key, port=port):
        wait_until(lambda: client.get("/health/ready").status_code == 200, RETRY_SECONDS + 5)


def test_probes_ask_the_database_and_the_key_server_once_so_that_neon_may_suspend(
    proxy: PostgresProxy, serve: Serve, key: SigningKey
) -> None:
    with running_key_server(key) as key_server:
        client = serve(proxy.url, key_server.url)
        assert client.get("/health/ready").status_code == 200
        statements = [*proxy.statements]
        assert statements
        # As Neon does when it suspends its compute, which no probe may resume.
        proxy.cut()
        assert [client.get("/health/ready").status_code for _ in range(20)] == [200] * 20
        assert proxy.statements == statements
        assert (proxy.connections, key_server.fetches) == (1, 1)


def test_once_a_fetch_has_failed_probes_ask_again(serve: Serve, key: SigningKey) -> None:
    with running_key_server(key) as key_server:
        client = serve(jwks_url=key_server.url)
        assert client.get("/health/ready").status_code == 200
        key_server.status = 500
        headers = {"Authorization": f"Bearer {SigningKey().token()}"}
        assert client.get("/api/auth/me", headers=headers).status_code == 401
        # There are keys still, and young enough.
        assert client.get("/health/ready").status_code == 200
        assert key_server.fetches == 2
