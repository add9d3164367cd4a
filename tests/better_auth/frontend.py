"""A running Better Auth, the service behind it, and their users."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from jose import jwt

from core.settings import Settings
from tests.better_auth.toolchain import FOLDER
from tests.support.service import make_settings

PASSWORD = "correct horse battery staple"
SECRET = "a secret of the tests, 32 characters or more"


class Visitor:
    """A user of the front end, with a browser's cookies, whose tokens the service accepts."""

    def __init__(
        self, auth_url: str, origin: str, service: httpx.Client, forwarded_for: str = ""
    ) -> None:
        self.email = f"{uuid4().hex}@example.com"
        headers = {"Origin": origin} | ({"X-Forwarded-For": forwarded_for} if forwarded_for else {})
        self.auth = httpx.Client(base_url=auth_url, headers=headers, timeout=30)
        self.service = service

    def post(self, path: str, **body: Any) -> httpx.Response:
        """Send a POST request to Better Auth."""
        return self.auth.post(path, json=body)

    def sign_up(self, password: str = PASSWORD, **more: Any) -> httpx.Response:
        """Sign up."""
        body = {"name": "A. Visitor", "email": self.email, "password": password, **more}
        return self.post("sign-up/email", **body)

    def sign_in(self, password: str = PASSWORD) -> httpx.Response:
        """Sign in."""
        return self.post("sign-in/email", email=self.email, password=password)

    def user(self) -> Any:
        """Return `session.user`, as a page sees it."""
        return self.auth.get("get-session").json()["user"]

    def token(self) -> str:
        """Return a new token for the service."""
        response = self.auth.get("token")
        assert response.status_code == 200, response.text
        token: str = response.json()["token"]
        return token

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request to the service, with a new token."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        return self.service.request(method, path, headers=headers, **options)

    def me(self) -> Any:
        """Return the account at the service."""
        response = self.call("GET", "/api/auth/me")
        assert response.status_code == 200, response.text
        return response.json()


class Stack:
    """A set-up of Better Auth, and the service behind it.

    `address` is where Better Auth listens, `origin` what it calls itself.
    """

    service: httpx.Client

    def __init__(self, setup: str, log: Path, origin: str | None, base_path: str) -> None:
        self._setup, self._log = setup, log
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.origin = origin or f"http://localhost:{port}"
        self.auth_url = f"http://127.0.0.1:{port}{base_path}"
        self.fault = ""
        """Requests from its server to the service get "no connection" or "no response"."""
        self._visitors: list[Visitor] = []

    def start(self, **environment: str) -> None:
        """Start Node.js; requests wait until it accepts them."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["node", "build/tests/better_auth/server.js", self._setup],
                cwd=FOLDER,
                env={
                    "PATH": os.environ["PATH"],
                    "LISTEN_FD": str(self._listener.fileno()),
                    "BETTER_AUTH_URL": self.origin,
                    "BETTER_AUTH_SECRET": SECRET,
                    **environment,
                },
                pass_fds=[self._listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """Stop Node.js; what it keeps in memory is lost."""
        self._process.terminate()
        self._process.wait()

    def close(self) -> None:
        """Stop, and close the visitors' connections."""
        self.stop()
        self._listener.close()
        for each in self._visitors:
            each.auth.close()

    def visitor(self, forwarded_for: str = "") -> Visitor:
        """Return a new visitor, not signed up yet."""
        visitor = Visitor(self.auth_url, self.origin, self.service, forwarded_for)
        self._visitors.append(visitor)
        return visitor

    def signed_up(self, forwarded_for: str = "", **more: Any) -> Visitor:
        """Return a new visitor, signed up, with these further fields in the form."""
        visitor = self.visitor(forwarded_for)
        response = visitor.sign_up(**more)
        assert response.status_code == 200, response.text + self.log()
        return visitor

    def ask(self, token: str) -> httpx.Response:
        """Ask the service whose token this is."""
        return self.service.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})

    def sign_up_directly(self, email: str, password: str = PASSWORD) -> Any:
        """Create an account at the service, without the front end."""
        body = {"email": email, "password": password}
        response = self.service.post("/api/auth/signup", json=body)
        assert response.status_code == 201, response.text
        return response.json()

    def log(self) -> str:
        """Return what Better Auth has printed."""
        return self._log.read_text()


def settings_behind(jwks_url: str, origin: str, database_url: str, **changes: Any) -> Settings:
    """Return the settings of a service that accepts the tokens of a Better Auth."""
    defaults = {"jwt_issuer": origin, "jwt_audience": origin, "cors_origins": (origin,)}
    return make_settings(database_url, jwks_url, **{**defaults, **changes})


def decoded(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the header and the claims of a token, as they are."""
    return jwt.get_unverified_header(token), jwt.get_unverified_claims(token)
