"""Tests of the health checks."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import make_url

from core.migrations import upgrade
from tests.conftest import MakeDatabase
from tests.support.database import execute
from tests.support.keyserver import Clock, KeyServer, running_key_server
from tests.support.problems import assert_problem
from tests.support.programs import free_port
from tests.support.proxy import running_proxy
from tests.support.service import Person, make_settings, running_service
from tests.support.tokens import SigningKey
from utils.jwks import RETRY_SECONDS, STALE_SECONDS, KeySet

NOWHERE = "postgresql://somebody:secret@127.0.0.1:1/nothing"


def test_health_says_that_the_process_runs(client: httpx.Client) -> None:
    response = client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_says_that_requests_can_be_served(client: httpx.Client) -> None:
    response = client.get("/health/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_without_a_database_the_process_runs_and_is_not_ready(key_server: KeyServer) -> None:
    with running_service(make_settings(NOWHERE, key_server.url)) as client:
        assert client.get("/health").status_code == 200
        response = client.get("/health/ready")
        assert_problem(response, 503)
        assert int(response.headers["retry-after"]) > 0
        assert "secret" not in response.text


def test_with_an_old_schema_it_is_not_ready_and_says_so_until_it_is_the_newest(
    make_database: MakeDatabase, key_server: KeyServer
) -> None:
    url = make_database()
    with running_service(make_settings(url, key_server.url)) as client:
        response = client.get("/health/ready")
        assert_problem(response, 503)
        assert "migrations" in response.json()["detail"]
        upgrade(url)
        assert client.get("/health/ready").status_code == 200


def test_a_read_only_database_is_not_ready_until_it_can_be_written(
    make_database: MakeDatabase,
    postgres: str,
    key_server: KeyServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = make_database()
    upgrade(url)
    name = make_url(url).database

    def change(setting: str) -> None:
        """Change the database as when a primary becomes a replica: connections end."""
        execute(postgres, f"ALTER DATABASE {name} {setting}")
        execute(
            postgres,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            name,
        )

    with running_service(make_settings(url, key_server.url)) as client:
        assert client.get("/health/ready").status_code == 200
        change("SET default_transaction_read_only = on")
        account = {"email": "me@example.com", "password": "a long enough one"}
        assert_problem(client.post("/api/auth/signup", json=account), 503)
        response = client.get("/health/ready")
        assert_problem(response, 503)
        assert "read-only" in response.json()["detail"]
        assert "read-only" in caplog.text
        change("RESET default_transaction_read_only")
        assert client.get("/health/ready").status_code == 200
        assert client.post("/api/auth/signup", json=account).status_code == 201


def test_without_a_key_server_the_process_runs_and_is_not_ready_until_there_is_one(
    database_url: str, key: SigningKey
) -> None:
    port = free_port()
    jwks_url = f"http://127.0.0.1:{port}/api/auth/jwks"
    with running_service(make_settings(database_url, jwks_url)) as client:
        assert client.get("/health").status_code == 200
        response = client.get("/health/ready")
        assert_problem(response, 503)
        assert int(response.headers["retry-after"]) > 0
        with running_key_server(key, port=port):
            time.sleep(RETRY_SECONDS)
            assert client.get("/health/ready").status_code == 200


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_a_health_check_needs_no_token_and_ignores_a_bad_one(
    client: httpx.Client, path: str
) -> None:
    response = client.get(path, headers={"Authorization": "Bearer nonsense"})
    assert response.status_code == 200


def test_probes_ask_the_database_and_the_key_server_once_so_that_neon_may_suspend(
    database_url: str, key: SigningKey
) -> None:
    with (
        running_key_server(key) as key_server,
        running_proxy(database_url) as proxy,
        running_service(make_settings(proxy.url, key_server.url)) as client,
    ):
        assert client.get("/health/ready").status_code == 200
        asked = [*proxy.statements]
        assert "version_num" in asked[-1]
        # As Neon does when it suspends its compute, which no probe may resume.
        proxy.cut()
        assert [client.get("/health/ready").status_code for _ in range(20)] == [200] * 20
        assert proxy.statements == asked
        assert (proxy.connections, key_server.fetches) == (1, 1)


def test_a_key_set_that_was_good_is_not_fetched_for_a_probe_however_old_it_is(
    database_url: str, key: SigningKey
) -> None:
    clock = Clock()

    @asynccontextmanager
    async def with_clock(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient() as client:
            app.state.keys = KeySet(app.state.settings.jwks_url, client, clock)
            yield

    with (
        running_key_server(key) as key_server,
        running_service(make_settings(database_url, key_server.url), adapt=with_clock) as client,
    ):
        assert client.get("/health/ready").status_code == 200
        # From now on it is too old for any token, which would fetch it.
        clock.now += 2 * STALE_SECONDS
        assert [client.get("/health/ready").status_code for _ in range(5)] == [200] * 5
        assert key_server.fetches == 1


def test_after_a_failed_statement_probes_ask_until_the_database_is_back(
    database_url: str, key: SigningKey, key_server: KeyServer
) -> None:
    with (
        running_proxy(database_url) as proxy,
        running_service(make_settings(proxy.url, key_server.url)) as client,
    ):
        alice = Person(client, key)
        assert client.get("/health/ready").status_code == 200
        # No SELECT is answered any more: its connection is cut.
        proxy.swallow = "SELECT"
        assert alice.tasks("GET").status_code == 503
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/ready").status_code == 503
        proxy.swallow = None
        assert client.get("/health/ready").status_code == 200
        asked = len(proxy.statements)
        assert client.get("/health/ready").status_code == 200
        assert len(proxy.statements) == asked
        assert alice.tasks("GET").status_code == 200


def test_once_a_fetch_has_failed_probes_ask_again(database_url: str, key: SigningKey) -> None:
    with (
        running_key_server(key) as key_server,
        running_service(make_settings(database_url, key_server.url)) as client,
    ):
        assert client.get("/health/ready").status_code == 200
        key_server.status = 500
        headers = {"Authorization": f"Bearer {SigningKey().token()}"}
        assert client.get("/api/auth/me", headers=headers).status_code == 401
        # There are keys still, and young enough.
        assert client.get("/health/ready").status_code == 200
        assert key_server.fetches == 2
