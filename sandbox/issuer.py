"""Stands in for a Better Auth front end: answers as its JWT plugin does, for local trials only.

It keeps no users: whoever `POST /api/auth/login` of the service accepts gets a token.
"""

import base64
import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN_SECONDS = 15 * 60
"""How long a token lives: as Better Auth's own."""


class Issuer:
    """One signing key, kept in a file, and the claims that go with it."""

    def __init__(self, address: str, key_file: Path) -> None:
        self.address = address
        if not key_file.exists():
            key_file.touch(mode=0o600)
            key_file.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
        self._key = Ed25519PrivateKey.from_private_bytes(key_file.read_bytes())
        x = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._kid = sha256(x).hexdigest()[:16]
        self.key_set = {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "alg": "EdDSA",
                    "kid": self._kid,
                    "x": _base64url(x),
                }
            ]
        }

    def token(self, user_id: int, email: str) -> str:
        """Sign a token for an account, with the claims that Better Auth gives it."""
        now = int(time.time())
        claims = {
            "sub": str(user_id),
            "email": email,
            "iss": self.address,
            "aud": self.address,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
        }
        signed = ".".join(
            _base64url(json.dumps(part).encode())
            for part in ({"alg": "EdDSA", "kid": self._kid}, claims)
        )
        return f"{signed}.{_base64url(self._key.sign(signed.encode()))}"


def issuer_app(issuer: Issuer, service: str) -> Starlette:
    """Make the issuer's application; `service` is the address that checks passwords."""

    async def jwks(_request: Request) -> Response:
        return JSONResponse(issuer.key_set)

    async def token(request: Request) -> Response:
        async with httpx.AsyncClient(base_url=service) as client:
            answer = await client.post(
                "/api/auth/login",
                content=await request.body(),
                headers={"Content-Type": "application/json"},
            )
        if answer.is_error:
            return Response(
                answer.content, answer.status_code, media_type=answer.headers["content-type"]
            )
        account: dict[str, Any] = answer.json()
        return JSONResponse({"token": issuer.token(account["id"], account["email"])})

    return Starlette(
        routes=[
            Route("/api/auth/jwks", jwks),
            Route("/api/auth/token", token, methods=["POST"]),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["POST"],
                allow_headers=["Content-Type"],
            )
        ],
    )


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
