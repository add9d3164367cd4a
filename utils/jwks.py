"""The key set: the public keys that tokens are checked with, fetched from `JWKS_URL` (RFC 7517)."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from jose import jwk
from jose.backends.base import Key
from jose.exceptions import JWKError
from jose.utils import base64_to_long
from opentelemetry import metrics, trace

from utils import eddsa

FRESH_SECONDS: Final = 300
"""How long a key set serves before it is refreshed in the background."""
STALE_SECONDS: Final = 3600
"""How long it serves while the key server fails: removing a key is the only way to revoke it."""
RETRY_SECONDS: Final = 2
"""How long a failed fetch is not repeated."""
REFRESHES: Final = 2
"""How many fetches tokens that do not fit the key set may ask for at once …"""
REFRESH_SECONDS: Final = 5
"""… and how long it takes until they may ask for one more."""
CONNECT_SECONDS: Final = 2
FETCH_SECONDS: Final = 5
MAX_BYTES: Final = 64 * 1024
MIN_RSA_BITS: Final = 2048

_ALGORITHMS: Final[Mapping[tuple[object, object], tuple[str, ...]]] = {
    ("OKP", "Ed25519"): eddsa.ALGORITHMS,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("RSA", None): ("RS256", "RS384", "RS512"),
}
_PRIVATE_MEMBERS: Final = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

logger = logging.getLogger(__name__)
_tracer = trace.get_tracer(__name__)
_fetches = metrics.get_meter(__name__).create_counter(
    "jwks.fetches", description="Fetches of the key set, by their outcome."
)


class KeysUnavailableError(Exception):
    """There is no key set that may be used, and the key server does not return one."""

    def __init__(self) -> None:
        super().__init__("The keys to check tokens with are not available: try again shortly.")


class _UnusableError(Exception):
    """The key server's response, or one key in it, cannot be used; the message says why."""


@dataclass(frozen=True, eq=False)
class VerificationKey:
    """One public key, ready for each algorithm that it may be used with."""

    kid: str | None
    algorithms: Mapping[str, Key]
    source: str
    """The JWK as it was sent: what tells whether two key sets hold the same key."""


@dataclass(frozen=True)
class Snapshot:
    """The keys of one response of the key server."""

    keys: tuple[VerificationKey, ...] = ()
    asked_at: float = float("-inf")
    """When the fetch that brought it began, on the key set's clock in seconds."""

    def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """Return the key that a token's header names; without a kid, the only one that fits."""
        fitting = [
            key
            for key in self.keys
            if algorithm in key.algorithms and (kid is None or key.kid == kid)
        ]
        return fitting[0] if len(fitting) == 1 else None


class Times(NamedTuple):
    """How many seconds a key set is fresh, a failed fetch is not repeated, and a fetch may take."""

    fresh: float = FRESH_SECONDS
    retry: float = RETRY_SECONDS
    fetch: float = FETCH_SECONDS


TIMES: Final = Times()


class KeySet:
    """The current keys of one key server, for one event loop.

    Serves an immutable snapshot; fetches at most one at a time, however many requests wait for it.
    `clock` gives seconds that never go back.
    """

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        clock: Callable[[], float] = time.monotonic,
        times: Times = TIMES,
    ) -> None:
        eddsa.register()
        self._url = url
        self._client = client
        self._clock = clock
        self._times = times
        self._snapshot = Snapshot()
        self._fetch: asyncio.Task[None] | None = None
        self._failed_at = float("-inf")
        self._refreshes_left = float(REFRESHES)
        self._refreshes_at = clock()

    async def current(self) -> Snapshot:
        """Return the key set to check tokens with.

        Raises KeysUnavailableError when there is none, or none that is young enough, and the key
        server does not respond with one.
        """
        age = self._clock() - self._snapshot.asked_at
        if age < self._times.fresh:
            return self._snapshot
        fetch = self._begin_fetch()
        if age < STALE_SECONDS:
            return self._snapshot
        if fetch is not None:
            await asyncio.shield(fetch)
        if self._clock() - self._snapshot.asked_at >= STALE_SECONDS:
            raise KeysUnavailableError
        return self._snapshot

    async def refreshed(self, since: float) -> Snapshot:
        """Return a key set that was asked for after `since`, for a token that fits no key.

        A fetch that runs already is waited for, but may have been answered before `since`. Where
        the budget of fetches is spent, or the key server fails, it is the key set we have.
        """
        if self._fetch is not None:
            await asyncio.shield(self._fetch)
        if self._snapshot.asked_at < since and (self._fetch is not None or self._may_refresh()):
            fetch = self._begin_fetch()
            if fetch is not None:
                await asyncio.shield(fetch)
        return self._snapshot

    @property
    def is_healthy(self) -> bool:
        """Whether there are keys, and the key server gave them when it was last asked."""
        return self._failed_at < self._snapshot.asked_at

    def now(self) -> float:
        """Return the time on this key set's clock, in seconds."""
        return self._clock()

    async def aclose(self) -> None:
        """Stop the fetch that may be running."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)

    def _may_refresh(self) -> bool:
        """Take one of the few fetches that tokens may ask for (a token bucket); False for none."""
        now = self._clock()
        refilled = self._refreshes_left + (now - self._refreshes_at) / REFRESH_SECONDS
        self._refreshes_left, self._refreshes_at = min(refilled, REFRESHES), now
        if self._refreshes_left < 1 or self._failed_lately():
            return False
        self._refreshes_left -= 1
        return True

    def _begin_fetch(self) -> asyncio.Task[None] | None:
        """Return the running fetch or a new one; None while the last failure is too fresh."""
        if self._fetch is None and not self._failed_lately():
            self._fetch = asyncio.create_task(self._replace_snapshot())
        return self._fetch

    def _failed_lately(self) -> bool:
        return self._clock() - self._failed_at < self._times.retry

    async def _replace_snapshot(self) -> None:
        asked_at = self._clock()
        try:
            with _tracer.start_as_current_span(
                "fetch the key set", kind=trace.SpanKind.CLIENT, record_exception=False
            ):
                keys = _read_keys(await self._download(), self._snapshot.keys)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, _UnusableError) as error:
            self._failed_at = self._clock()
            _fetches.add(1, {"outcome": "failure"})
            logger.warning(
                "key set not refreshed from %s: %s", self._url, str(error) or type(error).__name__
            )
        else:
            self._snapshot = Snapshot(keys, asked_at)
            _fetches.add(1, {"outcome": "success"})
        finally:
            self._fetch = None

    async def _download(self) -> bytes:
        async with (
            asyncio.timeout(self._times.fetch),
            self._client.stream(
                "GET",
                self._url,
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                timeout=httpx.Timeout(self._times.fetch, connect=CONNECT_SECONDS),
                follow_redirects=False,
            ) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise _UnusableError(f"the response has status {response.status_code}")
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise _UnusableError(f"the response is larger than {MAX_BYTES} bytes")
            return body


def _read_keys(body: bytes, known_keys: tuple[VerificationKey, ...]) -> tuple[VerificationKey, ...]:
    """Read the keys of a JWK set that can be used; a key that is known stays the same object.

    Raises _UnusableError when there is none.
    """
    try:
        entries = json.loads(body)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _UnusableError("the response is no JWK set") from None
    if not isinstance(entries, list):
        raise _UnusableError("the response is no JWK set")
    objects = [entry for entry in entries if isinstance(entry, dict)]
    named = Counter(kid for entry in objects if isinstance(kid := entry.get("kid"), str))
    known = {key.source: key for key in known_keys}
    keys = []
    for entry in objects:
        try:
            source = json.dumps(entry, sort_keys=True)
            key = known.get(source) or _read_key(entry, source)
        except (_UnusableError, RecursionError) as error:
            logger.warning("a key of the key set is left out: %s", error)
        else:
            if key.kid is not None and named[key.kid] > 1:
                logger.warning("a key of the key set is left out: its kid stands twice")
            else:
                keys.append(key)
    if not keys:
        raise _UnusableError("there is no key in it that can be used")
    return tuple(keys)


def _read_key(entry: dict[str, Any], source: str) -> VerificationKey:
    """Read one JWK (RFC 7517 §4); raises _UnusableError for one that must not be used."""
    kid, key_type = entry.get("kid"), entry.get("kty")
    if not isinstance(kid, str | None):
        raise _UnusableError("its kid is no string")
    if key_type == "oct" or _PRIVATE_MEMBERS & entry.keys():
        raise _UnusableError("it is private or symmetric")
    if not all(isinstance(entry.get(name, ""), str) for name in ("n", "e", "x", "y")):
        # python-jose would take a number for a length and ask for that much memory.
        raise _UnusableError("its members are no strings")
    try:
        if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
            raise _UnusableError("it is not meant for checking signatures")
        algorithms = _ALGORITHMS[key_type, None if key_type == "RSA" else entry["crv"]]
        if entry.get("alg", algorithms[0]) not in algorithms:
            raise _UnusableError("its alg does not go with its kty and crv")
        if "alg" in entry and key_type == "RSA":
            algorithms = (entry["alg"],)
        if key_type == "RSA" and base64_to_long(entry["n"]).bit_length() < MIN_RSA_BITS:
            raise _UnusableError(f"it has fewer than {MIN_RSA_BITS} bits")
        keys = {algorithm: jwk.construct(entry, algorithm) for algorithm in algorithms}
    except (JWKError, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm):
        raise _UnusableError("its members make no public key that is known here") from None
    return VerificationKey(kid, keys, source)
