"""A running Better Auth, the service behind it, and their users."""

import base64
import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import httpx

from tests.better_auth.toolchain import FOLDER
from tests.conftest import MakeDatabase
from tests.support.service import make_settings, running_service

PASSWORD = "correct horse battery staple"


class Visitor:
    """A user of the front end, with a browser's cookies."""

    def __init__(
        self,
        address: str,
        origin: str,
        forwarded_for: str | None = None,
        base_path: str = "/api/auth",
    ) -> None:
        self.email = f"{uuid4().hex}@example.com"
        self._base_path = base_path
        self.http = httpx.Client(base_url=address, headers={"Origin": origin}, timeout=30)
        if forwarded_for is not None:
            self.http.headers["X-Forwarded-For"] = forwarded_for

    def post(self, path: str, **body: Any) -> httpx.Response:
        """Send a POST request to Better Auth."""
        return self.http.post(f"{self._base_path}/{path}", json=body)

    def sign_up(self, password: str = PASSWORD, **more: Any) -> httpx.Response:
        """Sign up."""
        body = {"name": "A. Visitor", "email": self.email, "password": password, **more}
        return self.post("sign-up/email", **body)

    def sign_in(self, password: str = PASSWORD) -> httpx.Response:
        """Sign in."""
        return self.post("sign-in/email", email=self.email, password=password)

    def user(self) -> Any:
        """Return `session.user`, as a page sees it."""
        return self.http.get(f"{self._base_path}/get-session").json()["user"]

    def token(self) -> str:
        """Return a new token for the service."""
        response = self.http.get(f"{self._base_path}/token")
        assert response.status_code == 200, response.text
        token: str = response.json()["token"]
        return token

    def headers(self) -> dict[str, str]:
        """Return the headers of a request to the service, with a new token."""
        return bearer(self.token())


class FrontEnd:
    """One set-up of Better Auth: `address` is where it listens, `origin` what it calls itself."""

    def __init__(
        self,
        setup: str,
        origin: str | None = None,
        base_path: str = "/api/auth",
        jwks_path: str = "/jwks",
    ) -> None:
        self._setup, self._base_path = setup, base_path
        self._listener = _listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.origin = origin or f"http://localhost:{self.port}"
        self.jwks_url = f"{self.address}{base_path}{jwks_path}"
        self._process: subprocess.Popen[bytes] | None = None
        self._visitors = ExitStack()

    def start(self, folder: Path, **environment: str) -> None:
        """Start Node.js; requests wait until it accepts them."""
        if self._listener.fileno() < 0:
            self._listener = _listen(self.port)
        self._mailbox = folder / f"mail-{uuid4().hex}"
        self._log = folder / f"log-{uuid4().hex}"
        with self._log.open("wb") as log, self._listener:
            self._process = subprocess.Popen(
                ["node", "build/tests/better_auth/server.js", self._setup],
                cwd=FOLDER,
                env={
                    "PATH": os.environ["PATH"],
                    "LISTEN_FD": str(self._listener.fileno()),
                    "MAILBOX": str(self._mailbox),
                    "BETTER_AUTH_URL": self.origin,
                    "BETTER_AUTH_SECRET": "a secret of the tests, 32 characters or more",
                    **environment,
                },
                pass_fds=[self._listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """Stop Node.js; what it keeps in memory is lost."""
        self._listener.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def visitor(self, **options: Any) -> Visitor:
        """Return a new visitor, not signed up yet."""
        visitor = Visitor(self.address, self.origin, base_path=self._base_path, **options)
        self._visitors.enter_context(visitor.http)
        return visitor

    def signed_up(self, **more: Any) -> Visitor:
        """Return a new visitor, signed up, with these further fields in the form."""
        visitor = self.visitor()
        response = visitor.sign_up(**more)
        assert response.status_code == 200, response.text + self.log()
        return visitor

    def keys(self) -> Any:
        """Fetch the key set."""
        return httpx.get(self.jwks_url, timeout=30).json()["keys"]

    def mail(self) -> list[Any]:
        """Return the e-mails that were sent, oldest first."""
        return [json.loads(line) for line in self._mailbox.read_text().splitlines()]

    def log(self) -> str:
        """Return what Better Auth has printed."""
        return self._log.read_text()

    def close(self) -> None:
        """Stop, and close the visitors' connections."""
        self._visitors.close()
        self.stop()


class Stack:
    """A front end and the service behind it."""

    def __init__(self, front_end: FrontEnd, service: httpx.Client) -> None:
        self.front_end = front_end
        self.service = service

    def call(self, visitor: Visitor, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request of the visitor to the service, with a new token."""
        return self.service.request(method, path, headers=visitor.headers(), **options)

    def me(self, visitor: Visitor) -> Any:
        """Return the visitor's account at the service."""
        response = self.call(visitor, "GET", "/api/auth/me")
        assert response.status_code == 200, response.text
        return response.json()

    def sign_up_directly(self, email: str, password: str = PASSWORD) -> Any:
        """Create an account at the service, without the front end."""
        body = {"email": email, "password": password}
        response = self.service.post("/api/auth/signup", json=body)
        assert response.status_code == 201, response.text
        return response.json()


@contextmanager
def running_stack(  # noqa: PLR0913 - each is a choice of some test
    setup: str,
    *,
    folder: Path,
    database_url: str,
    make_database: MakeDatabase,
    origin: str | None = None,
    paths: Mapping[str, str] = MappingProxyType({}),
    settings: dict[str, Any] | None = None,
    uvicorn_options: dict[str, Any] | None = None,
    **environment: str,
) -> Iterator[Stack]:
    """Run a set-up of Better Auth, on a new database, and the service, wired to each other."""
    with closing(FrontEnd(setup, origin, **paths)) as front_end:
        changes = {
            "jwt_issuer": front_end.origin,
            "jwt_audience": front_end.origin,
            **(settings or {}),
        }
        wiring = make_settings(database_url, front_end.jwks_url, **changes)
        with running_service(wiring, **(uvicorn_options or {})) as service:
            backend_url = str(service.base_url).rstrip("/")
            # What is in lib/ keeps its users in PostgreSQL, misconfigurations in memory.
            database = {"DATABASE_URL": make_database()} if setup.startswith("lib/") else {}
            front_end.start(folder, **{"BACKEND_URL": backend_url, **database, **environment})
            yield Stack(front_end, service)


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries the token."""
    return {"Authorization": f"Bearer {token}"}


def decoded(token: str) -> tuple[Any, Any]:
    """Read the header and the claims of a token, as they are."""
    header, claims, _ = (
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")
    )
    return json.loads(header), json.loads(claims)


def free_port() -> int:
    """Return a free port, for a server that cannot inherit a socket."""
    with _listen(0) as listener:
        port: int = listener.getsockname()[1]
        return port


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener
