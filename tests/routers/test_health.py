"""Tests of the health checks."""

import httpx
import pytest

from tests.conftest import MakeDatabase
from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem
from tests.support.service import make_settings, running_service

NOWHERE = "postgresql://somebody:secret@127.0.0.1:1/nothing"


def test_health_says_that_the_process_runs(client: httpx.Client) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_ready_says_that_requests_can_be_served(client: httpx.Client) -> None:
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_without_a_database_the_process_runs_and_is_not_ready(key_server: KeyServer) -> None:
    with running_service(make_settings(NOWHERE, key_server.url)) as client:
        assert client.get("/health").status_code == 200
        answer = client.get("/health/ready")
        assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert "secret" not in answer.text


def test_with_an_old_schema_it_is_not_ready_and_says_so(
    make_database: MakeDatabase, key_server: KeyServer
) -> None:
    with running_service(make_settings(make_database(), key_server.url)) as client:
        answer = client.get("/health/ready")
        assert_problem(answer, 503)
        assert "migrations" in answer.json()["detail"]


def test_without_a_key_server_the_process_runs_and_is_not_ready(database_url: str) -> None:
    with running_service(make_settings(database_url, "http://127.0.0.1:1/jwks")) as client:
        assert client.get("/health").status_code == 200
        answer = client.get("/health/ready")
        assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_a_health_check_asks_for_no_token_and_minds_no_bad_one(
    client: httpx.Client, path: str
) -> None:
    answer = client.get(path, headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 200
