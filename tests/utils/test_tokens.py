"""Tests of bearer tokens: which are accepted, and that no other ever is (RFC 7515, 7519, 8725)."""

import asyncio
import base64
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.conftest import Serve
from tests.support.hostile import CLAIMS, HEADER, HOSTILE, Forge, Keys, added, edited
from tests.support.keyserver import Clock, KeyServer, running_key_server
from tests.support.problems import assert_problem
from tests.support.service import make_settings, running_service
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey, base64url, good_claims
from utils.eddsa import Ed25519Key
from utils.jwks import KeySet
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


@contextmanager
def verifying(
    url: str, clock: Callable[[], float] = time.time, max_remembered: int = 1000
) -> Iterator[Verify]:
    """Yield a function that checks a token as the service does, without HTTP."""
    with asyncio.Runner() as runner:
        client = httpx.AsyncClient()
        verifier = TokenVerifier(KeySet(url, client), ISSUER, [AUDIENCE], clock, max_remembered)
        try:
            yield lambda token: runner.run(verifier.verify(token))
        finally:
            runner.run(client.aclose())


@pytest.fixture(scope="module")
def verify(keys: Keys) -> Iterator[Verify]:
    """Return such a function that knows the keys."""
    with running_key_server(*keys.values()) as server, verifying(server.url) as verify:
        yield verify


def ask(client: httpx.Client, token: str) -> httpx.Response:
    """Send a request with a token."""
    return client.get("/api/auth/me", headers={b"Authorization": b"Bearer " + token.encode()})


def assert_refused(response: httpx.Response, token: str) -> None:
    """Check that the response is 401 and contains nothing of the token."""
    assert_problem(response, 401)
    content = response.text + str(response.headers)
    for part in token.split("."):
        assert len(part) < 8 or part not in content
        with suppress(ValueError):
            decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
            for word in re.findall(rb"[\w:/@.-]{8,}", decoded):
                assert word.decode() not in content


@pytest.mark.parametrize("forge", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_token_is_refused(verify: Verify, keys: Keys, forge: Forge) -> None:
    with pytest.raises(InvalidTokenError):
        verify(forge(keys))


def test_a_hostile_token_is_401_with_nothing_of_the_token(
    service: httpx.Client, keys: Keys
) -> None:
    for forge in list(HOSTILE.values())[::7]:
        token = forge(keys)
        assert_refused(ask(service, token), token)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "at+jwt", "AT+JWT"])
def test_each_algorithm_and_each_type_of_a_jwt_is_accepted(
    verify: Verify, keys: Keys, algorithm: str, typ: str | None
) -> None:
    assert verify(keys[algorithm].token({"typ": typ}, sub="me")).subject == "me"


OPEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    *(({"alg": "Ed25519"}, {}), ({}, {"iat": None}), ({}, {"nbf": 0})),
    *(({}, {"aud": aud}) for aud in ([AUDIENCE], ["https://other.example", AUDIENCE])),
    *(({}, {"exp": value}) for value in (99999999999.5, 10**20, 10**300)),
    *(({}, {"nbf": 1.5, "iat": 1.5}), ({}, {"emailVerified": "true"})),
    ({}, {"jti": ["odd"], "scope": 5, "azp": None, "nested": {"a": [1]}}),
    *(({name: "https://attacker.example/jwks"}, {}) for name in ("jku", "x5u")),
    *(({"jwk": {"kty": "oct", "k": "AAAA"}}, {}), ({"x5c": ["MIIB"], "cty": "json"}, {})),
]


@pytest.mark.parametrize(("header", "claims"), OPEN, ids=str)
def test_what_the_contract_leaves_open_is_accepted(
    verify: Verify, keys: Keys, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    assert verify(keys["EdDSA"].token(header, **claims))


@pytest.mark.parametrize("setting", ["jwt_issuer", "jwt_audience"])
def test_a_setting_that_differs_by_a_slash_at_the_end_is_named_in_the_log(
    serve: Serve, key: SigningKey, caplog: pytest.LogCaptureFixture, setting: str
) -> None:
    token = key.token()
    with caplog.at_level(logging.INFO):
        assert_problem(ask(serve(**{setting: f"{ISSUER}/"}), token), 401)
    assert any(repr(f"{ISSUER}/") in line and repr(ISSUER) in line for line in caplog.messages)
    assert token not in caplog.text


def test_one_of_several_audiences_is_enough(serve: Serve, key: SigningKey) -> None:
    client = serve(jwt_audience="https://a.example, b")
    for aud in ("https://a.example", "b", ["c", "b"]):
        assert ask(client, key.token(aud=aud)).status_code == 200
    for aud in ("c", "a", ["c"], "https://a.example, b", AUDIENCE):
        assert ask(client, key.token(aud=aud)).status_code == 401


@pytest.mark.parametrize("name", ["jku", "x5u"])
def test_an_address_in_a_header_is_never_followed(service: httpx.Client, name: str) -> None:
    attacker = SigningKey()
    with running_key_server(attacker) as server:
        token = attacker.token({name: server.url})
        assert_refused(ask(service, token), token)
        assert server.fetches == 0


def test_a_token_of_16_kib_is_accepted_and_a_byte_more_is_not(
    service: httpx.Client, keys: Keys
) -> None:
    header, claims = {"alg": "EdDSA", "kid": keys["EdDSA"].kid}, json.dumps(good_claims()).encode()
    made = {
        len(token): token
        for blanks in range(3)
        for size in range(12_100, 12_200)
        for token in [keys["EdDSA"].raw_token({**header, "x": " " * blanks}, claims.ljust(size))]
    }
    assert ask(service, made[16 * 1024]).status_code == 200
    assert ask(service, made[16 * 1024 + 1]).status_code == 401


def test_no_depth_of_nesting_raises_another_error(verify: Verify, keys: Keys) -> None:
    for depth in (900, 990, 1000, 1400, *range(1480, 1510), 3000):
        for part in (HEADER, CLAIMS):
            with suppress(InvalidTokenError):
                verify(edited(part, added(f'"x": {"[" * depth}{"]" * depth}'))(keys))


# --- changed tokens -------------------------------------------------------------------------

quick = settings(
    max_examples=400,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


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
    part=st.sampled_from([0, 1, 2, None]),
    where=st.integers(0, 2000),
    removed=st.integers(0, 3),
    inserted=st.binary(max_size=3),
)
def test_no_token_with_a_changed_byte_is_accepted(  # noqa: PLR0913 - what hypothesis varies
    verify: Verify,
    good: dict[str, str],
    *,
    algorithm: str,
    part: int | None,
    where: int,
    removed: int,
    inserted: bytes,
) -> None:
    """Bytes of the token itself, or of one of its parts as they are decoded."""

    def changed(text: bytes) -> bytes:
        at = where % len(text)
        return text[:at] + inserted + text[at + removed :]

    if part is None:
        token = changed(good[algorithm].encode()).decode("latin-1")
    else:
        parts = good[algorithm].split(".")
        parts[part] = base64url(changed(base64.urlsafe_b64decode(parts[part] + "===")))
        token = ".".join(parts)
    assume(token != good[algorithm])
    with pytest.raises(InvalidTokenError):
        verify(token)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.emails(),
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
def test_nothing_that_our_own_key_signs_is_a_5xx(
    service: httpx.Client, keys: Keys, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    token = keys["EdDSA"].raw_token(
        {"alg": "EdDSA", "kid": keys["EdDSA"].kid, **header}, {**good_claims(), **claims}
    )
    assert ask(service, token).status_code in (200, 401, 403)


# --- which tokens are remembered ------------------------------------------------------------


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Record each verification of an Ed25519 signature."""
    recorded: list[bytes] = []
    check = Ed25519Key.verify

    def record(self: Ed25519Key, msg: bytes, sig: bytes) -> bool:
        recorded.append(sig)
        return check(self, msg, sig)

    monkeypatch.setattr(Ed25519Key, "verify", record)
    return recorded


def test_a_signature_is_verified_once_until_the_token_expires(
    key: SigningKey, key_server: KeyServer, verifications: list[bytes]
) -> None:
    clock = Clock()
    token = key.token(exp=clock.now + 100, iat=clock.now)
    with verifying(key_server.url, clock) as verify:
        for seconds in (0, 0, 109):
            clock.now += seconds
            verify(token)
        assert len(verifications) == 1
        clock.now += 2
        with pytest.raises(InvalidTokenError):
            verify(token)


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
def test_the_leeway_is_ten_seconds(
    key: SigningKey, key_server: KeyServer, name: str, offset: float, *, is_good: bool
) -> None:
    now = 1_000_000.0
    changes: dict[str, Any] = {"exp": now + 60, "iat": now, name: now + offset}
    token = key.token(**changes)
    with (
        verifying(key_server.url, lambda: now) as verify,
        nullcontext() if is_good else pytest.raises(InvalidTokenError),
    ):
        verify(token)


def test_the_token_that_was_used_least_recently_is_forgotten_first(
    key: SigningKey, key_server: KeyServer, verifications: list[bytes]
) -> None:
    first, second, third, fourth = (key.token() for _ in range(4))
    with verifying(key_server.url, max_remembered=3) as verify:
        for token in (first, second, third, first, fourth, first, third, fourth):
            verify(token)
        assert len(verifications) == 4
        verify(second)
        assert len(verifications) == 5
