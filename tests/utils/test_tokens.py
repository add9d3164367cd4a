"""Tests of bearer tokens: which are believed, and that no other ever is (RFC 7515, 7519, 8725)."""

import asyncio
import base64
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.support.hostile import (
    HOSTILE,
    LONG,
    Forge,
    Keys,
    header,
    in_claims,
    in_header,
    signature,
)
from tests.support.keyserver import Clock, KeyServer, eventually, running_key_server
from tests.support.service import make_settings, running_service
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey, base64url, good_claims
from utils import tokens
from utils.eddsa import Ed25519Key
from utils.jwks import KeySet
from utils.tokens import Claims, InvalidTokenError, TokenVerifier

ALGORITHMS = ("EdDSA", "Ed25519", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512")


@pytest.fixture(scope="module")
def keys() -> Keys:
    """Give one key for each algorithm."""
    return {algorithm: SigningKey(algorithm) for algorithm in ALGORITHMS}


@pytest.fixture(scope="module")
def service(database_url: str, keys: Keys) -> Iterator[httpx.Client]:
    """Run a service that knows the keys."""
    with (
        running_key_server(*keys.values()) as server,
        running_service(make_settings(database_url, server.url)) as client,
    ):
        yield client


def ask(client: httpx.Client, token: str | bytes) -> httpx.Response:
    """Ask who the bearer of the token is."""
    raw = token if isinstance(token, bytes) else token.encode()
    return client.get("/api/auth/me", headers={b"Authorization": b"Bearer " + raw})


def assert_refused(answer: httpx.Response, token: str) -> None:
    """Check that the answer is 401 in the one shape that errors have, and tells no secret."""
    assert answer.status_code == 401, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == 401
    told = answer.text + str(answer.headers)
    for part in token.split("."):
        assert len(part) < 8 or part not in told
        with suppress(ValueError):
            spelled = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
            for word in re.findall(r"[\w:/@.-]{8,}", spelled.decode("utf-8", "ignore")):
                assert word not in told


@pytest.mark.parametrize(
    ("forge", "detail"),
    [
        pytest.param(forge, detail, id=reason.encode("unicode_escape").decode())
        for detail, forges in HOSTILE.items()
        for reason, forge in forges.items()
    ],
)
def test_a_hostile_token_is_refused_for_its_own_fault(
    service: httpx.Client, keys: Keys, forge: Forge, detail: str
) -> None:
    token = forge(keys)
    answer = ask(service, token)
    assert_refused(answer, token)
    assert answer.json()["detail"] == detail


def test_there_are_more_than_300_hostile_tokens_and_no_two_are_the_same(keys: Keys) -> None:
    forged = [forge(keys) for forges in HOSTILE.values() for forge in forges.values()]
    assert len(forged) > 300
    assert len(set(forged)) == len(forged)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "at+jwt", "AT+JWT"])
def test_every_algorithm_and_every_type_of_a_jwt_is_good(
    service: httpx.Client, keys: Keys, algorithm: str, typ: str | None
) -> None:
    assert ask(service, keys[algorithm].token({"typ": typ})).status_code == 200


def test_an_ed25519_key_is_good_under_both_names_of_its_algorithm(
    service: httpx.Client, keys: Keys
) -> None:
    for key, name in (("EdDSA", "Ed25519"), ("Ed25519", "EdDSA")):
        assert ask(service, keys[key].token({"alg": name})).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"aud": [AUDIENCE]}, id="aud a list"),
        pytest.param({"aud": ["https://other.example", AUDIENCE]}, id="aud a list with others"),
        pytest.param({"iat": None}, id="no iat"),
        pytest.param({"nbf": 0}, id="nbf long ago"),
        pytest.param({"nbf": 1.5, "iat": 1.5}, id="nbf and iat with a fraction"),
        pytest.param({"exp": 99999999999.5}, id="exp with a fraction"),
        pytest.param({"exp": 10**20}, id="exp beyond any calendar"),
        pytest.param({"exp": 10**300}, id="exp far beyond any calendar"),
        pytest.param({"jti": ["odd"], "scope": 5, "azp": None, "nested": {"a": [1]}}, id="more"),
        pytest.param({"emailVerified": "true"}, id="emailVerified a word"),
    ],
)
def test_what_the_contract_leaves_free_is_good(
    service: httpx.Client, keys: Keys, changes: dict[str, Any]
) -> None:
    assert ask(service, keys["EdDSA"].token(**changes)).status_code == 200


@pytest.mark.parametrize(
    "member",
    [
        {"jku": "https://attacker.example/jwks"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"x5u": "https://attacker.example/"},
        {"x5c": ["MIIB"]},
        {"cty": "json"},
        {"x": None},
    ],
    ids=str,
)
def test_header_members_that_offer_a_key_change_nothing_for_a_good_token(
    service: httpx.Client, keys: Keys, member: dict[str, Any]
) -> None:
    token = header(**member)(keys)
    assert ask(service, token).status_code == 200


@pytest.mark.parametrize("name", ["jku", "x5u"])
def test_an_address_in_a_header_is_never_followed(service: httpx.Client, name: str) -> None:
    attacker = SigningKey()
    with running_key_server(attacker) as server:
        token = attacker.token({name: server.url})
        assert_refused(ask(service, token), token)
        assert server.fetches == 0


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_clocks_may_be_ten_seconds_apart(service: httpx.Client, keys: Keys, name: str) -> None:
    sign = -1 if name == "exp" else 1
    for apart, status in ((5, 200), (20, 401)):
        changes: dict[str, Any] = {name: time.time() + sign * apart}
        token = keys["EdDSA"].token(**changes)
        assert ask(service, token).status_code == status


def test_a_token_of_16_kib_is_good_and_a_byte_more_is_not(
    service: httpx.Client, keys: Keys
) -> None:
    def token(length: int) -> str:
        for blanks in range(3):
            head = {"alg": "EdDSA", "kid": keys["EdDSA"].kid, "x": " " * blanks}
            body = json.dumps(good_claims())
            for size in range(length * 3 // 4 - 700, length * 3 // 4):
                made = len(base64url(json.dumps(head).encode())) + (size * 4 + 2) // 3 + 88
                if made == length:
                    return keys["EdDSA"].raw_token(head, body.ljust(size).encode())
        raise AssertionError

    exact, longer = token(16 * 1024), token(16 * 1024 + 1)
    assert (len(exact), len(longer)) == (16 * 1024, 16 * 1024 + 1)
    assert ask(service, exact).status_code == 200
    assert ask(service, longer).json()["detail"] == LONG


def test_no_depth_of_nesting_gives_an_error_of_ours(service: httpx.Client, keys: Keys) -> None:
    for depth in (900, 990, 1000, 1400, *range(1480, 1510), 3000):
        nested = f'"x": {"[" * depth}{"]" * depth}'
        for forge in (in_header(nested), in_claims(nested)):
            assert ask(service, forge(keys)).status_code in (200, 401)


# --- changed tokens -------------------------------------------------------------------------

quick = settings(
    max_examples=400,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# What may stand in a header: RFC 9110 §5.5.
legal = st.binary(min_size=1, max_size=3).map(
    lambda raw: bytes(each if each > 0x1F and each != 0x7F else each % 64 + 0x30 for each in raw)
)


def edited(text: bytes, where: int, edit: str, by: bytes) -> bytes:
    """Change a text in one place."""
    where %= len(text)
    match edit:
        case "insert":
            return text[:where] + by + text[where:]
        case "delete":
            return text[:where] + text[where + len(by) :]
        case "replace":
            return text[:where] + by + text[where + len(by) :]
        case "repeat":
            return text[:where] + text[where : where + len(by)] * 2 + text[where + len(by) :]
        case _:
            return text[:where] + bytes([text[where] ^ (1 << by[0] % 8)]) + text[where + 1 :]


edits = st.sampled_from(["flip", "insert", "delete", "replace", "repeat"])


@pytest.fixture(scope="module")
def good(service: httpx.Client, keys: Keys) -> dict[str, str]:
    """Give good tokens, which the service has accepted (and so remembers)."""
    made = {name: keys[name].token() for name in ("EdDSA", "ES256", "RS256")}
    for token in made.values():
        assert ask(service, token).status_code == 200
    return made


@quick
@given(
    algorithm=st.sampled_from(["EdDSA", "ES256", "RS256"]),
    part=st.integers(0, 2),
    where=st.integers(0, 1000),
    edit=edits,
    by=st.binary(min_size=1, max_size=3),
)
def test_no_token_with_a_changed_byte_is_accepted(  # noqa: PLR0913 - what hypothesis varies
    service: httpx.Client,
    good: dict[str, str],
    *,
    algorithm: str,
    part: int,
    where: int,
    edit: str,
    by: bytes,
) -> None:
    parts = good[algorithm].split(".")
    changed = edited(base64.urlsafe_b64decode(parts[part] + "==="), where, edit, by)
    parts[part] = base64url(changed)
    token = ".".join(parts)
    assume(token != good[algorithm])
    assert_refused(ask(service, token), token)


@quick
@given(
    algorithm=st.sampled_from(["EdDSA", "ES256", "RS256"]),
    where=st.integers(0, 2000),
    edit=edits,
    by=legal,
)
def test_no_token_with_a_changed_character_is_accepted(  # noqa: PLR0913 - what hypothesis varies
    service: httpx.Client, good: dict[str, str], *, algorithm: str, where: int, edit: str, by: bytes
) -> None:
    changed = edited(good[algorithm].encode(), where, edit, by)
    changed = bytes(each if each > 0x1F and each != 0x7F else 0x41 for each in changed)
    # Blanks at the ends are not the token's, but the header's.
    assume(changed.strip() != good[algorithm].encode())
    assert_refused(ask(service, changed), changed.decode("latin-1"))


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.emails()
)
values = st.recursive(
    scalars,
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=4), each, max_size=3)
    ),
    max_leaves=5,
)


@settings(quick, max_examples=200)
@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x"]), values, max_size=2),
    claims=st.dictionaries(
        st.sampled_from(["sub", "iss", "aud", "exp", "nbf", "iat", "email", "emailVerified", "x"]),
        values | st.characters().map(lambda each: f"{each}@example.com"),
        max_size=3,
    ),
)
def test_whatever_our_own_key_signs_the_service_answers_calmly(
    service: httpx.Client, keys: Keys, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    token = keys["EdDSA"].raw_token(
        {"alg": "EdDSA", "kid": keys["EdDSA"].kid, **header}, {**good_claims(), **claims}
    )
    assert ask(service, token).status_code in (200, 401, 403)


# --- what is remembered ---------------------------------------------------------------------


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Count how often an Ed25519 signature is verified."""
    counted: list[bytes] = []
    verify = Ed25519Key.verify

    def counting(self: Ed25519Key, msg: bytes, sig: bytes) -> bool:
        counted.append(sig)
        return verify(self, msg, sig)

    monkeypatch.setattr(Ed25519Key, "verify", counting)
    return counted


def test_a_signature_is_verified_once_however_often_the_token_comes(
    service: httpx.Client, keys: Keys, verifications: list[bytes]
) -> None:
    token = keys["EdDSA"].token()
    for _ in range(5):
        assert ask(service, token).status_code == 200
    assert len(verifications) == 1


def test_a_refused_token_is_not_remembered_as_good(
    service: httpx.Client, keys: Keys, verifications: list[bytes]
) -> None:
    token = signature(lambda each: each[:-1] + bytes([each[-1] ^ 1]))(keys)
    for _ in range(2):
        assert_refused(ask(service, token), token)
    assert len(verifications) >= 2


def with_verifier[T](
    server: KeyServer,
    clock: Callable[[], float],
    work: Callable[[TokenVerifier], Awaitable[T]],
    key_clock: Callable[[], float] = time.monotonic,
) -> T:
    """Do something with a verifier whose clock is ours."""

    async def run() -> T:
        async with httpx.AsyncClient() as client:
            key_set = KeySet(server.url, client, key_clock)
            try:
                return await work(TokenVerifier(key_set, ISSUER, AUDIENCE, clock))
            finally:
                await key_set.aclose()

    return asyncio.run(run())


def test_a_remembered_token_is_refused_once_it_has_expired(
    key: SigningKey, key_server: KeyServer, verifications: list[bytes]
) -> None:
    clock = Clock()
    token = key.token(exp=clock.now + 100, iat=clock.now)

    async def work(verifier: TokenVerifier) -> None:
        await verifier.verify(token)
        clock.now += 109
        await verifier.verify(token)
        assert len(verifications) == 1
        clock.now += 2
        with pytest.raises(InvalidTokenError, match="expired"):
            await verifier.verify(token)
        assert not verifier._remembered

    with_verifier(key_server, clock, work)


@pytest.mark.parametrize(
    ("name", "offset", "is_good"),
    [
        ("exp", -10, False),
        ("exp", -9.999, True),
        ("nbf", 10, True),
        ("nbf", 10.001, False),
        ("iat", 10, True),
        ("iat", 10.001, False),
    ],
)
def test_the_leeway_is_ten_seconds_and_no_more(
    key: SigningKey, key_server: KeyServer, name: str, offset: float, *, is_good: bool
) -> None:
    now = 1_000_000.0
    changes: dict[str, Any] = {"exp": now + 60, "iat": now, name: now + offset}
    token = key.token(**changes)

    async def work(verifier: TokenVerifier) -> Claims:
        return await verifier.verify(token)

    if is_good:
        with_verifier(key_server, lambda: now, work)
    else:
        with pytest.raises(InvalidTokenError):
            with_verifier(key_server, lambda: now, work)


def test_the_memory_of_tokens_is_bounded(
    key: SigningKey,
    key_server: KeyServer,
    verifications: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "MAX_REMEMBERED", 3)
    made = [key.token() for _ in range(5)]

    async def work(verifier: TokenVerifier) -> None:
        for token in made:
            await verifier.verify(token)
            assert len(verifier._remembered) <= 3
        await verifier.verify(made[-1])
        assert len(verifications) == 5
        await verifier.verify(made[0])
        assert len(verifications) == 6

    with_verifier(key_server, time.time, work)


def test_no_token_stands_in_the_memory_of_tokens(key: SigningKey, key_server: KeyServer) -> None:
    token = key.token()

    async def work(verifier: TokenVerifier) -> None:
        await verifier.verify(token)
        assert token.rsplit(".", 1)[1] not in repr(verifier._remembered)
        assert list(verifier._remembered) == [hashlib.sha256(token.encode()).digest()]

    with_verifier(key_server, time.time, work)


def test_a_remembered_token_is_refused_when_its_key_has_left_the_key_set() -> None:
    leaving, staying = SigningKey(), SigningKey()
    clock = Clock()
    with running_key_server(leaving, staying) as server:

        async def work(verifier: TokenVerifier) -> None:
            old, new = leaving.token(), staying.token()
            await verifier.verify(old)
            await verifier.verify(new)
            server.keys.remove(leaving)
            clock.now += 301
            await verifier.verify(old)  # asks for the refresh, which runs in the background
            await eventually(lambda: len(verifier._keys._snapshot.keys) == 1)
            with pytest.raises(InvalidTokenError):
                await verifier.verify(old)
            await verifier.verify(new)

        with_verifier(server, time.time, work, clock)


def test_a_key_that_stays_over_a_refresh_keeps_its_tokens_remembered(
    verifications: list[bytes],
) -> None:
    key = SigningKey()
    clock = Clock()
    with running_key_server(key) as server:

        async def work(verifier: TokenVerifier) -> None:
            token = key.token()
            await verifier.verify(token)
            clock.now += 301
            await verifier.verify(token)
            await eventually(lambda: verifier._keys._fetch is None)
            await verifier.verify(token)
            assert (server.fetches, len(verifications)) == (2, 1)

        with_verifier(server, time.time, work, clock)
