"""Tests of the limits on attempts by network, and on failed log-ins by account."""

import asyncio
import logging
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, override
from uuid import uuid4

import httpx
import limits
import pytest

from core.rate_limit import REDIS_SECONDS, RETRY_SECONDS, MemoryLimiter
from tests.support.database import wait_until
from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem, assert_readable_by_the_page
from tests.support.redis import PASSWORD as REDIS_PASSWORD
from tests.support.redis import RedisServer, running_redis
from tests.support.service import ORIGIN, at_once, make_settings, replacing, running_service
from utils.security import PasswordHasher

PASSWORD = "correct horse battery staple"
Run = Callable[..., AbstractContextManager[httpx.Client]]


class CountingHasher(PasswordHasher):
    """Counts its checks; one of PASSWORD waits for `is_released`."""

    def __init__(self) -> None:
        super().__init__(rounds=4)
        self.checks: list[str] = []
        self.is_released = threading.Event()
        self.is_released.set()

    @override
    async def verify(self, password: str, password_hash: str | None, network: str) -> bool:
        self.checks.append(password)
        if password == PASSWORD:
            await asyncio.to_thread(self.is_released.wait, 10)
        return await super().verify(password, password_hash, network)


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher()


@pytest.fixture
def run(database_url: str, key_server: KeyServer, hasher: CountingHasher) -> Run:
    """Return what runs a service behind a proxy, with a limit and a Redis."""

    def run(limit: str = "1000/minute", redis: str = "memory://", **options: Any) -> Any:
        settings = make_settings(
            database_url, key_server.url, auth_rate_limit=limit, rate_limit_storage_url=redis
        )
        options = {"proxy_headers": True, "forwarded_allow_ips": "127.0.0.1", **options}
        return running_service(settings, adapt=replacing(hasher=lambda: hasher), **options)

    return run


def attempt(
    client: httpx.Client, path: str = "login", address: str = "192.0.2.1"
) -> httpx.Response:
    """Try with a body that is refused, which counts and costs no hash."""
    headers = {"Origin": ORIGIN, "X-Forwarded-For": address}
    return client.post(f"/api/auth/{path}", json={}, headers=headers)


def statuses(client: httpx.Client, count: int, address: str = "192.0.2.1") -> list[int]:
    return [attempt(client, address=address).status_code for _ in range(count)]


# By network


def test_more_attempts_than_the_limit_are_429_on_signup_and_login_together(run: Run) -> None:
    with run("3/minute") as client:
        for path in ("signup", "login", "signup"):
            assert_problem(attempt(client, path), 400)
        for path in ("signup", "login"):
            response = attempt(client, path)
            assert_problem(response, 429)
            assert 1 <= int(response.headers["retry-after"]) <= 60
            assert_readable_by_the_page(response)
        assert_problem(client.get("/api/auth/me"), 401)
    with run("1/second") as client:
        assert statuses(client, 2) == [400, 429]
        time.sleep(1)
        assert statuses(client, 1) == [400]


def test_behind_a_trusted_proxy_each_network_has_its_own_limit(run: Run) -> None:
    with run("2/minute") as client:
        for address in ("192.0.2.1", "192.0.2.2"):
            assert statuses(client, 3, address) == [400, 400, 429]
        # What the caller itself claims stands further left, and does not count.
        assert statuses(client, 1, "203.0.113.9, 192.0.2.1") == [429]
        # A client has a whole /64 of IPv6.
        assert statuses(client, 2, "2001:db8::1") == [400, 400]
        assert statuses(client, 1, "2001:db8::ffff:0:0:2") == [429]
        # IPv4 as a socket for both kinds of addresses writes it.
        assert statuses(client, 1, "::ffff:192.0.2.1") == [429]
        assert statuses(client, 1, "::ffff:192.0.2.3") == [400]
        # A /48 has ten times the limit. Attempts that the limit of the /64 refuses do not count.
        assert statuses(client, 18, "2001:db8::1") == [429] * 18
        seen = [statuses(client, 1, f"2001:db8:0:{n:x}::1")[0] for n in range(1, 22)]
        assert seen == [400] * 18 + [429] * 3
        assert statuses(client, 1, "2001:db8:1::1") == [400]


@pytest.mark.parametrize("options", [{"forwarded_allow_ips": "10.0.0.1"}, {"proxy_headers": False}])
def test_a_forged_address_changes_nothing(run: Run, options: dict[str, Any]) -> None:
    with run("2/minute", **options) as client:
        assert [statuses(client, 1, f"192.0.2.{n}")[0] for n in range(3)] == [400, 400, 429]


# By account


def new_email() -> str:
    return f"{uuid4().hex}@example.com"


def new_account(client: httpx.Client) -> str:
    email = new_email()
    response = client.post("/api/auth/signup", json={"email": email, "password": PASSWORD})
    assert response.status_code == 201
    return email


def log_in(
    client: httpx.Client, email: str, password: str = PASSWORD, address: str = "192.0.2.1"
) -> httpx.Response:
    body, headers = {"email": email, "password": password}, {"X-Forwarded-For": address}
    return client.post("/api/auth/login", json=body, headers=headers)


def fail(client: httpx.Client, email: str, count: int, address: str = "192.0.2.1") -> list[int]:
    return [log_in(client, email, f"wrong {n}", address).status_code for n in range(count)]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis that this test alone uses, and may kill."""
    with running_redis(tmp_path) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["memory", "Redis"])
def test_strangers_guesses_do_not_lock_the_owner_out_until_there_are_a_hundred(
    run: Run, hasher: CountingHasher, request: pytest.FixtureRequest, storage: str
) -> None:
    server = request.getfixturevalue("redis_server") if storage == "Redis" else None
    with run(redis=server.url if server else "memory://") as client:
        email = new_account(client)
        for stranger in range(10):
            # All addresses of a /64 are one stranger's.
            one, other = f"2001:db8:{stranger}::1", f"2001:db8:{stranger}::2"
            assert log_in(client, email).status_code == 200
            assert fail(client, email, 10, one) == [401] * 10
            assert_problem(log_in(client, email, address=other), 429)
        assert len(hasher.checks) == 110
        response = log_in(client, email)
        assert_problem(response, 429)
        assert 500 < int(response.headers["retry-after"]) <= 600
        # Other accounts are not affected.
        assert fail(client, new_email(), 1) == [401]
        assert len(hasher.checks) == 111
    if server:
        # Redis does not learn addresses of accounts.
        keys = server.keys()
        assert email not in str(keys)
        kinds = {name.split("/")[1] for name in keys}
        assert kinds == {"address", "network", "account", "account-address"}


def test_after_ten_failures_an_account_is_429_without_a_check_and_whether_it_exists_or_not(
    run: Run, hasher: CountingHasher
) -> None:
    with run() as client:
        other, seen = new_account(client), []
        for email in (new_account(client), new_email()):
            hasher.checks.clear()
            responses = [log_in(client, email, f"wrong {n}") for n in range(11)]
            responses += [log_in(client, email), log_in(client, email.upper())]
            assert [each.status_code for each in responses] == [401] * 10 + [429] * 3
            # Ten minutes less the little that this test has taken.
            assert 500 < int(responses[-1].headers["retry-after"]) <= 600
            assert len(hasher.checks) == 10
            seen.append([(each.content, sorted(each.headers)) for each in responses])
        assert seen[0] == seen[1]
        assert log_in(client, other).status_code == 200


def test_neither_a_success_nor_refused_input_counts_or_takes_a_failure_back(run: Run) -> None:
    with run() as client:
        email = new_account(client)
        assert fail(client, email, 9) == [401] * 9
        for _ in range(12):
            assert log_in(client, email).status_code == 200
            assert_problem(client.post("/api/auth/login", json={"email": email}), 400)
        assert fail(client, email, 2) == [401, 429]


@pytest.mark.slow
def test_of_many_guesses_at_once_ten_are_checked(run: Run) -> None:
    with run() as client:
        email = new_account(client)
        responses = at_once(30, lambda n: log_in(client, email, f"wrong {n}"))
    assert Counter(each.status_code for each in responses) == {401: 10, 429: 20}


def test_the_right_password_is_429_when_the_tenth_failure_comes_while_it_is_checked(
    run: Run, hasher: CountingHasher
) -> None:
    hasher.is_released.clear()
    with run() as client, ThreadPoolExecutor(1) as threads:
        email = new_account(client)
        assert fail(client, email, 9) == [401] * 9
        right = threads.submit(log_in, client, email)
        try:
            wait_until(lambda: PASSWORD in hasher.checks)
            assert fail(client, email, 1) == [401]
        finally:
            hasher.is_released.set()
        assert right.result().status_code == 429


# In memory

LIMIT = limits.parse("100/hour")


@pytest.mark.slow
def test_an_attempt_costs_no_more_when_many_others_have_tried() -> None:
    async def cost(others: int) -> float:
        """Return the processor time of 20 attempts, beside those of others."""
        limiter = MemoryLimiter()
        for number in range(others):
            await limiter.hit(LIMIT, "address", f"client {number}")
        begun = time.process_time()
        for number in range(20):
            await limiter.hit(LIMIT, "address", f"client {number}")
        return time.process_time() - begun

    # A look at each of them would cost some hundred times as much.
    few, many = (min(asyncio.run(cost(number)) for _ in range(3)) for number in (20, 20_000))
    assert many < 10 * few


def test_of_too_many_clients_the_least_recent_one_is_forgotten_and_no_account() -> None:
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


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.slow
def test_without_redis_sign_in_goes_on_with_a_limit_in_memory_and_comes_back_to_it(
    run: Run, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with run("5/minute", redis_server.url) as one, run("5/minute", redis_server.url) as two:
        assert statuses(one, 5) == [400] * 5
        assert statuses(two, 1) == [429]

        redis_server.kill()
        for each in (one, two):
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
    assert len([each for each in caplog.messages if "used again" in each]) == 2
    assert warnings(caplog) == []
    assert REDIS_PASSWORD not in caplog.text


def test_a_redis_that_hangs_holds_up_one_request_for_half_a_second_and_the_others_not_at_all(
    run: Run, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with run("5/minute", redis_server.url) as client:
        assert statuses(client, 1) == [400]
        redis_server.hang()
        try:
            responses = [attempt(client) for _ in range(6)]
        finally:
            redis_server.go_on()
    assert [each.status_code for each in responses] == [400] * 5 + [429]
    first, *others = [each.elapsed.total_seconds() for each in responses]
    assert REDIS_SECONDS <= first < 2 * REDIS_SECONDS
    assert sum(others) < REDIS_SECONDS
    (warning,) = warnings(caplog)
    assert warning.startswith("Redis cannot be used (TimeoutError)")


def assert_counted_in_memory(
    run: Run, caplog: pytest.LogCaptureFixture, url: str, reason: str = ""
) -> None:
    """Run a service whose Redis is of no use, and check that it logs that once, and no password."""
    caplog.clear()
    with run("2/minute", url) as client:
        assert statuses(client, 3) == [400, 400, 429]
    (warning,) = warnings(caplog)
    assert warning.startswith(f"Redis cannot be used ({reason}")
    assert "not-its-password" not in caplog.text
    assert REDIS_PASSWORD not in caplog.text


@pytest.mark.slow
def test_the_service_starts_without_redis_and_does_not_log_its_password(
    run: Run, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for url, reason in [
        (redis_server.url.replace(REDIS_PASSWORD, "not-its-password"), "AuthenticationError"),
        (f"redis://:{REDIS_PASSWORD}@127.0.0.1:1", "ConnectionError"),
        (f"redis://:{REDIS_PASSWORD}@{'x' * 70}.invalid", "ConnectionError"),
        (f"rediss://:{REDIS_PASSWORD}@127.0.0.1:1?ssl_ca_certs=/none", "ConnectionError"),
    ]:
        assert_counted_in_memory(run, caplog, url, reason)


@pytest.mark.slow
@pytest.mark.parametrize(
    "replies",
    [
        [b"*1\r\n" * 10_000],
        [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        [b"-ERR broken\r\n"],
        [b":one\r\n"],
        [b"$99999999999999999999\r\n"],
        [b":0\r\n", b"*1\r\n:1\r\n"],
        [b":0\r\n", b"*2\r\n$3\r\nnan\r\n:1\r\n"],
        [b":0\r\n", b"*2\r\n$2\r\n\xff\xfe\r\n:1\r\n"],
    ],
)
def test_a_server_that_does_not_speak_redis_never_causes_a_500(
    run: Run, caplog: pytest.LogCaptureFixture, replies: list[bytes]
) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            scripts = iter(replies)
            while sent := self.request.recv(65_536):
                is_script = b"EVALSHA" in sent
                self.request.sendall(next(scripts, b"") if is_script else b"+OK\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            url = f"redis://127.0.0.1:{server.server_address[1]}/0"
            assert_counted_in_memory(run, caplog, url)
        finally:
            server.shutdown()
