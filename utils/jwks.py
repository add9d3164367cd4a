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
"""Age at which a key set is refreshed in the background."""
STALE_SECONDS: Final = 3600
"""Age at which it is no longer used: removing a key from the set is the only way to revoke it."""
RETRY_SECONDS: Final = 2
"""Pause after a failed fetch."""
REFRESHES: Final = 2
"""Burst of fetches that tokens which match no key may cause (a token bucket)."""
REFRESH_SECONDS: Final = 5
"""Time until they may cause one more."""
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
_PRIVATE_FIELDS: Final = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

logger = logging.getLogger(__name__)
_tracer = trace.get_tracer(__name__)
_fetches = metrics.get_meter(__name__).create_counter(
    "jwks.fetches", description="Fetches of the key set, by outcome."
)


class KeysUnavailableError(Exception):
    """There is no usable key set, and the key server does not return one."""

    def __init__(self) -> None:
        super().__init__("The keys to check tokens with are not available: try again shortly.")


class _UnusableError(Exception):
    """The key server's response, or one key in it, cannot be used; the message says why."""


@dataclass(frozen=True, eq=False)
class VerificationKey:
    """One public key, with a python-jose key for each algorithm that it may be used with."""

    kid: str | None
    algorithms: Mapping[str, Key]
    source: str
    """The JWK as JSON: two key sets contain the same key where this is equal."""


@dataclass(frozen=True)
class Snapshot:
    """The keys of one response of the key server; immutable."""

    keys: tuple[VerificationKey, ...] = ()
    asked_at: float = float("-inf")
    """Time at which its fetch started, on the key set's clock, in seconds."""

    def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """Return the key for a token's header; without a kid, the only key for its algorithm."""
        matching = [
            key
            for key in self.keys
            if algorithm in key.algorithms and (kid is None or key.kid == kid)
        ]
        return matching[0] if len(matching) == 1 else None


class Times(NamedTuple):
    """Seconds until a refresh, after a failed fetch, and for one fetch."""

    fresh: float = FRESH_SECONDS
    retry: float = RETRY_SECONDS
    fetch: float = FETCH_SECONDS


TIMES: Final = Times()


class KeySet:
    """The current keys of one key server, for one event loop.

    At most one fetch runs at a time, and all requests that need it wait for the same one. `clock`
    returns seconds and is monotonic.
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
        """Return the keys to check tokens with.

        Raises KeysUnavailableError when there are none, or they are too old, and they cannot be
        fetched.
        """
        age = self._clock() - self._snapshot.asked_at
        if age < self._times.fresh:
            return self._snapshot
        fetch = self._start_fetch()
        if age >= STALE_SECONDS:
            if fetch is not None:
                # Shielded, because other requests wait for the same fetch.
                await asyncio.shield(fetch)
            if self._clock() - self._snapshot.asked_at >= STALE_SECONDS:
                raise KeysUnavailableError
        return self._snapshot

    async def refreshed(self, since: float) -> Snapshot:
        """Return keys that were asked for after `since`, for a token that matches no key.

        Returns the keys at hand where the key server fails, or where such tokens have caused too
        many fetches.
        """
        if self._fetch is not None:
            await asyncio.shield(self._fetch)
        # The fetch that just ended may have been answered before the key was added. Where another
        # request has started a new one by now, wait for that.
        if self._snapshot.asked_at < since and (self._fetch is not None or self._take_refresh()):
            fetch = self._start_fetch()
            if fetch is not None:
                await asyncio.shield(fetch)
        return self._snapshot

    @property
    def is_healthy(self) -> bool:
        """Whether there are keys, and the last fetch succeeded."""
        return self._failed_at < self._snapshot.asked_at

    def now(self) -> float:
        """Return the time on this key set's clock, in seconds."""
        return self._clock()

    async def aclose(self) -> None:
        """Cancel the fetch that may be running."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)

    def _take_refresh(self) -> bool:
        """Take a token from the bucket; return False where it is empty.

        Anybody can send tokens that match no key: without a limit they would flood the key server.
        Each fetch that they cause brings new keys too, so they keep a new key out for no longer
        than REFRESH_SECONDS.
        """
        now = self._clock()
        refilled = self._refreshes_left + (now - self._refreshes_at) / REFRESH_SECONDS
        self._refreshes_left, self._refreshes_at = min(refilled, REFRESHES), now
        # A fetch that could not start takes nothing.
        if self._refreshes_left < 1 or now - self._failed_at < self._times.retry:
            return False
        self._refreshes_left -= 1
        return True

    def _start_fetch(self) -> asyncio.Task[None] | None:
        """Return the running fetch or a new one; None during the pause after a failed one."""
        if self._fetch is None and self._clock() - self._failed_at >= self._times.retry:
            self._fetch = asyncio.create_task(self._replace_snapshot())
        return self._fetch

    async def _replace_snapshot(self) -> None:
        asked_at = self._clock()
        try:
            with _tracer.start_as_current_span(
                "fetch the key set", kind=trace.SpanKind.CLIENT, record_exception=False
            ):
                keys = _read_keys(await self._download(), self._snapshot.keys)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, _UnusableError) as error:
            # The snapshot stays: an error, or an empty or invalid set, never replaces good keys.
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
                # Compressed, a small response could become a large one.
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
    """Parse a JWK set and return its usable keys; raises _UnusableError when there are none.

    A key that is known already stays the same object, so that tokens verified with it stay
    remembered.
    """
    try:
        entries = json.loads(body)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        raise _UnusableError("the response is not a JWK set")
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
                logger.warning("a key of the key set is left out: another key has the same kid")
            else:
                keys.append(key)
    if not keys:
        raise _UnusableError("it contains no usable key")
    return tuple(keys)


def _read_key(entry: dict[str, Any], source: str) -> VerificationKey:
    """Parse one JWK (RFC 7517 §4). Raises _UnusableError for one that must not be used."""
    kid, key_type = entry.get("kid"), entry.get("kty")
    if not isinstance(kid, str | None):
        raise _UnusableError("its kid is not a string")
    if key_type == "oct" or _PRIVATE_FIELDS & entry.keys():
        # A key server that publishes such a key has lost it: anybody can sign with it.
        raise _UnusableError("it is private or symmetric")
    if not all(isinstance(entry.get(name, ""), str) for name in ("n", "e", "x", "y")):
        # python-jose would take a number for a length and allocate that much memory.
        raise _UnusableError("a field of it is not a string")
    try:
        if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
            raise _UnusableError("it is not for verifying signatures")
        algorithms = _ALGORITHMS[key_type, None if key_type == "RSA" else entry["crv"]]
        if entry.get("alg", algorithms[0]) not in algorithms:
            raise _UnusableError("its alg does not match its kty and crv")
        if "alg" in entry and key_type == "RSA":
            algorithms = (entry["alg"],)
        if key_type == "RSA" and base64_to_long(entry["n"]).bit_length() < MIN_RSA_BITS:
            raise _UnusableError(f"it has fewer than {MIN_RSA_BITS} bits")
        keys = {algorithm: jwk.construct(entry, algorithm) for algorithm in algorithms}
    except (JWKError, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm):
        raise _UnusableError("it is not a public key of a supported type") from None
    return VerificationKey(kid, keys, source)
