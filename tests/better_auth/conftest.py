"""The set-ups that the guide shows, each running in front of a service of its own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import uuid4

import pytest

from tests.better_auth.frontend import Stack, settings_behind
from tests.better_auth.toolchain import build
from tests.conftest import MakeDatabase
from tests.support.server import Silent, running_server
from tests.support.service import quick_hashes, running_service

RunStack = Callable[..., AbstractContextManager[Stack]]


@pytest.fixture(scope="session")
def run_stack(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, make_database: MakeDatabase
) -> RunStack:
    """Return a context manager that runs the set-up in a file, such as "lib/auth", or a variant."""
    build()
    folder = tmp_path_factory.mktemp("better-auth")

    @contextmanager
    def run_stack(  # noqa: PLR0913 - each is a choice of some test
        setup: str,
        *,
        url: str = database_url,
        origin: str | None = None,
        base_path: str = "/api/auth",
        jwks_path: str = "/jwks",
        settings: dict[str, Any] | None = None,
        **environment: str,
    ) -> Iterator[Stack]:
        stack = Stack(setup, folder / uuid4().hex, origin, base_path)
        wiring = settings_behind(stack.auth_url + jwks_path, stack.origin, url, **(settings or {}))
        if setup.startswith("lib/"):
            environment = {"DATABASE_URL": make_database(), **environment}
        with (
            running_service(wiring, adapt=quick_hashes) as stack.service,
            running_server(gate_of(stack)) as gate,
        ):
            stack.start(BACKEND_URL=gate, **environment)
            try:
                yield stack
            finally:
                stack.close()

    return run_stack


def gate_of(stack: Stack) -> type[BaseHTTPRequestHandler]:
    """Return a handler that passes requests of the front end's server on to the service."""

    class Gate(Silent, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if stack.fault == "no connection":
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            response = stack.service.request(
                self.command, self.path, content=body, headers=dict(self.headers)
            )
            if stack.fault == "no response":
                return
            self.send_response(response.status_code)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.content)

        do_DELETE = do_POST  # noqa: N815 - the library's name

    return Gate


@pytest.fixture(scope="session")
def stock(run_stack: RunStack) -> Iterator[Stack]:
    """Run set-up A; the tests of one worker share it, each with visitors of its own."""
    with run_stack("lib/auth") as stack:
        yield stack


@pytest.fixture(scope="session")
def backend_ids(run_stack: RunStack) -> Iterator[Stack]:
    """Run set-up B."""
    with run_stack("lib/auth-backend-ids") as stack:
        yield stack


@pytest.fixture(scope="session")
def one_password_store(run_stack: RunStack) -> Iterator[Stack]:
    """Run set-up C."""
    with run_stack("lib/auth-one-password-store") as stack:
        yield stack
