"""Tests of password hashing: how it shares the machine, and what it accepts."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, override
from uuid import uuid4

import httpx
import pytest

from tests.support.database import wait_until
from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem
from tests.support.service import Person, make_settings, replacing, running_service
from tests.support.tokens import SigningKey
from utils.security import HashingBusyError, PasswordHasher

CORES = os.cpu_count() or 1
PASSWORD = "a long enough one"


@pytest.mark.slow
def test_the_event_loop_goes_on_while_bcrypt_works_on_all_cores_but_one() -> None:
    async def hash_many() -> tuple[int, int]:
        hasher, before = PasswordHasher(rounds=11), set(threading.enumerate())
        hashing = [asyncio.create_task(hasher.hash(PASSWORD, "a")) for _ in range(CORES + 3)]
        turns = most = 0
        while not all(each.done() for each in hashing):
            await asyncio.sleep(0.005)
            turns += 1
            most = max(most, len(set(threading.enumerate()) - before))
        assert all(each.result().startswith("$2b$11$") for each in hashing)
        return turns, most

    turns, most = asyncio.run(hash_many())
    # If bcrypt held the GIL there would be about one for each hash.
    assert turns > 3 * (CORES + 3)
    assert 1 <= most <= max(1, CORES - 1)


def test_networks_take_turns() -> None:
    """50 passwords of one network delay those of others by two hashes for each thread at most."""

    async def order() -> list[str]:
        hasher, done = PasswordHasher(rounds=4), []

        async def run(network: str) -> None:
            await hasher.hash(PASSWORD, network)
            done.append(network)

        async with asyncio.TaskGroup() as group:
            for network in ["a"] * 50 + ["b"] * 2 + ["c"]:
                group.create_task(run(network))
        return done

    done = asyncio.run(order())
    places = [place for place, network in enumerate(done) if network != "a"]
    assert len(done) == 53
    assert places[0] <= 2 * max(1, CORES - 1)
    assert places[-1] <= 6 * max(1, CORES - 1)


def test_turns_that_nobody_waits_for_any_more_are_passed_on() -> None:
    async def hash_after_time_outs() -> int:
        hasher = PasswordHasher(rounds=11, max_seconds=0.05)
        waiting = [asyncio.create_task(hasher.hash(PASSWORD, str(n % 3))) for n in range(30)]
        waiting[5].cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert (await hasher.hash(PASSWORD, "later")).startswith("$2b$")
        for result in results:
            assert isinstance(result, str | HashingBusyError | asyncio.CancelledError)
        return sum(isinstance(result, str) for result in results)

    assert 1 <= asyncio.run(hash_after_time_outs()) < 10


class HeldHasher(PasswordHasher):
    """A hasher that is busy until it is released, and records the networks."""

    def __init__(self) -> None:
        super().__init__(rounds=4)
        self.released = threading.Event()
        self.networks: list[str] = []

    @override
    async def hash(self, password: str, network: str) -> str:
        self.networks.append(network)
        await asyncio.to_thread(self.released.wait, 10)
        return await super().hash(password, network)


def sign_up(client: httpx.Client, name: str, address: str = "192.0.2.1") -> httpx.Response:
    body = {"email": f"{name}@example.com", "password": PASSWORD}
    return client.post("/api/auth/signup", json=body, headers={"X-Forwarded-For": address})


def test_passwords_that_wait_hold_no_connection_and_are_named_by_network(
    database_url: str, key_server: KeyServer, key: SigningKey
) -> None:
    hasher = HeldHasher()
    adapt = replacing(hasher=lambda: hasher)
    settings = make_settings(database_url, key_server.url, db_pool_size=1)
    behind: dict[str, Any] = {"proxy_headers": True, "forwarded_allow_ips": "127.0.0.1"}
    addresses = ["192.0.2.9", "::ffff:192.0.2.1", "2001:db8:1:2::9", "nonsense"]
    with (
        running_service(settings, adapt=adapt, **behind) as client,
        ThreadPoolExecutor() as threads,
    ):
        signing_up = [threads.submit(sign_up, client, uuid4().hex, each) for each in addresses]
        try:
            wait_until(lambda: len(hasher.networks) == len(addresses))
            assert Person(client, key).tasks("GET", timeout=5).status_code == 200
        finally:
            hasher.released.set()
        assert [each.result().status_code for each in signing_up] == [201] * len(addresses)
    assert sorted(hasher.networks) == ["", "192.0.2.0/24", "192.0.2.0/24", "2001:db8:1::/48"]


@pytest.mark.slow
def test_a_sign_up_that_waits_too_long_for_a_hash_is_503_and_makes_no_account(
    database_url: str, key_server: KeyServer
) -> None:
    names = [uuid4().hex for _ in range(CORES + 3)]
    impatient = replacing(hasher=lambda: PasswordHasher(max_seconds=0.05))
    with (
        running_service(make_settings(database_url, key_server.url), adapt=impatient) as client,
        ThreadPoolExecutor(len(names)) as threads,
    ):
        responses = dict(zip(names, threads.map(partial(sign_up, client), names), strict=True))
        refused = [name for name, each in responses.items() if each.status_code != 201]
        assert len(refused) >= 2
        for name in refused:
            assert_problem(responses[name], 503)
        assert [sign_up(client, name).status_code for name in refused[:2]] == [201, 201]
