"""The service itself, on a real socket, in a thread of the tests."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any, Final

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from application import create_app
from core.database import make_engine
from core.driver import Timeouts
from core.settings import Settings
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey
from utils.security import PasswordHasher

Adapt = Callable[[FastAPI], AbstractAsyncContextManager[None]]
"""Replaces parts of a started application (`app.state`) for as long as it runs."""

ORIGIN = "http://localhost:3000"


def make_settings(database_url: str, jwks_url: str, **changes: Any) -> Settings:
    """Return settings for the tests, which sign up more often than the default limit allows."""
    return Settings(
        _env_file=None,
        **{
            "database_url": SecretStr(database_url),
            "jwks_url": jwks_url,
            "jwt_issuer": ISSUER,
            "jwt_audience": AUDIENCE,
            "auth_rate_limit": "100000/minute",
            "migrate_on_start": False,
            **changes,
        },
    )


def replacing(**parts: Callable[[], object]) -> Adapt:
    """Replace parts of an application, by their names in `app.state`, with what these return."""

    @asynccontextmanager
    async def adapt(app: FastAPI) -> AsyncIterator[None]:
        for name, make in parts.items():
            setattr(app.state, name, make())
        yield

    return adapt


quick_hashes: Final = replacing(hasher=lambda: PasswordHasher(rounds=4))
"""Hash passwords at bcrypt's lowest cost, for tests that are not about it."""
SHORT: Final = Timeouts(connect=0.5, statement=0.5)


def impatient(timeouts: Timeouts = SHORT, wait_seconds: float = 0.3) -> Adapt:
    """Wait for PostgreSQL less long than a service would."""

    @asynccontextmanager
    async def adapt(app: FastAPI) -> AsyncIterator[None]:
        settings: Settings = app.state.settings
        url, size = settings.database_url.get_secret_value(), settings.db_pool_size
        app.state.engine = make_engine(url, size, timeouts, wait_seconds)
        yield
        await app.state.engine.dispose()

    return adapt


@contextmanager
def running_service(
    settings: Settings, *, adapt: Adapt | None = None, **uvicorn_options: Any
) -> Iterator[httpx.Client]:
    """Run the service on a port of its own; yield a client for it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = create_app(settings)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with inner(app) as state, adapt(app) if adapt else nullcontext():
            yield state

    app.router.lifespan_context = lifespan
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, **uvicorn_options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the service did not start")
            time.sleep(0.01)
        host, port = listener.getsockname()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class Person:
    """A user with a token of the front end, and requests to the service."""

    def __init__(self, client: httpx.Client, key: SigningKey, **claims: Any) -> None:
        self.client = client
        self.token = key.token(**claims)
        self.headers = {"Authorization": f"Bearer {self.token}"}
        self.id: int = self.account()["id"]

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request with the token."""
        headers = {**self.headers, **options.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **options)

    def tasks(self, method: str, path: object = "", **options: Any) -> httpx.Response:
        """Send a request about the person's own tasks; `path` is what follows."""
        suffix = f"/{path}" if path != "" else ""
        return self.call(method, f"/api/{self.id}/tasks{suffix}", **options)

    def create(self, **task: Any) -> Any:
        """Make a task."""
        response = self.tasks("POST", json={"title": "a task", **task})
        assert response.status_code == 201, response.text
        return response.json()

    def account(self) -> dict[str, Any]:
        """Return the account as the service shows it."""
        return dict(self.call("GET", "/api/auth/me").json())

    def export(self) -> Any:
        """Return everything that is stored about the person."""
        response = self.call("GET", "/api/auth/me/export")
        assert response.status_code == 200, response.text
        return response.json()


def at_once[T](count: int, work: Callable[[int], T]) -> list[T]:
    """Do something many times at the same moment, each with its own number."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))
