"""Tests of the key set, each with a real key server that behaves in its own way."""

import asyncio
import gzip
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cache
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.support.database import wait_until
from tests.support.hostile import HOSTILE
from tests.support.keyserver import Clock, KeyServer, running_key_server
from tests.support.problems import assert_problem
from tests.support.service import make_settings, running_service
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey, base64url, number
from utils.jwks import STALE_SECONDS, KeySet, KeysUnavailableError
from utils.tokens import TokenVerifier


class Service:
    """A running service whose key set can be replaced."""

    app: FastAPI
    client: httpx.Client
    _keys_client: httpx.AsyncClient
    _loop: asyncio.AbstractEventLoop

    @asynccontextmanager
    async def adapt(self, app: FastAPI) -> AsyncIterator[None]:
        """Keep the application and its event loop for replacements."""
        self.app, self._loop = app, asyncio.get_running_loop()
        async with httpx.AsyncClient() as self._keys_client:
            yield

    @contextmanager
    def with_key_set(self, url: str, clock: Clock) -> Iterator[None]:
        """Replace the service's key set by a new one, with its own clock."""
        keys = KeySet(url, self._keys_client, clock)
        self.app.state.keys, self.app.state.verifier = keys, TokenVerifier(keys, ISSUER, [AUDIENCE])
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(keys.aclose(), self._loop).result(10)

    def ask(self, token: str) -> int:
        """Send a request with a token; return the status."""
        headers = {"Authorization": f"Bearer {token}"}
        response = self.client.get("/api/auth/me", headers=headers)
        if response.status_code == 503:
            assert_problem(response, 503)
        return response.status_code

    def ask_at_once(self, *tokens: str) -> list[int]:
        """Send a request with each of the tokens, all at the same time."""
        with ThreadPoolExecutor(len(tokens)) as threads:
            return list(threads.map(self.ask, tokens))


@pytest.fixture(scope="module")
def shared_service(database_url: str, key_server: KeyServer) -> Iterator[Service]:
    """Run the service that the tests of this file share, one after the other."""
    service = Service()
    settings = make_settings(database_url, key_server.url)
    with running_service(settings, adapt=service.adapt) as service.client:
        yield service


@pytest.fixture
def server(key: SigningKey) -> Iterator[KeyServer]:
    """Run a key server for one test."""
    with running_key_server(key) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the service's key set."""
    return Clock()


@pytest.fixture
def service(shared_service: Service, server: KeyServer, clock: Clock) -> Iterator[Service]:
    """Return a service that has not asked the key server yet."""
    with shared_service.with_key_set(server.url, clock):
        yield shared_service


# --- how often the key server is asked ------------------------------------------------------


@pytest.mark.parametrize(("of_server", "of_service"), [(200, 200), (500, 503)])
def test_fifty_first_requests_at_once_wait_for_one_fetch(
    service: Service, server: KeyServer, key: SigningKey, of_server: int, of_service: int
) -> None:
    server.status, server.delay = of_server, 0.3
    for _ in range(2):
        assert service.ask_at_once(*(key.token() for _ in range(50))) == [of_service] * 50
        assert server.fetches == 1


def test_a_key_set_is_good_for_five_minutes_then_refreshed_in_the_background(
    service: Service, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    assert service.ask(key.token()) == 200
    clock.now += 299
    assert service.ask(key.token()) == 200
    assert server.fetches == 1
    clock.now += 2
    server.delay = 0.5
    before = time.monotonic()
    assert service.ask(key.token()) == service.ask(key.token()) == 200
    assert time.monotonic() - before < 0.3
    wait_until(lambda: server.fetches == 2)


def test_while_the_key_server_fails_it_is_asked_every_two_seconds_at_most(
    service: Service, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    server.status = 500
    for seconds, fetches in ((0, 1), (1, 1), (1.1, 2), (0.1, 2), (2, 3)):
        clock.now += seconds
        assert service.ask(key.token()) == 503
        assert server.fetches == fetches


def test_a_key_set_that_was_good_is_not_fetched_for_a_probe_however_old_it_is(
    service: Service, server: KeyServer, clock: Clock
) -> None:
    for _ in range(3):
        assert service.client.get("/health/ready").status_code == 200
        # Too old for any token, which would fetch it.
        clock.now += 2 * STALE_SECONDS
    assert server.fetches == 1


def test_a_service_outlives_its_key_server_for_an_hour_and_recovers(
    service: Service, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    token = key.token()
    assert service.ask(token) == 200
    server.status = 500
    for _ in range(11):
        clock.now += 326
        assert service.ask(token) == service.ask(key.token()) == 200
    clock.now += 30
    # 3616 seconds since the last good response: the remembered token may not be used either.
    assert service.ask(token) == service.ask(key.token()) == 503
    # A key set that is back, after an hour, is waited for: the old key has left it.
    server.status, server.keys = 200, [SigningKey()]
    clock.now += 3
    assert service.ask(token) == 401
    assert service.ask(server.keys[0].token()) == 200


def test_a_service_that_stops_does_not_wait_for_a_fetch_and_logs_nothing_of_it(
    database_url: str, server: KeyServer, key: SigningKey, caplog: pytest.LogCaptureFixture
) -> None:
    service, clock = Service(), Clock()
    settings = make_settings(database_url, server.url)
    with (
        running_service(settings, adapt=service.adapt) as service.client,
        service.with_key_set(server.url, clock),
    ):
        assert service.ask(key.token()) == 200
        # The next request starts a fetch in the background, and is served meanwhile.
        clock.now += 301
        server.delay = 30
        assert service.ask(key.token()) == 200
        wait_until(lambda: server.fetches == 2)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 3
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


# --- responses that cannot be used ----------------------------------------------------------


CUT_OFF = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"


def bad_responses(good: bytes) -> dict[str, dict[str, Any]]:
    """Return what to set of a key server, by a name for it."""
    bodies = (
        *(b"", b"<html>", b'{"keys": [{"kty": "OKP"', b"\xff\xfe\xfd", b"null", b"1", b'"keys"'),
        *(b"[]", b"{}", b'{"keys": null}', b'{"keys": 5}', b'{"keys": "kid"}', b'{"keys": []}'),
        *(b'{"keys": {"a": {}}}', b'{"keys": [1, "kid", null, [], true]}', b"[" * 60_000),
        *(b'{"keys": [' + b"[" * depth + b"]" * depth + b"]}" for depth in (999, 30_000)),
        b'{"keys": ' + b"9" * 50_000 + b"}",
    )
    gzipped = {"Content-Encoding": "gzip"}
    return {
        **{f"status {status}": {"status": status} for status in (201, 401, 404, 500)},
        "status 204": {"status": 204, "body": b""},
        **{
            f"a redirect to {location}": {"status": 302, "headers": {"Location": location}}
            for location in ("http://127.0.0.1:1/", "http://[::1", "file:///etc/passwd")
        },
        **{f"{number} {body[:30]!r}": {"body": body} for number, body in enumerate(bodies)},
        "a byte more than 64 KiB": {"body": good.ljust(64 * 1024 + 1)},
        "an endless response": {"endless": True},
        **{f"no HTTP: {raw!r}": {"raw": raw} for raw in (b"", b"\0" * 9, CUT_OFF)},
        "an unknown compression": {"headers": {"Content-Encoding": "br"}, "body": b"\x0b\x02\x80"},
        "keys, compressed": {"headers": gzipped, "body": gzip.compress(good)},
        "a bomb": {"headers": gzipped, "body": gzip.compress(b" " * 50_000_000)},
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", bad_responses(b""))
def test_a_bad_response_is_503_without_keys_and_replaces_no_good_ones(
    service: Service, server: KeyServer, key: SigningKey, clock: Clock, name: str
) -> None:
    bad = bad_responses(server.answer())[name]
    good = {each: getattr(server, each) for each in bad}
    began = time.monotonic()
    vars(server).update(bad)
    # A token of a stranger is not told from a good one.
    assert service.ask(key.token()) == service.ask(SigningKey().token()) == 503
    assert server.fetches == 1
    vars(server).update(good)
    clock.now += 3
    token = key.token()
    assert service.ask(token) == 200
    vars(server).update(bad)
    # A token that asks for a refresh and waits for it, then the refresh of every five minutes.
    assert service.ask(SigningKey().token()) == 401
    assert server.fetches == 3
    clock.now += 301
    for _ in range(3):
        assert service.ask(token) == service.ask(key.token()) == 200
    vars(server).update(good)
    assert time.monotonic() - began < 8
    # Of an endless response: what fits the sockets' buffers, and not gigabytes.
    assert server.sent < 64 * 1024 * 1024


def test_64_kib_of_keys_are_read(service: Service, server: KeyServer, key: SigningKey) -> None:
    server.body = server.answer().ljust(64 * 1024)
    assert service.ask(key.token()) == 200


def test_a_redirect_is_not_followed(
    service: Service, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    with running_key_server(key) as elsewhere:
        server.headers = {"Location": elsewhere.url}
        for server.status in (301, 302, 303, 307, 308):
            clock.now += 3
            assert service.ask(key.token()) == 503
        assert (server.fetches, elsewhere.fetches) == (5, 0)


def seconds_until_unavailable(url: str) -> float:
    async def fetch() -> None:
        async with httpx.AsyncClient() as client:
            with pytest.raises(KeysUnavailableError):
                await KeySet(url, client).current()

    before = time.monotonic()
    asyncio.run(fetch())
    return time.monotonic() - before


@pytest.mark.slow
def test_a_fetch_takes_five_seconds_at_most_and_connecting_two(key: SigningKey) -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        trickling = stack.enter_context(running_key_server(key))
        trickling.trickle = 0.2
        hanging = stack.enter_context(running_key_server(key))
        hanging.delay = 60
        # Linux drops connections when the queue of those that are not accepted is full.
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        urls = (trickling.url, hanging.url, f"http://127.0.0.1:{full.getsockname()[1]}/jwks")
        *fetching, connecting = threads.map(seconds_until_unavailable, urls)
    assert all(4.5 < seconds < 8 for seconds in fetching)
    assert 1.5 < connecting < 4


# --- rotation -------------------------------------------------------------------------------


def test_a_new_key_is_picked_up_by_its_first_tokens_in_one_fetch(
    service: Service, server: KeyServer, key: SigningKey
) -> None:
    assert service.ask(key.token()) == 200
    new = SigningKey()
    server.keys.append(new)
    assert service.ask(new.token()) == service.ask(key.token()) == 200
    assert server.fetches == 2
    newer = SigningKey()
    server.keys.append(newer)
    server.delay = 0.3
    assert service.ask_at_once(*(newer.token() for _ in range(50))) == [200] * 50
    assert server.fetches <= 4


def test_a_new_key_under_an_old_kid_is_picked_up(
    service: Service, server: KeyServer, key: SigningKey
) -> None:
    old = key.token()
    assert service.ask(old) == 200
    server.keys = [SigningKey(kid=key.kid)]
    assert service.ask(server.keys[0].token()) == 200
    assert server.fetches == 2
    # The old key has left, and its remembered token with it.
    assert service.ask(old) == 401


def test_a_token_newer_than_the_fetch_that_runs_gets_another(
    service: Service, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    assert service.ask(key.token()) == 200
    clock.now += 301
    server.delay = 0.5
    server.body = server.answer()
    assert service.ask(key.token()) == 200  # starts a fetch, whose response comes late
    wait_until(lambda: server.fetches == 2)
    new = SigningKey()
    server.publish(key.jwk, new.jwk)
    assert service.ask(new.token()) == 200


def test_junk_tokens_cause_two_fetches_and_then_one_every_five_seconds(
    service: Service, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    assert service.ask(key.token()) == 200
    junk = [SigningKey().token(), SigningKey(kid=key.kid).token(), key.token()[:-4] + "AAAA"]
    for fetches in (3, 4, 5):
        assert {service.ask(token) for token in junk * 2} == {401}
        assert server.fetches == fetches
        clock.now += 4.8
        assert service.ask(junk[0]) == 401
        assert server.fetches == fetches
        clock.now += 0.2
    assert service.ask(key.token()) == 200


def test_a_drip_of_junk_tokens_delays_a_new_key_by_five_seconds(
    service: Service, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    assert service.ask(key.token()) == 200
    new, junk = SigningKey(), SigningKey()
    for _ in range(10):
        clock.now += 1
        assert service.ask(junk.token()) == 401
    server.keys = [new]
    refused = 0
    while service.ask(new.token()) == 401:
        clock.now += 1
        assert service.ask(junk.token()) == 401
        refused += 1
    assert refused <= 5


def test_a_fetch_that_failed_is_not_repeated_at_once_for_unknown_tokens(
    service: Service, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    assert service.ask(key.token()) == 200
    server.status = 500
    new = SigningKey()
    for _ in range(5):
        assert service.ask(new.token()) == 401
    assert server.fetches == 2
    # The one fetch that is left finds the new key.
    server.status, server.keys = 200, [key, new]
    clock.now += 3
    assert service.ask(new.token()) == 200
    assert server.fetches == 3


def test_a_key_that_was_removed_is_refused_after_the_next_refresh(
    service: Service, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    leaving = SigningKey()
    server.keys.append(leaving)
    remembered = leaving.token()
    assert service.ask(remembered) == 200
    server.keys.remove(leaving)
    clock.now += 301
    assert service.ask(key.token()) == 200  # starts the refresh
    wait_until(lambda: service.ask(remembered) == 401)
    assert service.ask(leaving.token()) == 401
    # It may come back.
    server.keys.append(leaving)
    clock.now += 31
    assert service.ask(remembered) == 200


# --- which keys are taken -------------------------------------------------------------------


@cache
def signing_key(algorithm: str, number: int = 0) -> SigningKey:
    """Return the nth key of an algorithm."""
    return SigningKey(algorithm, kid=f"{algorithm}-{number}")


def changed(entry: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Change fields of a JWK; `...` removes one."""
    return {name: value for name, value in {**entry, **changes}.items() if value is not ...}


def deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


# Of small order: anybody can sign under them. The last is y = p + 18, which is not canonical.
BAD_POINTS = [
    "01" + "00" * 31, "ec" + "ff" * 30 + "7f", "00" * 32, "00" * 31 + "80",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "01" + "00" * 30 + "80", "ec" + "ff" * 31, "ed" + "ff" * 30 + "7f", "ed" + "ff" * 31,
    "ee" + "ff" * 30 + "7f", "ee" + "ff" * 31, "ff" * 31 + "7f",
]  # fmt: skip
# For the key of each algorithm: changes that make it unusable.
UNUSABLE: dict[str, list[dict[str, Any]]] = {
    "EdDSA": [
        *({"use": value} for value in ("enc", None, ["sig"])),
        *({"key_ops": value} for value in (["encrypt"], ["sign"], [], 1, None)),
        *({name: base64url(bytes(32))} for name in ("d", "k")),
        *({"x": base64url(bytes(length))} for length in (0, 31, 33)),
        *({"x": base64url(bytes.fromhex(point))} for point in BAD_POINTS),
        *({"x": value} for value in (..., None, 10**15, "é" * 43, "\ud800" * 43)),
        *({"alg": value} for value in ("ES256", "none", None, ["EdDSA"])),
        *({"crv": value} for value in ("Ed448", "X25519", deep(900))),
        *({"kty": value} for value in ("AKP", ..., 1, ["OKP"], "oct")),
        *({"kid": value} for value in (1, ["a"], {"a": 1}, True)),
    ],
    "ES256": [
        *({"y": value} for value in (..., base64url(bytes(31) + b"\1"))),
        *({"crv": value} for value in (..., ["P-256"])),
        {"x": base64url(bytes(32)), "y": base64url(bytes(32))},
        {"x": 10**15},
        {"d": base64url(bytes(31) + b"\1")},
        {"crv": "P-384", "alg": "ES384"},
        {"crv": "secp256k1", "alg": "ES256K"},
        {"alg": "ES384"},
        {"kty": "OKP"},
    ],
    "RS256": [
        *({name: "AQAB"} for name in ("d", "p", "q", "dp", "dq", "qi", "oth")),
        *({"alg": value} for value in ("PS256", "RSA-OAEP-256", "HS256")),
        *({"n": value} for value in (..., "", 65537, 10**15, [1] * 300, "é" * 300)),
        {"n": number(2**2046 + 1)},
        *({"e": value} for value in (..., 10**15, number(1), number(2))),
    ],
}
NO_KEYS: list[Any] = [
    *({}, 1, 0.5, "key", "kid", None, True, [], ["kid"], deep(900)),
    *({"kid": "a", "kty": "oct", "alg": "HS256", **k} for k in ({}, {"k": base64url(b"secret")})),
    SigningKey("RS256", kid="short", bits=1024).jwk,
]


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        *((algorithm, changes) for algorithm, table in UNUSABLE.items() for changes in table),
        *((None, entry) for entry in NO_KEYS),
    ],
    ids=lambda value: f"{value!a:.52}",
)
def test_an_unusable_key_is_left_out_and_spoils_no_other(
    service: Service, server: KeyServer, algorithm: str | None, changes: Any
) -> None:
    entry = changed(signing_key(algorithm).jwk, changes) if algorithm else changes
    good = [signing_key(each, 1) for each in UNUSABLE]
    server.publish(good[0].jwk, entry, *(each.jwk for each in good[1:]))
    # Without a kid: if it were taken, two keys would fit one of these tokens.
    assert {service.ask(each.token({"kid": None})) for each in good} == {200}


def test_no_depth_of_nesting_raises_another_error(
    service: Service, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    stranger = SigningKey()
    assert service.ask(key.token()) == 200
    for depth in (*range(700, 1700, 50), *range(1480, 1502)):
        nested = "[" * depth + "]" * depth
        server.body = f'{{"keys": [{nested}, {{"x": {nested}}}, {json.dumps(key.jwk)}]}}'.encode()
        clock.now += 31
        assert [service.ask(each.token()) for each in (stranger, key)] == [401, 200]
    assert server.fetches == 43


def test_a_kid_that_stands_twice_is_left_out_and_spoils_no_other(
    service: Service, server: KeyServer
) -> None:
    twice, again, good = SigningKey(), SigningKey("ES256"), SigningKey(kid="1")
    # A kid that is not a string does not count as a duplicate.
    server.publish(
        twice.jwk, {**again.jwk, "kid": twice.kid}, good.jwk, {**SigningKey().jwk, "kid": 1}
    )
    tokens = [good.token(), twice.token(), again.token({"kid": twice.kid})]
    assert [service.ask(token) for token in tokens] == [200, 401, 401]


@pytest.mark.parametrize(
    "algorithm", ["EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512"]
)
def test_a_key_may_have_few_fields_or_many(
    service: Service, server: KeyServer, clock: Clock, algorithm: str
) -> None:
    key = signing_key(algorithm)
    for changes in (
        {"alg": ...},
        {"use": "sig"},
        {"key_ops": ["verify"]},
        {"key_ops": ["sign", "verify"], "use": "sig", "ext": True, "x5t": "odd", "exp": 1},
        {"alg": ..., "kid": ...},
    ):
        server.publish(changed(key.jwk, changes))
        clock.now += STALE_SECONDS
        assert service.ask(key.token({"kid": None} if "kid" in changes else {})) == 200


def test_an_rsa_key_without_alg_is_good_for_three_algorithms_and_one_with_it_for_one(
    service: Service, server: KeyServer, clock: Clock
) -> None:
    key = signing_key("RS256")
    other = HOSTILE["signed: RS512 by a key whose alg is RS256"]({"RS256": key})
    for changes, status in (({}, 401), ({"alg": ...}, 200)):
        server.publish(changed(key.jwk, changes))
        clock.now += STALE_SECONDS
        assert [service.ask(token) for token in (key.token(), other)] == [200, status]


def test_a_token_without_kid_is_good_where_exactly_one_key_fits(
    service: Service, server: KeyServer, clock: Clock
) -> None:
    keys = [SigningKey("ES256"), SigningKey(), SigningKey()]
    for server.keys, statuses in ((keys[:2], [200, 200, 401]), (keys, [200, 401, 401])):
        clock.now += STALE_SECONDS
        assert [service.ask(key.token({"kid": None})) for key in keys] == statuses
