"""Cursors of keyset pagination: opaque, and good for the list that they were made for."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any, Final

_DIGEST_SIZE: Final = 16


class InvalidCursorError(Exception):
    """The cursor was not made here, or for another list."""


class CursorCodec:
    """Signs cursors with a key that is derived from a secret, the same on every replica.

    The derivation is slow on purpose (scrypt): the secret cannot be guessed from a cursor.
    """

    def __init__(self, secret: str) -> None:
        self._key = hashlib.scrypt(secret.encode(), salt=b"cursor", n=2**14, r=8, p=1, dklen=32)

    def encode(self, listing: Sequence[object], position: Sequence[object]) -> str:
        """Return a cursor for a position, which is JSON, in the list that `listing` describes."""
        payload = json.dumps(position, separators=(",", ":"), ensure_ascii=False).encode()
        return (
            base64.urlsafe_b64encode(self._digest(listing, payload) + payload).decode().rstrip("=")
        )

    def decode(self, listing: Sequence[object], cursor: str) -> Any:  # noqa: ANN401 - JSON
        """Return the position of a cursor. Raises InvalidCursorError."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise InvalidCursorError from None
        digest, payload = raw[:_DIGEST_SIZE], raw[_DIGEST_SIZE:]
        if not hmac.compare_digest(digest, self._digest(listing, payload)):
            raise InvalidCursorError
        return json.loads(payload)

    def _digest(self, listing: Sequence[object], payload: bytes) -> bytes:
        signed = json.dumps(listing, default=str).encode() + b"\0" + payload
        return hashlib.blake2b(signed, key=self._key, digest_size=_DIGEST_SIZE).digest()
