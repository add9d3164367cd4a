"""Tests of the key set, each with a real key server that behaves in its own way."""

import asyncio
import gzip
import json
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cache
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI

from tests.support.keyserver import Clock, KeyServer, eventually, running_key_server
from tests.support.service import make_settings, running_service
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey, base64url, number
from utils.jwks import KeySet, KeysUnavailableError
from utils.tokens import InvalidTokenError, TokenVerifier


def with_keys[T](
    url: str, work: Callable[[KeySet], Awaitable[T]], clock: Callable[[], float] = time.monotonic
) -> T:
    """Do something with a key set of one's own."""

    async def run() -> T:
        # Without certificate authorities: to load them takes longer than most of these tests.
        async with httpx.AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as client:
            keys = KeySet(url, client, clock)
            try:
                return await work(keys)
            finally:
                await keys.aclose()

    return asyncio.run(run())


def ask(client: httpx.Client, token: str) -> httpx.Response:
    """Ask who the bearer of the token is."""
    return client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})


def assert_unavailable(answer: httpx.Response) -> None:
    """Check that the answer says to come back later."""
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0


class Stage:
    """A service whose key set can be replaced."""

    app: FastAPI
    client: httpx.Client
    _fetching: httpx.AsyncClient
    _loop: asyncio.AbstractEventLoop

    @asynccontextmanager
    async def adapt(self, app: FastAPI) -> AsyncIterator[None]:
        """Take the application for replacements."""
        self.app, self._loop = app, asyncio.get_running_loop()
        async with httpx.AsyncClient() as self._fetching:
            yield

    @contextmanager
    def with_key_set(self, url: str, clock: Clock) -> Iterator[None]:
        """Return the service a key set that has not asked for keys yet, with its own clock."""
        keys = KeySet(url, self._fetching, clock)
        self.app.state.keys, self.app.state.verifier = keys, TokenVerifier(keys)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(keys.aclose(), self._loop).result(10)


@pytest.fixture(scope="module")
def stage(database_url: str, key_server: KeyServer) -> Iterator[Stage]:
    """Run the service that the tests of this file share, one after the other."""
    stage = Stage()
    settings = make_settings(database_url, key_server.url)
    with running_service(settings, adapt=stage.adapt) as stage.client:
        yield stage


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
def service(stage: Stage, server: KeyServer, clock: Clock) -> Iterator[httpx.Client]:
    """Return a service that has not asked the key server yet."""
    with stage.with_key_set(server.url, clock):
        yield stage.client


def all_at_once[T](count: int, work: Callable[[], T]) -> list[T]:
    """Do something many times at once."""
    with ThreadPoolExecutor(count) as threads:
        return [each.result() for each in [threads.submit(work) for _ in range(count)]]


# --- how often it asks ----------------------------------------------------------------------


def test_many_requests_cost_one_fetch(
    service: httpx.Client, server: KeyServer, key: SigningKey
) -> None:
    assert server.fetches == 0
    for _ in range(10):
        assert ask(service, key.token()).status_code == 200
    assert server.fetches == 1


def test_fifty_first_requests_at_once_wait_for_one_fetch(
    service: httpx.Client, server: KeyServer, key: SigningKey
) -> None:
    server.delay = 0.3
    answers = all_at_once(50, lambda: ask(service, key.token()).status_code)
    assert answers == [200] * 50
    assert server.fetches == 1


def test_fifty_first_requests_at_once_fail_together_after_one_fetch(
    service: httpx.Client, server: KeyServer, key: SigningKey
) -> None:
    server.status, server.delay = 500, 0.3
    for answer in all_at_once(50, lambda: ask(service, key.token())):
        assert_unavailable(answer)
    assert server.fetches == 1


def test_a_key_set_is_good_for_five_minutes_then_refreshed_in_the_background(
    server: KeyServer, clock: Clock
) -> None:
    async def work(keys: KeySet) -> None:
        first = await keys.current()
        clock.now += 299
        assert await keys.current() is first
        assert server.fetches == 1
        clock.now += 2
        server.delay = 0.5
        before = time.monotonic()
        assert await keys.current() is first
        assert await keys.current() is first
        assert time.monotonic() - before < 0.3
        async with asyncio.timeout(10):
            while await keys.current() is first:  # noqa: ASYNC110 - it sets no event
                await asyncio.sleep(0.005)
        assert server.fetches == 2
        assert (await keys.current()).keys == first.keys

    with_keys(server.url, work, clock)


def test_while_the_key_server_fails_it_is_asked_every_two_seconds_at_most(
    server: KeyServer, clock: Clock
) -> None:
    async def work(keys: KeySet) -> None:
        server.status = 500
        for seconds, fetches in ((0, 1), (1, 1), (1.1, 2), (0.1, 2), (2, 3)):
            clock.now += seconds
            with pytest.raises(KeysUnavailableError):
                await keys.current()
            assert server.fetches == fetches

    with_keys(server.url, work, clock)


def test_a_key_set_of_an_hour_ago_is_not_used_without_asking(
    service: httpx.Client, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    assert ask(service, key.token()).status_code == 200
    old = key.token()
    server.keys = [SigningKey()]
    clock.now += 3601
    assert ask(service, old).status_code == 401
    assert ask(service, server.keys[0].token()).status_code == 200


def test_closing_does_not_wait_for_a_fetch(server: KeyServer) -> None:
    async def work(keys: KeySet) -> None:
        server.delay = 30
        waiting = asyncio.create_task(keys.current())
        await eventually(lambda: server.fetches == 1)
        await keys.aclose()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    before = time.monotonic()
    with_keys(server.url, work)
    assert time.monotonic() - before < 3


def test_a_service_that_stops_does_not_wait_for_a_fetch_and_says_nothing_of_it(
    database_url: str,
    key: SigningKey,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def adapt(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient() as client:
            keys = KeySet(own_server.url, client, clock)
            app.state.keys, app.state.verifier = keys, TokenVerifier(keys)
            yield
            await keys.aclose()

    with running_key_server(key) as own_server:
        settings = make_settings(database_url, own_server.url)
        with running_service(settings, adapt=adapt) as service:
            assert ask(service, key.token()).status_code == 200
            # The next request asks for the keys in the background, and is answered meanwhile.
            clock.now += 301
            own_server.delay = 30
            assert ask(service, key.token()).status_code == 200
            asyncio.run(eventually(lambda: own_server.fetches == 2))
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 3
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


# --- while the key server fails -------------------------------------------------------------


def test_a_service_outlives_its_key_server_for_an_hour_and_recovers(
    service: httpx.Client, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    token = key.token()
    assert ask(service, token).status_code == 200
    server.status = 500
    for _ in range(11):
        clock.now += 326
        assert ask(service, token).status_code == 200
        assert ask(service, key.token()).status_code == 200
    clock.now += 30
    # 3616 seconds since the last good answer: the remembered token may not be used either.
    assert_unavailable(ask(service, token))
    assert_unavailable(ask(service, key.token()))
    server.status = 200
    clock.now += 3
    assert ask(service, token).status_code == 200


@contextmanager
def answering(server: KeyServer, **changes: Any) -> Iterator[None]:
    """Let a key server answer otherwise for a while."""
    before = {name: getattr(server, name) for name in changes}
    vars(server).update(changes)
    try:
        yield
    finally:
        vars(server).update(before)


def nested(depth: int) -> bytes:
    return b'{"keys": [' + b"[" * depth + b"]" * depth + b"]}"


GARBAGE: dict[str, dict[str, Any]] = {
    "404": {"status": 404},
    "500": {"status": 500},
    "204": {"status": 204, "body": b""},
    "201 with good keys": {"status": 201},
    "401 with good keys": {"status": 401},
    "a redirect to nowhere": {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
    "a redirect to no address": {"status": 301, "headers": {"Location": "http://[::1"}},
    "a redirect to a file": {"status": 302, "headers": {"Location": "file:///etc/passwd"}},
    "nothing": {"body": b""},
    "no JSON": {"body": b"<html>"},
    "JSON cut short": {"body": b'{"keys": [{"kty": "OKP"'},
    "bytes that are no text": {"body": b"\xff\xfe\xfd"},
    "null": {"body": b"null"},
    "a number": {"body": b"1"},
    "a word": {"body": b'"keys"'},
    "a list": {"body": b"[]"},
    "an object without keys": {"body": b"{}"},
    "keys null": {"body": b'{"keys": null}'},
    "keys a number": {"body": b'{"keys": 5}'},
    "keys a word": {"body": b'{"keys": "kid"}'},
    "keys an object": {"body": b'{"keys": {"kid": {}}}'},
    "no keys": {"body": b'{"keys": []}'},
    "keys that are no objects": {"body": b'{"keys": [1, "kid", null, [], true]}'},
    "nested 1000 deep": {"body": nested(1000)},
    "nested 30,000 deep": {"body": nested(30_000)},
    "nested for ever": {"body": b"[" * 60_000},
    "a number of 50,000 digits": {"body": b'{"keys": ' + b"9" * 50_000 + b"}"},
    "more than 64 KiB": {"body": b'{"keys": []}' + b" " * 64 * 1024},
    "an endless answer": {"endless": True},
    "an unknown compression": {"headers": {"Content-Encoding": "br"}, "body": b"\x0b\x02\x80"},
    "a gzip bomb": {
        "headers": {"Content-Encoding": "gzip"},
        "body": gzip.compress(b" " * 50_000_000),
    },
}
answers = pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)


@answers
def test_without_a_key_at_hand_the_answer_is_503_whatever_the_key_server_says(
    service: httpx.Client,
    server: KeyServer,
    key: SigningKey,
    clock: Clock,
    answer: dict[str, Any],
) -> None:
    before = time.monotonic()
    with answering(server, **answer):
        assert_unavailable(ask(service, key.token()))
        # Nor is the wrong token told from the right one.
        assert_unavailable(ask(service, SigningKey().token()))
        assert server.fetches == 1
    assert time.monotonic() - before < 4
    clock.now += 3
    assert ask(service, key.token()).status_code == 200


@answers
def test_a_bad_answer_never_replaces_a_good_key_set(
    service: httpx.Client,
    server: KeyServer,
    key: SigningKey,
    clock: Clock,
    answer: dict[str, Any],
) -> None:
    token = key.token()
    assert ask(service, token).status_code == 200
    with answering(server, **answer):
        # One that asks for a refresh and waits for it …
        assert ask(service, SigningKey().token()).status_code == 401
        assert server.fetches == 2
        # … and the one of every five minutes.
        clock.now += 301
        for _ in range(3):
            assert ask(service, token).status_code == 200
            assert ask(service, key.token()).status_code == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    service: httpx.Client, server: KeyServer, key: SigningKey, status: int
) -> None:
    with running_key_server(key) as elsewhere:
        server.status, server.headers = status, {"Location": elsewhere.url}
        assert_unavailable(ask(service, key.token()))
        assert elsewhere.fetches == 0


def test_of_an_endless_answer_little_is_read(
    service: httpx.Client, server: KeyServer, key: SigningKey
) -> None:
    server.endless = True
    assert_unavailable(ask(service, key.token()))
    server.endless = False
    # What the sockets' buffers take, and not the gigabytes that it would have sent in that time.
    assert server.sent < 32 * 1024 * 1024


def test_a_key_set_of_64_kib_is_read_and_a_byte_more_is_not(
    server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    body = json.dumps({"keys": [key.jwk]}).encode()

    async def work(keys: KeySet) -> None:
        server.body = body.ljust(64 * 1024 + 1)
        with pytest.raises(KeysUnavailableError):
            await keys.current()
        clock.now += 3
        server.body = body.ljust(64 * 1024)
        assert len((await keys.current()).keys) == 1

    with_keys(server.url, work, clock)


def test_a_compressed_answer_is_not_unpacked(server: KeyServer, key: SigningKey) -> None:
    server.body = gzip.compress(json.dumps({"keys": [key.jwk]}).encode())
    server.headers = {"Content-Encoding": "gzip"}

    async def work(keys: KeySet) -> None:
        with pytest.raises(KeysUnavailableError):
            await keys.current()

    with_keys(server.url, work)


@pytest.mark.slow
def test_a_fetch_takes_five_seconds_at_most_however_slowly_the_answer_comes(
    key: SigningKey,
) -> None:
    def seconds(server: KeyServer) -> float:
        async def work(keys: KeySet) -> float:
            before = time.monotonic()
            with pytest.raises(KeysUnavailableError):
                await keys.current()
            return time.monotonic() - before

        return with_keys(server.url, work)

    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        trickling = stack.enter_context(running_key_server(key))
        trickling.trickle = 0.2
        hanging = stack.enter_context(running_key_server(key))
        hanging.delay = 60
        for took in threads.map(seconds, [trickling, hanging]):
            assert 4.5 < took < 8


@pytest.mark.slow
def test_connecting_takes_two_seconds_at_most() -> None:
    with socket.socket() as listener, ExitStack() as stack:
        # Linux drops what comes when the queue of connections is full.
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())

        async def work(keys: KeySet) -> None:
            with pytest.raises(KeysUnavailableError):
                await keys.current()

        before = time.monotonic()
        with_keys(f"http://127.0.0.1:{listener.getsockname()[1]}/jwks", work)
        assert 1.5 < time.monotonic() - before < 4


def test_a_key_server_that_is_away_gives_503_until_it_is_back(
    stage: Stage, key: SigningKey, clock: Clock
) -> None:
    with running_key_server(key) as server:
        url = server.url
    with stage.with_key_set(url, clock):
        for _ in range(2):
            assert_unavailable(ask(stage.client, key.token()))
        clock.now += 3
        with running_key_server(key, port=httpx.URL(url).port or 0):
            assert ask(stage.client, key.token()).status_code == 200
        # And away again: its keys are good for a while.
        assert ask(stage.client, key.token()).status_code == 200
        assert ask(stage.client, SigningKey().token()).status_code == 401


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"\0" * 99])
def test_a_key_server_that_speaks_no_http_gives_503(
    stage: Stage, key: SigningKey, clock: Clock, raw: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as threads:

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(raw)

        talking = threads.submit(talk)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/jwks"
        with stage.with_key_set(url, clock):
            assert_unavailable(ask(stage.client, key.token()))
        talking.result()


# --- rotation -------------------------------------------------------------------------------


def test_a_new_key_is_picked_up_by_the_first_token_that_it_signs(
    service: httpx.Client, server: KeyServer, key: SigningKey
) -> None:
    assert ask(service, key.token()).status_code == 200
    new = SigningKey()
    server.keys.append(new)
    assert ask(service, new.token()).status_code == 200
    assert ask(service, key.token()).status_code == 200
    assert server.fetches == 2


def test_fifty_first_tokens_of_a_new_key_at_once_cost_one_fetch(
    service: httpx.Client, server: KeyServer, key: SigningKey
) -> None:
    assert ask(service, key.token()).status_code == 200
    new = SigningKey()
    server.keys.append(new)
    server.delay = 0.3
    tokens = iter([new.token() for _ in range(50)])
    assert all_at_once(50, lambda: ask(service, next(tokens)).status_code) == [200] * 50
    assert server.fetches <= 3


def test_a_new_key_under_an_old_kid_is_picked_up(
    service: httpx.Client, server: KeyServer, key: SigningKey
) -> None:
    old = key.token()
    assert ask(service, old).status_code == 200
    new = SigningKey(kid=key.kid)
    server.keys = [new]
    assert ask(service, new.token()).status_code == 200
    assert server.fetches == 2
    # The old key has left, and its remembered token with it.
    assert ask(service, old).status_code == 401


def test_a_token_that_a_fetch_under_way_cannot_know_of_is_waited_for(
    service: httpx.Client, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    assert ask(service, key.token()).status_code == 200
    clock.now += 301
    server.delay = 0.5
    server.body = server.answer()
    assert ask(service, key.token()).status_code == 200  # begins a fetch that is answered late
    while server.fetches < 2:
        time.sleep(0.005)
    new = SigningKey()
    server.publish(key.jwk, new.jwk)
    assert ask(service, new.token()).status_code == 200


def test_tokens_that_fit_no_key_ask_twice_and_then_every_five_seconds(
    service: httpx.Client, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    assert ask(service, key.token()).status_code == 200
    bad = [SigningKey().token(), SigningKey(kid=key.kid).token(), key.token()[:-4] + "AAAA"]
    for fetches in (3, 4, 5):
        for token in bad * 2:
            assert ask(service, token).status_code == 401
        assert server.fetches == fetches
        clock.now += 4.8
        assert ask(service, bad[0]).status_code == 401
        assert server.fetches == fetches
        clock.now += 0.2
    assert ask(service, key.token()).status_code == 200


def test_a_drip_of_tokens_that_fit_no_key_delays_a_new_key_by_five_seconds(
    service: httpx.Client, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    assert ask(service, key.token()).status_code == 200
    new, drip = SigningKey(), SigningKey()
    for _ in range(10):
        clock.now += 1
        assert ask(service, drip.token()).status_code == 401
    server.keys = [new]
    refused = 0
    while ask(service, new.token()).status_code == 401:
        clock.now += 1
        assert ask(service, drip.token()).status_code == 401
        refused += 1
    assert refused <= 5


def test_fetches_that_failed_are_not_repeated_at_once_for_unknown_tokens(
    service: httpx.Client, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    assert ask(service, key.token()).status_code == 200
    server.status = 500
    new = SigningKey()
    for _ in range(5):
        assert ask(service, new.token()).status_code == 401
    assert server.fetches == 2
    # The one fetch that is left finds the new key.
    server.status, server.keys = 200, [key, new]
    clock.now += 3
    assert ask(service, new.token()).status_code == 200
    assert server.fetches == 3


def test_a_key_that_was_removed_is_refused_after_the_next_refresh(
    service: httpx.Client, server: KeyServer, key: SigningKey, clock: Clock
) -> None:
    leaving = SigningKey()
    server.keys.append(leaving)
    remembered = leaving.token()
    assert ask(service, remembered).status_code == 200
    server.keys.remove(leaving)
    clock.now += 301
    assert ask(service, key.token()).status_code == 200  # begins the refresh
    deadline = time.monotonic() + 10
    while ask(service, remembered).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for token in (remembered, leaving.token()):
        assert ask(service, token).status_code == 401
    # It may come back.
    server.keys.append(leaving)
    clock.now += 31
    assert ask(service, remembered).status_code == 200


# --- which keys are taken -------------------------------------------------------------------


def ed(**changes: Any) -> dict[str, Any]:
    return {**SigningKey().jwk, **changes}


def elliptic(**changes: Any) -> dict[str, Any]:
    return {**SigningKey("ES256").jwk, **changes}


@cache
def modulus(bits: int) -> int:
    return rsa.generate_private_key(65537, bits).public_key().public_numbers().n


@cache
def signing_key(algorithm: str) -> SigningKey:
    return SigningKey(algorithm)


def rsa_key(bits: int = 2048, exponent: int = 65537, **changes: Any) -> dict[str, Any]:
    entry = {"kid": "rsa", "alg": "RS256", "kty": "RSA", "n": number(modulus(bits))}
    return {**entry, "e": number(exponent), **changes}


def lacking(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return {each: value for each, value in entry.items() if each != name}


def with_member(make: Callable[[], dict[str, Any]], name: str) -> Callable[[], dict[str, Any]]:
    return lambda: {**make(), name: "AQAB"}


def deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


UNUSABLE: dict[str, Callable[[], Any]] = {
    "use enc": lambda: ed(use="enc"),
    "use null": lambda: ed(use=None),
    "use a list": lambda: ed(use=["sig"]),
    "key_ops encrypt": lambda: ed(key_ops=["encrypt"]),
    "key_ops sign": lambda: ed(key_ops=["sign"]),
    "key_ops none": lambda: ed(key_ops=[]),
    "key_ops a number": lambda: ed(key_ops=1),
    "key_ops null": lambda: ed(key_ops=None),
    "private Ed25519": lambda: ed(d=base64url(bytes(32))),
    "private EC": lambda: elliptic(d=base64url(bytes(31) + b"\1")),
    "private RSA": lambda: rsa_key(d="AQAB"),
    **{
        f"private RSA by its {name}": with_member(rsa_key, name)
        for name in ("p", "q", "dp", "dq", "qi", "oth")
    },
    "symmetric": lambda: {"kid": "a", "kty": "oct", "alg": "HS256", "k": base64url(b"secret")},
    "symmetric without a secret": lambda: {"kid": "a", "kty": "oct", "alg": "HS256"},
    "symmetric that says it is Ed25519": lambda: ed(k=base64url(b"secret")),
    "RSA of 1024 bits": lambda: rsa_key(1024),
    "RSA of 2047 bits": lambda: rsa_key(n=number(2**2046 + 1)),
    "RSA with exponent 1": lambda: rsa_key(exponent=1),
    "RSA with exponent 2": lambda: rsa_key(exponent=2),
    "RSA without exponent": lambda: lacking(rsa_key(), "e"),
    "RSA without modulus": lambda: lacking(rsa_key(), "n"),
    "RSA with an empty modulus": lambda: rsa_key(n=""),
    "RSA whose modulus is a number": lambda: rsa_key(n=65537),
    "RSA whose modulus is a huge number": lambda: rsa_key(n=10**15),
    "RSA whose exponent is a huge number": lambda: rsa_key(e=10**15),
    "RSA whose modulus is a list": lambda: rsa_key(n=[1] * 300),
    "RSA whose modulus is no ASCII": lambda: rsa_key(n="é" * 300),
    "RSA for PS256": lambda: rsa_key(alg="PS256"),
    "RSA for encryption": lambda: rsa_key(alg="RSA-OAEP-256"),
    "RSA for HS256": lambda: rsa_key(alg="HS256"),
    "EC off the curve": lambda: elliptic(y=base64url(bytes(31) + b"\1")),
    "EC at infinity": lambda: elliptic(x=base64url(bytes(32)), y=base64url(bytes(32))),
    "EC of another curve's size": lambda: elliptic(crv="P-384", alg="ES384"),
    "EC without y": lambda: lacking(elliptic(), "y"),
    "EC whose x is a number": lambda: elliptic(x=10**15),
    "EC of an unknown curve": lambda: elliptic(crv="secp256k1", alg="ES256K"),
    "EC without curve": lambda: lacking(elliptic(), "crv"),
    "EC whose curve is a list": lambda: elliptic(crv=["P-256"]),
    "EC for another algorithm": lambda: elliptic(alg="ES384"),
    "EC that says it is OKP": lambda: elliptic(kty="OKP"),
    "Ed25519 too short": lambda: ed(x=base64url(bytes(31))),
    "Ed25519 too long": lambda: ed(x=base64url(bytes(33))),
    "Ed25519 empty": lambda: ed(x=""),
    "Ed25519 without x": lambda: lacking(ed(), "x"),
    "Ed25519 whose x is a number": lambda: ed(x=10**15),
    "Ed25519 whose x is null": lambda: ed(x=None),
    "Ed25519 whose x is no ASCII": lambda: ed(x="é" * 43),
    "Ed25519 whose x is a surrogate": lambda: ed(x="\ud800" * 43),
    "Ed25519 for ES256": lambda: ed(alg="ES256"),
    "Ed25519 for none": lambda: ed(alg="none"),
    "Ed25519 whose alg is null": lambda: ed(alg=None),
    "Ed25519 whose alg is a list": lambda: ed(alg=["EdDSA"]),
    "Ed448": lambda: ed(crv="Ed448"),
    "X25519": lambda: ed(crv="X25519"),
    "kty unknown": lambda: ed(kty="AKP"),
    "kty missing": lambda: lacking(ed(), "kty"),
    "kty a number": lambda: ed(kty=1),
    "kty a list": lambda: ed(kty=["OKP"]),
    "kid a number": lambda: ed(kid=1),
    "kid a list": lambda: ed(kid=["a"]),
    "kid an object": lambda: ed(kid={"a": 1}),
    "kid true": lambda: ed(kid=True),
    "an empty object": dict,
    "a number": lambda: 1,
    "a fraction": lambda: 0.5,
    "a word": lambda: "key",
    "the word kid": lambda: "kid",
    "null": lambda: None,
    "true": lambda: True,
    "a list": list,
    "a list that says kid": lambda: ["kid"],
    "nested 900 deep": lambda: deep(900),
    "a member nested 900 deep": lambda: {"kty": "OKP", "crv": deep(900)},
}


@pytest.mark.parametrize("entry", UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_key_is_left_out_and_spoils_no_other(
    server: KeyServer, entry: Callable[[], Any]
) -> None:
    first, last = SigningKey(), SigningKey("ES256")
    server.publish(first.jwk, entry(), last.jwk)

    async def work(keys: KeySet) -> None:
        verifier = TokenVerifier(keys)
        for good in (first, last):
            await verifier.verify(good.token(), ISSUER, AUDIENCE)
        assert [key.kid for key in (await keys.current()).keys] == [first.kid, last.kid]

    with_keys(server.url, work)


def test_no_depth_of_nesting_in_a_key_set_lets_an_error_out(
    server: KeyServer, clock: Clock
) -> None:
    good = SigningKey()
    shallow = json.dumps(good.jwk)

    async def work(keys: KeySet) -> None:
        await keys.current()
        for depth in (*range(700, 1700, 50), *range(1480, 1502)):
            clock.now += 31
            server.body = (
                f'{{"keys": [{"[" * depth}{"]" * depth}, {{"x": {"[" * depth}{"]" * depth}}},'
                f" {shallow}]}}"
            ).encode()
            await keys.refreshed(since=clock())
            assert (await keys.current()).keys

    with_keys(server.url, work, clock)


def test_a_kid_that_stands_twice_is_left_out_and_spoils_no_other(server: KeyServer) -> None:
    twice, again, good = SigningKey(), SigningKey("ES256"), SigningKey()
    server.publish(twice.jwk, {**again.jwk, "kid": twice.kid}, good.jwk)

    async def work(keys: KeySet) -> None:
        verifier = TokenVerifier(keys)
        await verifier.verify(good.token(), ISSUER, AUDIENCE)
        for key in (twice, again):
            with pytest.raises(InvalidTokenError):
                await verifier.verify(key.token({"kid": twice.kid}), ISSUER, AUDIENCE)

    with_keys(server.url, work)


def test_a_kid_that_is_no_string_does_not_count_as_one(server: KeyServer) -> None:
    one, none = SigningKey(kid="1"), SigningKey(kid="None")
    server.publish(one.jwk, ed(kid=1), none.jwk, ed(kid=None))

    async def work(keys: KeySet) -> None:
        verifier = TokenVerifier(keys)
        for key in (one, none):
            await verifier.verify(key.token(), ISSUER, AUDIENCE)

    with_keys(server.url, work)


ALGORITHMS = ("EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    "members",
    [
        {"alg": None},
        {"use": "sig"},
        {"key_ops": ["verify"]},
        {"key_ops": ["sign", "verify"], "use": "sig", "ext": True, "x5t": "odd", "exp": 1},
        {"alg": None, "kid": None},
    ],
    ids=str,
)
def test_a_key_may_say_little_or_much_of_itself(
    server: KeyServer, algorithm: str, members: dict[str, Any]
) -> None:
    key = signing_key(algorithm)
    changed = {**key.jwk, **members}
    server.publish({name: value for name, value in changed.items() if value is not None})

    async def work(keys: KeySet) -> None:
        token = key.token({"kid": None} if "kid" in members else None)
        await TokenVerifier(keys).verify(token, ISSUER, AUDIENCE)

    with_keys(server.url, work)


def test_an_rsa_key_without_alg_is_good_for_three_algorithms_and_one_with_it_for_one(
    server: KeyServer,
) -> None:
    free = signing_key("RS384")
    bound = {**free.jwk, "kid": "bound"}
    server.publish(lacking(free.jwk, "alg"), bound)

    async def work(keys: KeySet) -> None:
        by_kid = {key.kid: set(key.algorithms) for key in (await keys.current()).keys}
        assert by_kid == {free.kid: {"RS256", "RS384", "RS512"}, "bound": {"RS384"}}

    with_keys(server.url, work)


def test_a_token_without_kid_is_good_where_exactly_one_key_fits(server: KeyServer) -> None:
    one, two, other = SigningKey("ES256"), SigningKey("EdDSA"), SigningKey("EdDSA")
    server.keys = [one, two]

    async def work(keys: KeySet) -> None:
        verifier = TokenVerifier(keys)
        for key in (one, two):
            await verifier.verify(key.token({"kid": None}), ISSUER, AUDIENCE)
        with pytest.raises(InvalidTokenError):
            await verifier.verify(other.token({"kid": None}), ISSUER, AUDIENCE)
        server.keys.append(other)
        await keys.refreshed(since=keys.now())
        for key in (two, other):
            with pytest.raises(InvalidTokenError):
                await verifier.verify(key.token({"kid": None}), ISSUER, AUDIENCE)
        await verifier.verify(one.token({"kid": None}), ISSUER, AUDIENCE)

    with_keys(server.url, work)
