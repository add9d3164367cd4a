"""An Ed25519 key class for python-jose, which has none (RFC 8037 §3.1, RFC 9864 §2.2)."""

from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jose import jwk
from jose.backends.base import Key
from jose.exceptions import JWKError
from jose.utils import base64url_decode

ALGORITHMS = ("EdDSA", "Ed25519")
"""The two names of the one algorithm: RFC 8037's, and the fully specified one of RFC 9864."""


_PRIME: Final = 2**255 - 19
_ORDER_8: Final = 0x5FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = {0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8}
"""The y coordinates of the 8 points whose order divides 8."""


class Ed25519Key(Key):
    """A public Ed25519 key that verifies signatures.

    `key` is a JWK, `{"kty": "OKP", "crv": "Ed25519", "x": …}`. Raises JWKError for another kind or
    a key that must not be used, and ValueError where `x` is not 32 bytes of base64url.
    """

    def __init__(self, key: dict[str, Any], algorithm: str) -> None:
        if algorithm not in ALGORITHMS or (key.get("kty"), key.get("crv")) != ("OKP", "Ed25519"):
            raise JWKError("not an Ed25519 key")
        encoded = base64url_decode(key["x"].encode("ascii"))
        self._key = Ed25519PublicKey.from_public_bytes(encoded)
        # OpenSSL takes both, and under a key of small order anybody can sign (RFC 8032 §5.1.3).
        y = int.from_bytes(encoded, "little") & ((1 << 255) - 1)
        if y >= _PRIME or y in _SMALL_ORDER:
            raise JWKError("a key of small order, or in an encoding that is not canonical")

    def verify(self, msg: bytes, sig: bytes) -> bool:
        """Return whether `sig` is this key's signature of `msg`."""
        try:
            self._key.verify(sig, msg)
        except InvalidSignature:
            return False
        return True


def register() -> None:
    """Register the key class with python-jose under both names; idempotent."""
    for name in ALGORITHMS:
        jwk.register_key(name, Ed25519Key)
