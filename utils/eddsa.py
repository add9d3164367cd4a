"""An Ed25519 key class for python-jose, which has none (RFC 8037 §3.1, RFC 9864 §2.2)."""

from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jose import jwk
from jose.backends.base import Key
from jose.exceptions import JWKError
from jose.utils import base64url_decode

ALGORITHMS = ("EdDSA", "Ed25519")
"""The two names of the one algorithm: RFC 8037's, and the fully specified one of RFC 9864."""


class Ed25519Key(Key):
    """A public Ed25519 key that verifies signatures.

    `key` is a JWK, `{"kty": "OKP", "crv": "Ed25519", "x": …}`. Raises JWKError for another kind
    and ValueError where `x` is not 32 bytes of base64url.
    """

    def __init__(self, key: dict[str, Any], algorithm: str) -> None:
        if algorithm not in ALGORITHMS or (key.get("kty"), key.get("crv")) != ("OKP", "Ed25519"):
            raise JWKError("not an Ed25519 key")
        self._key = Ed25519PublicKey.from_public_bytes(base64url_decode(key["x"].encode("ascii")))

    def verify(self, msg: bytes, sig: bytes) -> bool:
        """Tell whether `sig` is this key's signature of `msg`."""
        try:
            self._key.verify(sig, msg)
        except InvalidSignature:
            return False
        return True


def register() -> None:
    """Teach python-jose both names; doing it again changes nothing."""
    for name in ALGORITHMS:
        jwk.register_key(name, Ed25519Key)
