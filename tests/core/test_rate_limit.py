"""Tests of how often one address may try to sign up or log in, and an account's log-in may fail."""

import asyncio
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import limits
import pytest
from passlib.context import CryptContext

from core.rate_limit import REDIS_SECONDS, RETRY_SECONDS, MemoryLimiter
from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem
from tests.support.redis import PASSWORD as REDIS_PASSWORD
from tests.support.redis import RedisServer, running_redis
from tests.support.service import ORIGIN, make_settings, quick_hashes, running_service

running_cheaply = partial(running_service, adapt=quick_hashes)


def attempt(
    client: httpx.Client, path: str = "login", address: str | None = None
) -> httpx.Response:
    """Try with a body that is refused, which counts and costs no hash."""
    headers = {"Origin": ORIGIN} | ({"X-Forwarded-For": address} if address else {})
    return client.post(f"/api/auth/{path}", json={}, headers=headers)


def statuses(client: httpx.Client, count: int, address: str | None = None) -> list[int]:
    return [attempt(client, address=address).status_code for _ in range(count)]


def test_more_attempts_than_the_limit_are_429_on_signup_and_login_together(
    database_url: str, key_server: KeyServer
) -> None:
    settings = make_settings(database_url, key_server.url, auth_rate_limit="3/minute")
    with running_cheaply(settings) as client:
        for path in ("signup", "login", "signup"):
            assert_problem(attempt(client, path), 400)
        for path in ("signup", "login"):
            answer = attempt(client, path)
            assert_problem(answer, 429)
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert "Retry-After" in answer.headers["access-control-expose-headers"]
        assert client.get("/health").status_code == 200
        assert_problem(client.get("/api/auth/me"), 401)


def test_after_the_time_that_the_answer_names_there_is_another_attempt(
    database_url: str, key_server: KeyServer
) -> None:
    settings = make_settings(database_url, key_server.url, auth_rate_limit="2/second")
    with running_cheaply(settings) as client:
        answers = [attempt(client) for _ in range(3)]
        assert_problem(answers[-1], 429)
        time.sleep(int(answers[-1].headers["retry-after"]))
        assert_problem(attempt(client), 400)


def test_behind_a_proxy_that_is_trusted_each_address_has_its_own_limit(
    database_url: str, key_server: KeyServer
) -> None:
    settings = make_settings(database_url, key_server.url, auth_rate_limit="2/minute")
    with running_cheaply(settings, proxy_headers=True, forwarded_allow_ips="127.0.0.1") as client:
        for address in ("192.0.2.1", "192.0.2.2"):
            assert statuses(client, 3, address) == [400, 400, 429]
        # What the caller itself claims stands further left, and does not count.
        assert statuses(client, 1, "203.0.113.9, 192.0.2.1") == [429]
        # A client has a whole /64 of IPv6, and many do: they share one limit.
        assert statuses(client, 2, "2001:db8::1") == [400, 400]
        assert statuses(client, 1, "2001:db8::ffff:0:0:2") == [429]
        assert statuses(client, 1, "2001:db8:0:1::1") == [400]
        # IPv4 as a socket for both kinds of addresses spells it.
        assert statuses(client, 1, "::ffff:192.0.2.1") == [429]
        assert statuses(client, 1, "::ffff:192.0.2.3") == [400]


@pytest.mark.parametrize("options", [{"forwarded_allow_ips": "10.0.0.1"}, {"proxy_headers": False}])
def test_a_forged_address_changes_nothing(
    database_url: str, key_server: KeyServer, options: dict[str, Any]
) -> None:
    settings = make_settings(database_url, key_server.url, auth_rate_limit="2/minute")
    with running_cheaply(settings, **options) as client:
        seen = [statuses(client, 1, f"192.0.2.{n}")[0] for n in range(3)]
        assert seen == [400, 400, 429]


# By account

PASSWORD = "correct horse battery staple"


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the hash of every password check; what bcrypt says of it is known before."""
    hashes: list[str] = []

    def noting(_: CryptContext, secret: str, password_hash: str, **_options: Any) -> bool:
        hashes.append(password_hash)
        return secret == PASSWORD

    monkeypatch.setattr(CryptContext, "verify", noting)
    return hashes


def new_account(client: httpx.Client) -> str:
    email = f"{uuid4().hex}@example.com"
    response = client.post("/api/auth/signup", json={"email": email, "password": PASSWORD})
    assert response.status_code == 201
    return email


def log_in(
    client: httpx.Client, email: str, password: str, address: str = "192.0.2.1"
) -> httpx.Response:
    return client.post(
        "/api/auth/login",
        json={"email": email, "password": password},
        headers={"X-Forwarded-For": address},
    )


def fail(client: httpx.Client, email: str, count: int, address: str = "192.0.2.1") -> list[int]:
    return [log_in(client, email, f"wrong {n}", address).status_code for n in range(count)]


BEHIND_PROXY: dict[str, Any] = {"proxy_headers": True, "forwarded_allow_ips": "127.0.0.1"}


def test_a_strangers_guesses_do_not_lock_the_owner_out_until_there_are_a_hundred(
    database_url: str, key_server: KeyServer, checks: list[str], storage_url: str
) -> None:
    settings = make_settings(database_url, key_server.url, rate_limit_storage_url=storage_url)
    with running_cheaply(settings, **BEHIND_PROXY) as client:
        email = new_account(client)
        for stranger in range(10):
            address = f"198.51.100.{stranger}"
            assert log_in(client, email, PASSWORD).status_code == 200
            assert fail(client, email, 10, address) == [401] * 10
            assert_problem(log_in(client, email, PASSWORD, address), 429)
        assert len(checks) == 110
        response = log_in(client, email, PASSWORD)
        assert_problem(response, 429)
        assert 500 < int(response.headers["retry-after"]) <= 600
        # Other accounts are not affected.
        assert fail(client, f"{uuid4().hex}@example.com", 1) == [401]
        assert len(checks) == 111


def test_after_ten_failures_an_account_is_429_with_the_right_password_too_and_without_a_check(
    client: httpx.Client, checks: list[str]
) -> None:
    email, other = new_account(client), new_account(client)
    assert fail(client, email, 10) == [401] * 10
    assert len(checks) == 10
    for password in ("wrong", PASSWORD):
        answer = log_in(client, email, password)
        assert_problem(answer, 429)
        # Ten minutes less the little that this test has taken.
        assert 500 < int(answer.headers["retry-after"]) <= 600
    assert log_in(client, email.upper(), PASSWORD).status_code == 429
    assert len(checks) == 10
    assert log_in(client, other, PASSWORD).status_code == 200


def test_the_limit_of_an_account_does_not_tell_whether_there_is_one(
    client: httpx.Client, checks: list[str]
) -> None:
    seen = []
    for email in (new_account(client), f"{uuid4().hex}@example.com"):
        checks.clear()
        answers = [log_in(client, email, "wrong") for _ in range(12)]
        assert [each.status_code for each in answers] == [401] * 10 + [429] * 2
        assert len(checks) == 10
        seen.append([(each.content, sorted(each.headers)) for each in answers])
    assert seen[0] == seen[1]


@pytest.mark.usefixtures("checks")
def test_a_success_is_no_failure_and_takes_none_back(client: httpx.Client) -> None:
    email = new_account(client)
    assert fail(client, email, 9) == [401] * 9
    for _ in range(12):
        assert log_in(client, email, PASSWORD).status_code == 200
    assert fail(client, email, 2) == [401, 429]


@pytest.mark.usefixtures("checks")
def test_input_that_is_refused_is_no_failure(client: httpx.Client) -> None:
    email = new_account(client)
    for _ in range(12):
        assert_problem(client.post("/api/auth/login", json={"email": email}), 400)
    assert log_in(client, email, PASSWORD).status_code == 200


@pytest.mark.usefixtures("checks")
def test_of_many_guesses_at_once_ten_are_answered(client: httpx.Client) -> None:
    email = new_account(client)
    with ThreadPoolExecutor(30) as threads:
        guesses = [threads.submit(log_in, client, email, f"wrong {n}") for n in range(30)]
    seen = Counter(each.result().status_code for each in guesses)
    assert seen == {401: 10, 429: 20}


def test_the_right_password_is_429_when_the_tenth_failure_comes_while_it_is_checked(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = {"wrong": threading.Event(), PASSWORD: threading.Event()}

    def slowly(_: CryptContext, secret: str, *_arguments: Any, **_options: Any) -> bool:
        if secret in begun:
            begun[secret].set()
            time.sleep(0.3 if secret == "wrong" else 0.6)
        return secret == PASSWORD

    monkeypatch.setattr(CryptContext, "verify", slowly)
    email = new_account(client)
    assert fail(client, email, 9) == [401] * 9
    with ThreadPoolExecutor(2) as threads:
        wrong = threads.submit(log_in, client, email, "wrong")
        assert begun["wrong"].wait(10)
        right = threads.submit(log_in, client, email, PASSWORD)
    assert wrong.result().status_code == 401
    assert begun[PASSWORD].is_set()
    assert right.result().status_code == 429


# In memory


LIMIT = limits.parse("100/hour")


def cost(others: int) -> float:
    """Return the processor time of 20 attempts, beside those of others."""

    async def measure() -> float:
        limiter = MemoryLimiter()
        for number in range(others):
            await limiter.hit(LIMIT, "address", f"client {number}")
        least = math.inf
        for _ in range(3):
            begun = time.process_time()
            for number in range(20):
                await limiter.hit(LIMIT, "address", f"client {number}")
            least = min(least, time.process_time() - begun)
        return least

    return asyncio.run(measure())


def test_an_attempt_costs_no_more_when_many_others_have_tried() -> None:
    # A look at each of them would cost some hundred times as much.
    assert cost(others=20_000) < 10 * cost(others=20)


def test_of_too_many_addresses_the_least_recent_one_is_forgotten_and_no_account() -> None:
    async def left(kind: str, name: str) -> int:
        return (await limiter.get_window_stats(LIMIT, kind, name)).remaining

    async def hit() -> None:
        await limiter.hit(LIMIT, "account", "a")
        for name in ("first", "second", "third", "first", "fourth"):
            await limiter.hit(LIMIT, "address", name)
        assert await left("address", "second") == 100
        assert await left("address", "first") == 98
        assert await left("account", "a") == 99

    limiter = MemoryLimiter(max_kept=3)
    asyncio.run(hit())


# In Redis


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis that this test alone uses, and may kill."""
    with running_redis(tmp_path) as server:
        yield server


@pytest.fixture(params=["memory", "Redis"])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return where attempts are counted."""
    if request.param == "memory":
        yield "memory://"
    else:
        with running_redis(tmp_path) as server:
            yield server.url


@pytest.fixture
def replicas(
    database_url: str, key_server: KeyServer, redis_server: RedisServer
) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Run two services that count in one Redis."""
    settings = make_settings(
        database_url,
        key_server.url,
        auth_rate_limit="5/minute",
        rate_limit_storage_url=redis_server.url,
    )
    with (
        running_cheaply(settings) as one,
        running_cheaply(settings) as two,
    ):
        yield one, two


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_two_services_share_one_limit(
    replicas: tuple[httpx.Client, httpx.Client],
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, two = replicas
    seen = [attempt(each).status_code for each in (one, two, one, two, two)]
    assert seen == [400] * 5
    for each in replicas:
        answer = attempt(each)
        assert_problem(answer, 429)
        assert 50 < int(answer.headers["retry-after"]) <= 60
    assert redis_server.keys()
    assert warnings(caplog) == []


def test_two_services_share_the_limit_of_an_account_and_redis_does_not_learn_its_address(
    database_url: str,
    key_server: KeyServer,
    redis_server: RedisServer,
    checks: list[str],
) -> None:
    settings = make_settings(database_url, key_server.url, rate_limit_storage_url=redis_server.url)
    with (
        running_cheaply(settings) as one,
        running_cheaply(settings) as two,
    ):
        email = new_account(one)
        assert fail(one, email, 5) + fail(two, email, 5) == [401] * 10
        for each in (one, two):
            answer = log_in(each, email, PASSWORD)
            assert_problem(answer, 429)
            assert 500 < int(answer.headers["retry-after"]) <= 600
    assert len(checks) == 10
    kinds = {name.split("/")[1] for name in redis_server.keys()}  # noqa: SIM118 - not a dict's
    assert kinds == {"address", "account", "account-address"}
    assert email not in str(redis_server.keys())


@pytest.mark.slow
def test_without_redis_sign_in_goes_on_with_a_limit_in_memory_and_comes_back_to_it(
    replicas: tuple[httpx.Client, httpx.Client],
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    one, two = replicas
    assert statuses(one, 5) == [400] * 5
    assert statuses(two, 1) == [429]

    redis_server.kill()
    for each in replicas:
        caplog.clear()
        assert statuses(each, 7) == [400] * 5 + [429] * 2
        (warning,) = warnings(caplog)
        assert warning.startswith("Redis cannot be used (ConnectionError)")
    caplog.clear()
    time.sleep(RETRY_SECONDS)
    # It has been tried again by now, in vain, and that is not logged again.
    assert statuses(one, 1) == statuses(two, 1) == [429]
    assert warnings(caplog) == []

    redis_server.start()
    time.sleep(RETRY_SECONDS)
    seen = [attempt(each).status_code for each in (one, two, one, two, one, two, one)]
    assert seen == [400] * 5 + [429] * 2
    back = [each.getMessage() for each in caplog.records if "used again" in each.getMessage()]
    assert len(back) == len(replicas)
    assert warnings(caplog) == []
    assert REDIS_PASSWORD not in caplog.text


def test_a_redis_that_hangs_holds_up_one_request_for_half_a_second_and_the_others_not_at_all(
    replicas: tuple[httpx.Client, httpx.Client],
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, _ = replicas
    assert statuses(one, 1) == [400]
    redis_server.hang()
    try:
        answers = [attempt(one) for _ in range(6)]
    finally:
        redis_server.go_on()
    assert [each.status_code for each in answers] == [400] * 5 + [429]
    first, *others = [each.elapsed.total_seconds() for each in answers]
    assert REDIS_SECONDS <= first < 2 * REDIS_SECONDS
    assert sum(others) < REDIS_SECONDS
    (warning,) = warnings(caplog)
    assert warning.startswith("Redis cannot be used (TimeoutError)")


def test_the_service_starts_without_redis_and_does_not_say_its_password(
    database_url: str,
    key_server: KeyServer,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = redis_server.url.replace(REDIS_PASSWORD, "not-its-password")
    for url, reason in [
        (wrong, "AuthenticationError"),
        (f"redis://:{REDIS_PASSWORD}@127.0.0.1:1", "ConnectionError"),
        (f"redis://:{REDIS_PASSWORD}@{'x' * 70}.invalid", "ConnectionError"),
        (f"rediss://:{REDIS_PASSWORD}@127.0.0.1:1?ssl_ca_certs=/none", "ConnectionError"),
    ]:
        caplog.clear()
        settings = make_settings(
            database_url, key_server.url, auth_rate_limit="2/minute", rate_limit_storage_url=url
        )
        with running_cheaply(settings) as client:
            assert statuses(client, 3) == [400, 400, 429]
        (warning,) = warnings(caplog)
        assert warning.startswith(f"Redis cannot be used ({reason})")
        assert "not-its-password" not in caplog.text
        assert REDIS_PASSWORD not in caplog.text
