"""Bearer tokens: JSON Web Tokens (RFC 7519), signed by a key of the key set (RFC 7515, 8725)."""

import base64
import binascii
import hashlib
import json
import logging
import math
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from cachetools import LRUCache
from jose import jws
from jose.exceptions import JOSEError

from utils.jwks import KeySet, Snapshot, VerificationKey

MAX_TOKEN_BYTES: Final = 16 * 1024
LEEWAY_SECONDS: Final = 10
"""Tolerance for the difference between the issuer's clock and this one."""
MAX_REMEMBERED: Final = 10_000

_SHAPE: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")

logger = logging.getLogger(__name__)


class InvalidTokenError(Exception):
    """The token is not valid; the message is a sentence that says why."""


@dataclass(frozen=True)
class Claims:
    """The claims of a verified token that the service uses."""

    subject: str
    email: str | None
    email_verified: bool
    issued_at: float | None
    expires_at: float


@dataclass(frozen=True)
class _Verified:
    claims: Claims
    key: VerificationKey


class TokenVerifier:
    """Verifies tokens of an issuer for one of some audiences, with a key set.

    It caches their claims: a signature costs 0.2 ms.

    `clock` returns seconds since 1970 (RFC 7519 §2, NumericDate); `max_remembered` is the size of
    the cache.
    """

    def __init__(
        self,
        keys: KeySet,
        issuer: str,
        audiences: Collection[str],
        clock: Callable[[], float] = time.time,
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audiences = audiences
        self._clock = clock
        self._remembered: LRUCache[bytes, _Verified] = LRUCache(max_remembered)

    async def verify(self, token: str) -> Claims:
        """Return the claims of a valid token.

        Raises InvalidTokenError for any other string, and KeysUnavailableError when there are no
        keys to check it with.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise InvalidTokenError(f"The token is longer than {MAX_TOKEN_BYTES} bytes.")
        snapshot = await self._keys.current()
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        verified = self._remembered.get(digest)
        # Removing its key from the key set revokes a token, also one that is cached.
        if verified is None or verified.key not in snapshot.keys:
            verified = self._remembered[digest] = await self._check(token, snapshot)
        claims = verified.claims
        if self._clock() >= claims.expires_at + LEEWAY_SECONDS:
            self._remembered.pop(digest, None)
            raise InvalidTokenError("The token has expired.")
        return claims

    async def _check(self, token: str, snapshot: Snapshot) -> _Verified:
        """Verify the signature, with newer keys where none of these match, and the claims."""
        asked_at = self._keys.now()
        kid, algorithm = _read_header(token)
        signed = _verify_signature(token, kid, algorithm, snapshot)
        if signed is None:
            # The key may be new, or the key server was reset and uses a kid again.
            newer = await self._keys.refreshed(since=asked_at)
            if newer is not snapshot:
                signed = _verify_signature(token, kid, algorithm, newer)
        if signed is None:
            raise InvalidTokenError("The token is not signed by a key of the key set.")
        payload, key = signed
        return self._read_claims(payload, key)

    def _read_claims(self, payload: bytes, key: VerificationKey) -> _Verified:
        """Check the registered claims and their JSON types (RFC 7519 §4.1), but for `exp`."""
        claims = _read_object(payload, "claims")
        subject, issuer, audience = (claims.get(name) for name in ("sub", "iss", "aud"))
        if not isinstance(subject, str):
            raise InvalidTokenError("The token has no sub claim, or one that is not a string.")
        if not isinstance(issuer, str):
            raise InvalidTokenError("The token has no iss claim, or one that is not a string.")
        if issuer != self._issuer:
            _explain("iss", issuer, self._issuer)
            raise InvalidTokenError("The token is of another issuer (iss) than the one expected.")
        audiences: list[Any] = audience if isinstance(audience, list) else [audience]
        if not audiences or not all(isinstance(each, str) for each in audiences):
            raise InvalidTokenError("The token has no aud claim, or one that is not a string.")
        if set(audiences).isdisjoint(self._audiences):
            _explain("aud", ", ".join(audiences), ", ".join(self._audiences))
            raise InvalidTokenError("The token is for another audience (aud) than this service.")
        starts = [_numeric_date(claims, name) for name in ("nbf", "iat") if name in claims]
        if any(start > self._clock() + LEEWAY_SECONDS for start in starts):
            raise InvalidTokenError("The token is not valid yet.")
        email = claims.get("email")
        if not isinstance(email, str | None):
            raise InvalidTokenError("The token has an email claim that is not a string.")
        return _Verified(
            Claims(
                subject,
                email,
                email_verified=claims.get("emailVerified") is True,
                issued_at=_numeric_date(claims, "iat") if "iat" in claims else None,
                expires_at=_numeric_date(claims, "exp"),
            ),
            key,
        )


def _explain(name: str, found: str, expected: str) -> None:
    """Log a claim that does not match, of a token whose signature is good: a setting is wrong."""
    hint = ": they differ by a slash at the end" if found.strip("/") == expected.strip("/") else ""
    logger.warning("a token's %s is %.200r, but expected is %r%s", name, found, expected, hint)


def _read_header(token: str) -> tuple[str | None, str]:
    """Return the `kid` and the `alg` of a token in JWS compact serialisation (RFC 7515 §4.1)."""
    parts = _SHAPE.fullmatch(token)
    if parts is None:
        raise InvalidTokenError("The token is not three parts of base64url.")
    # All three: python-jose accepts parts that are not canonical, so that one token has many forms.
    encoded_header, _, _ = (_decode(part) for part in parts.groups())
    header = _read_object(encoded_header, "header")
    kid, algorithm, token_type = header.get("kid"), header.get("alg"), header.get("typ", "JWT")
    if "crit" in header or "b64" in header:
        raise InvalidTokenError("The token's header asks for an extension (crit, b64).")
    if not isinstance(token_type, str) or token_type.lower() not in ("jwt", "at+jwt"):
        raise InvalidTokenError("The token's header has a type (typ) other than JWT.")
    if not isinstance(algorithm, str) or ("kid" in header and not isinstance(kid, str)):
        raise InvalidTokenError("The token's header has an alg or a kid that is not a string.")
    return kid, algorithm


def _verify_signature(
    token: str, kid: str | None, algorithm: str, snapshot: Snapshot
) -> tuple[bytes, VerificationKey] | None:
    """Return the payload and the key that signed it; None where no key of the snapshot did."""
    key = snapshot.find(kid, algorithm)
    if key is None:
        return None
    try:
        # One key instance and its one algorithm, never a list: the token must not choose.
        return jws.verify(token, key.algorithms[algorithm], [algorithm]), key
    except (JOSEError, RecursionError):
        return None


def _read_object(text: bytes, name: str) -> dict[str, Any]:
    """Parse a JSON object strictly: UTF-8, no field twice, no NaN."""

    def check_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise ValueError("a field stands twice")
        return fields

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=check_fields, parse_constant=refuse
        )
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidTokenError(f"The token's {name} cannot be read: not a JSON object.")
    return value


def _numeric_date(claims: dict[str, Any], name: str) -> float:
    """Return a claim that is a NumericDate: a number of seconds since 1970, not a boolean."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTokenError(f"The token has no {name} claim, or one that is not a number.")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise InvalidTokenError(f"The token's {name} claim is not a point in time.")
    return value


def _decode(part: str) -> bytes:
    """Decode base64url in its canonical form: no padding, no bits left over (RFC 4648 §3.5)."""
    try:
        decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        decoded = b""
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != part.encode():
        raise InvalidTokenError("The token is not three parts of base64url.")
    return decoded
