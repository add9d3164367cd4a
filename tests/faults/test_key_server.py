"""A key server that fails, hangs or is gone while the service is busy."""

import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.support.keyserver import running_key_server
from tests.support.problems import assert_problem
from tests.support.programs import free_port
from tests.support.service import Person, make_settings, running_service
from tests.support.tokens import SigningKey
from utils.jwks import KeySet, Times
from utils.tokens import TokenVerifier

pytestmark = pytest.mark.slow

CLIENTS = 20
ALICE: dict[str, Any] = {"sub": "an-id-of-alice", "email": "alice@faults.example"}


@asynccontextmanager
async def with_keys(app: FastAPI) -> AsyncIterator[None]:
    """Have an application use a key set with shorter times."""
    async with httpx.AsyncClient() as client:
        keys = KeySet(app.state.settings.jwks_url, client, times=Times(0.2, 0.2, 3))
        app.state.keys, app.state.verifier = keys, TokenVerifier(keys)
        yield
        await keys.aclose()


def busy(ask: Callable[[], httpx.Response], seconds: float) -> list[httpx.Response]:
    """Have many clients send requests for a while, and return all responses."""
    end = time.monotonic() + seconds

    def go_on(_: int) -> list[httpx.Response]:
        answers = [ask()]
        while time.monotonic() < end:
            answers.append(ask())
        return answers

    with ThreadPoolExecutor(CLIENTS) as threads:
        return [answer for each in threads.map(go_on, range(CLIENTS)) for answer in each]


def test_a_service_with_good_keys_goes_on_whatever_becomes_of_the_key_server(
    database_url: str, key: SigningKey
) -> None:
    """No request waits for the fetch that is due, and there is one at a time."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/auth/jwks"
    with running_service(make_settings(database_url, url), adapt=with_keys) as client:

        def ask(signed_by: SigningKey = key) -> httpx.Response:
            """Ask with a token that nobody has seen yet."""
            headers = {"Authorization": f"Bearer {signed_by.token(**ALICE)}"}
            return client.get("/api/auth/me", headers=headers)

        def assert_served(seconds: float) -> None:
            answers = busy(ask, seconds)
            assert {answer.status_code for answer in answers} == {200}
            assert max(answer.elapsed.total_seconds() for answer in answers) < 2

        with running_key_server(key, port=port) as server:
            Person(client, key, **ALICE)
            time.sleep(0.3)
            server.status, server.fetches = 500, 0
            assert_served(0.5)
            assert 1 <= server.fetches <= 3
            server.status, server.delay, server.fetches = 200, 4, 0
            assert_served(1)
            assert 1 <= server.fetches <= 3
        assert_served(0.7)
        successor = SigningKey()
        with running_key_server(key, successor, port=port):
            began = time.monotonic()
            while ask(successor).status_code != 200:
                assert time.monotonic() - began < 5
            assert_served(0.1)


def test_a_service_that_never_had_a_key_is_503_and_not_401_until_it_has_one(
    database_url: str, key: SigningKey
) -> None:
    with (
        running_key_server(key) as server,
        running_service(make_settings(database_url, server.url), adapt=with_keys) as client,
    ):
        keys = [key, SigningKey()]

        def ask() -> httpx.Response:
            # A good token and a forged one are told apart by nobody yet.
            keys.append(keys.pop(0))
            headers = {"Authorization": f"Bearer {keys[0].token(**ALICE)}"}
            return client.get("/api/auth/me", headers=headers)

        server.delay = 4
        answers = busy(ask, 1)
        for answer in answers:
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
        assert max(answer.elapsed.total_seconds() for answer in answers) < 4
        assert 1 <= server.fetches <= 3
        assert client.get("/health").status_code == 200
        server.delay = 0
        began = time.monotonic()
        while client.get("/health/ready").status_code != 200:
            assert time.monotonic() - began < 5
        assert {ask().status_code for _ in range(2)} == {200, 401}
