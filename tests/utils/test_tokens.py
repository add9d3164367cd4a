"""Tests of bearer tokens: which are accepted, and that no other ever is (RFC 7515, 7519, 8725)."""

import asyncio
import base64
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext, suppress
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
from tests.support.keyserver import Clock, KeyServer, running_key_server
from tests.support.service import make_settings, running_service
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey, base64url, good_claims
from utils.eddsa import Ed25519Key
from utils.jwks import KeySet, Snapshot
from utils.tokens import Claims, InvalidTokenError, TokenVerifier

Verify = Callable[[str], Claims]

ALGORITHMS = ("EdDSA", "Ed25519", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512")


@pytest.fixture(scope="module")
def keys() -> Keys:
    """Return one key for each algorithm."""
    return {algorithm: SigningKey(algorithm) for algorithm in ALGORITHMS}


@pytest.fixture(scope="module")
def service(database_url: str, keys: Keys) -> Iterator[httpx.Client]:
    """Run a service that knows the keys."""
    with (
        running_key_server(*keys.values()) as server,
        running_service(make_settings(database_url, server.url)) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def verify(keys: Keys) -> Iterator[Verify]:
    """Return a function that checks a token as the service does, without HTTP."""
    with running_key_server(*keys.values()) as server, asyncio.Runner() as runner:
        client = httpx.AsyncClient()
        verifier = TokenVerifier(KeySet(server.url, client))
        yield lambda token: runner.run(verifier.verify(token, ISSUER, AUDIENCE))
        runner.run(client.aclose())


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
    verify: Verify, keys: Keys, forge: Forge, detail: str
) -> None:
    with pytest.raises(InvalidTokenError) as refused:
        verify(forge(keys))
    assert str(refused.value) == detail


@pytest.mark.parametrize("detail", HOSTILE)
def test_a_refused_token_is_401_with_the_reason_and_nothing_of_the_token(
    service: httpx.Client, keys: Keys, detail: str
) -> None:
    token = next(iter(HOSTILE[detail].values()))(keys)
    response = ask(service, token)
    assert_refused(response, token)
    assert response.json()["detail"] == detail


def test_there_are_more_than_300_hostile_tokens_and_no_two_are_the_same(keys: Keys) -> None:
    forged = [forge(keys) for forges in HOSTILE.values() for forge in forges.values()]
    assert len(forged) > 300
    assert len(set(forged)) == len(forged)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "at+jwt", "AT+JWT"])
def test_every_algorithm_and_every_type_of_a_jwt_is_good(
    verify: Verify, keys: Keys, algorithm: str, typ: str | None
) -> None:
    assert verify(keys[algorithm].token({"typ": typ}, sub="me")).subject == "me"


def test_an_ed25519_key_is_good_under_both_names_of_its_algorithm(
    verify: Verify, keys: Keys
) -> None:
    for key, name in (("EdDSA", "Ed25519"), ("Ed25519", "EdDSA")):
        assert verify(keys[key].token({"alg": name}))


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
    verify: Verify, keys: Keys, changes: dict[str, Any]
) -> None:
    assert verify(keys["EdDSA"].token(**changes))


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
    verify: Verify, keys: Keys, member: dict[str, Any]
) -> None:
    assert verify(header(**member)(keys))


@pytest.mark.parametrize("name", ["jku", "x5u"])
def test_an_address_in_a_header_is_never_followed(service: httpx.Client, name: str) -> None:
    attacker = SigningKey()
    with running_key_server(attacker) as server:
        token = attacker.token({name: server.url})
        assert_refused(ask(service, token), token)
        assert server.fetches == 0


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


def test_no_depth_of_nesting_gives_an_error_of_ours(verify: Verify, keys: Keys) -> None:
    for depth in (900, 990, 1000, 1400, *range(1480, 1510), 3000):
        nested = f'"x": {"[" * depth}{"]" * depth}'
        for forge in (in_header(nested), in_claims(nested)):
            with suppress(InvalidTokenError):
                verify(forge(keys))


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
def good(verify: Verify, keys: Keys) -> dict[str, str]:
    """Return good tokens, which have been accepted (and so are remembered)."""
    made = {name: keys[name].token() for name in ("EdDSA", "ES256", "RS256")}
    for token in made.values():
        assert verify(token)
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
    verify: Verify,
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
    with pytest.raises(InvalidTokenError):
        verify(token)


@quick
@given(
    algorithm=st.sampled_from(["EdDSA", "ES256", "RS256"]),
    where=st.integers(0, 2000),
    edit=edits,
    by=legal,
)
def test_no_token_with_a_changed_character_is_accepted(  # noqa: PLR0913 - what hypothesis varies
    verify: Verify, good: dict[str, str], *, algorithm: str, where: int, edit: str, by: bytes
) -> None:
    changed = edited(good[algorithm].encode(), where, edit, by)
    changed = bytes(each if each > 0x1F and each != 0x7F else 0x41 for each in changed)
    # Blanks at the ends are not the token's, but the header's.
    assume(changed.strip() != good[algorithm].encode())
    with pytest.raises(InvalidTokenError):
        verify(changed.decode("latin-1"))


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


@settings(quick, max_examples=100)
@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x"]), values, max_size=2),
    claims=st.dictionaries(
        st.sampled_from(["sub", "iss", "aud", "exp", "nbf", "iat", "email", "emailVerified", "x"]),
        values | st.characters().map(lambda each: f"{each}@example.com"),
        max_size=3,
    ),
)
def test_whatever_our_own_key_signs_is_answered_without_a_5xx(
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
    check = Ed25519Key.verify

    def counting(self: Ed25519Key, msg: bytes, sig: bytes) -> bool:
        counted.append(sig)
        return check(self, msg, sig)

    monkeypatch.setattr(Ed25519Key, "verify", counting)
    return counted


def test_a_signature_is_verified_once_however_often_the_token_comes(
    verify: Verify, keys: Keys, verifications: list[bytes]
) -> None:
    token = keys["EdDSA"].token()
    for _ in range(5):
        assert verify(token)
    assert len(verifications) == 1


def test_a_refused_token_is_not_remembered_as_good(
    verify: Verify, keys: Keys, verifications: list[bytes]
) -> None:
    token = signature(lambda each: each[:-1] + bytes([each[-1] ^ 1]))(keys)
    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            verify(token)
    assert len(verifications) >= 2


Work = Callable[["Checked"], Awaitable[None]]


class Checked:
    """A verifier with a key set of its own."""

    def __init__(self, verifier: TokenVerifier, keys: KeySet) -> None:
        self.keys = keys
        self._verifier = verifier

    async def verify(self, token: str) -> Claims:
        """Check a token for this service."""
        return await self._verifier.verify(token, ISSUER, AUDIENCE)

    async def await_refresh(self, former: Snapshot) -> None:
        """Wait until another key set is in use."""
        async with asyncio.timeout(10):
            while await self.keys.current() is former:  # noqa: ASYNC110 - it sets no event
                await asyncio.sleep(0.005)


def with_verifier(
    server: KeyServer,
    clock: Callable[[], float],
    work: Work,
    *,
    key_clock: Callable[[], float] = time.monotonic,
    max_remembered: int = 10,
) -> None:
    """Do something with a verifier of its own."""

    async def run() -> None:
        async with httpx.AsyncClient() as client:
            keys = KeySet(server.url, client, key_clock)
            try:
                await work(Checked(TokenVerifier(keys, clock, max_remembered), keys))
            finally:
                await keys.aclose()

    asyncio.run(run())


def test_a_remembered_token_is_refused_once_it_has_expired(
    key: SigningKey, key_server: KeyServer, verifications: list[bytes]
) -> None:
    clock = Clock()
    token = key.token(exp=clock.now + 100, iat=clock.now)

    async def work(verifier: Checked) -> None:
        await verifier.verify(token)
        clock.now += 109
        await verifier.verify(token)
        assert len(verifications) == 1
        clock.now += 2
        with pytest.raises(InvalidTokenError, match="expired"):
            await verifier.verify(token)

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

    async def work(verifier: Checked) -> None:
        with nullcontext() if is_good else pytest.raises(InvalidTokenError):
            await verifier.verify(token)

    with_verifier(key_server, lambda: now, work)


def test_the_token_that_was_used_least_recently_is_forgotten_first(
    key: SigningKey, key_server: KeyServer, verifications: list[bytes]
) -> None:
    first, second, third, fourth = (key.token() for _ in range(4))

    async def work(verifier: Checked) -> None:
        for token in (first, second, third, first, fourth):
            await verifier.verify(token)
        assert len(verifications) == 4
        for token in (first, third, fourth):
            await verifier.verify(token)
        assert len(verifications) == 4
        await verifier.verify(second)
        assert len(verifications) == 5

    with_verifier(key_server, time.time, work, max_remembered=3)


def test_a_remembered_token_is_refused_when_its_key_has_left_the_key_set() -> None:
    leaving, staying = SigningKey(), SigningKey()
    clock = Clock()
    with running_key_server(leaving, staying) as server:

        async def work(verifier: Checked) -> None:
            old, new = leaving.token(), staying.token()
            await verifier.verify(old)
            await verifier.verify(new)
            server.keys.remove(leaving)
            former = await verifier.keys.current()
            clock.now += 301
            await verifier.verify(old)  # asks for the refresh, which runs in the background
            await verifier.await_refresh(former)
            with pytest.raises(InvalidTokenError):
                await verifier.verify(old)
            await verifier.verify(new)

        with_verifier(server, time.time, work, key_clock=clock)


def test_a_key_that_stays_over_a_refresh_keeps_its_tokens_remembered(
    verifications: list[bytes],
) -> None:
    key = SigningKey()
    clock = Clock()
    with running_key_server(key) as server:

        async def work(verifier: Checked) -> None:
            token = key.token()
            await verifier.verify(token)
            former = await verifier.keys.current()
            clock.now += 301
            await verifier.verify(token)
            await verifier.await_refresh(former)
            await verifier.verify(token)
            assert (server.fetches, len(verifications)) == (2, 1)

        with_verifier(server, time.time, work, key_clock=clock)
