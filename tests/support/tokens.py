"""Signing keys and tokens, good and bad, made without the libraries under test."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "http://localhost:3000"
AUDIENCE = "http://localhost:3000"

_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: dict[str, tuple[str, ec.EllipticCurve]] = {
    "ES256": ("P-256", ec.SECP256R1()),
    "ES384": ("P-384", ec.SECP384R1()),
    "ES512": ("P-521", ec.SECP521R1()),
}


def base64url(value: bytes) -> str:
    """Spell bytes as RFC 7515 §2 does."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    """Spell a number as a JWK does."""
    return base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class SigningKey:
    """A private key of an issuer, with the JWK of its public half."""

    def __init__(
        self, algorithm: str = "EdDSA", *, kid: str | None = None, bits: int = 2048
    ) -> None:
        self.algorithm = algorithm
        self.kid = kid or uuid4().hex
        self.sign: Callable[[bytes], bytes]
        if algorithm in ("EdDSA", "Ed25519"):
            self.private: Any = Ed25519PrivateKey.generate()
            self.sign = self.private.sign
            x = base64url(self.private.public_key().public_bytes_raw())
            members = {"kty": "OKP", "crv": "Ed25519", "x": x}
        elif algorithm.startswith("ES"):
            name, curve = _CURVES[algorithm]
            elliptic = self.private = ec.generate_private_key(curve)
            size = (curve.key_size + 7) // 8
            hashing = _HASHES[algorithm[2:]]

            def sign_elliptic(message: bytes) -> bytes:
                r, s = decode_dss_signature(elliptic.sign(message, ec.ECDSA(hashing)))
                return r.to_bytes(size, "big") + s.to_bytes(size, "big")

            self.sign = sign_elliptic
            point = elliptic.public_key().public_numbers()
            x, y = number(point.x, size), number(point.y, size)
            members = {"kty": "EC", "crv": name, "x": x, "y": y}
        else:
            prime = self.private = rsa.generate_private_key(65537, bits)
            hashing = _HASHES[algorithm[2:]]
            self.sign = lambda message: prime.sign(message, padding.PKCS1v15(), hashing)
            numbers = prime.public_key().public_numbers()
            members = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        self.jwk: dict[str, Any] = {"kid": self.kid, "alg": algorithm, **members}

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Sign a token; claims and header fields are added to good ones, None leaves one out."""
        parts = (
            {"alg": self.algorithm, "kid": self.kid, **(header or {})},
            {**good_claims(), **claims},
        )
        return self.raw_token(
            *({name: each for name, each in part.items() if each is not None} for part in parts)
        )

    def raw_token(self, header: object, claims: object) -> str:
        """Sign a header and claims, as they are: bytes, or anything that JSON can say."""
        return self.seal(
            *(
                base64url(part if isinstance(part, bytes) else json.dumps(part).encode())
                for part in (header, claims)
            )
        )

    def seal(self, header: str, claims: str) -> str:
        """Sign the first two parts of a token, however they are spelled."""
        signed = f"{header}.{claims}"
        return f"{signed}.{base64url(self.sign(signed.encode()))}"


def good_claims() -> dict[str, Any]:
    """Return the claims of a stock Better Auth token, of a new user."""
    now = int(time.time())
    subject = uuid4().hex
    return {
        "sub": subject,
        "email": f"{subject}@example.com",
        "emailVerified": False,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 900,
    }
