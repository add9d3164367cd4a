"""A stand-in for Better Auth's JWT plugin: the same key set and claims, for local use only.

It stores no users: an account of the service gets a token for its password.
"""

import base64
import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import APIRouter, Body, Request, Response

TOKEN_SECONDS = 15 * 60
"""A token's lifetime, the same as Better Auth's."""

ASSISTANT_TOKEN_SECONDS = 12 * 60 * 60
"""The lifetime of a token for a `resource` (RFC 8707): assistants cannot fetch a new one here."""

Credentials = Annotated[
    dict[str, Any],
    Body(examples=[{"email": "me@example.com", "password": "a long enough one"}]),
]


class Issuer:
    """A signing key that is stored in a file, and the routes that publish and use it."""

    def __init__(self, address: str, key_file: Path) -> None:
        self.address = address
        if not key_file.exists():
            key_file.touch(mode=0o600)
            key_file.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
        self._key = Ed25519PrivateKey.from_private_bytes(key_file.read_bytes())
        x = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._header = {"alg": "EdDSA", "kid": sha256(x).hexdigest()[:16]}
        self._jwk = {**self._header, "kty": "OKP", "crv": "Ed25519", "x": _base64url(x)}

    def token(self, user_id: int, email: str, resource: str | None = None) -> str:
        """Return a signed token for an account, with the claims that Better Auth sets."""
        now = int(time.time())
        claims = {
            "sub": str(user_id),
            "email": email,
            "iss": self.address,
            "aud": resource or self.address,
            "iat": now,
            "exp": now + (ASSISTANT_TOKEN_SECONDS if resource else TOKEN_SECONDS),
        }
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (self._header, claims))
        return f"{signed}.{_base64url(self._key.sign(signed.encode()))}"

    @property
    def router(self) -> APIRouter:
        """The routes of Better Auth that the service and its users need."""
        router = APIRouter(
            prefix="/api/auth",
            tags=["sandbox"],
            generate_unique_id_function=lambda route: route.name,
        )

        @router.get("/jwks")
        async def read_key_set() -> dict[str, list[dict[str, str]]]:
            """Return the public key as a JWK Set (RFC 7517)."""
            return {"keys": [self._jwk]}

        @router.post("/token", response_model=dict[str, str])
        async def create_token(request: Request, credentials: Credentials) -> Any:  # noqa: ANN401
            """Log in and return a token."""
            service = httpx.ASGITransport(request.app)
            async with httpx.AsyncClient(transport=service, base_url=self.address) as client:
                response = await client.post("/api/auth/login", json=credentials)
            if response.is_error:
                media_type = response.headers["Content-Type"]
                return Response(response.content, response.status_code, media_type=media_type)
            account = response.json()
            resource = credentials.get("resource")
            return {"token": self.token(account["id"], account["email"], resource)}

        return router


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
