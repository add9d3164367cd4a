"""Tests that `app.dependency_overrides` works, because that is how people test FastAPI."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from core.problems import ConflictError
from core.settings import Settings
from dependencies.auth import get_current_user
from dependencies.database import get_session
from dependencies.state import get_settings
from main import create_app
from routers import auth, health, tasks
from tests.support.keyserver import KeyServer
from tests.support.service import make_settings
from tests.support.tokens import SigningKey

DEPENDENCIES = {
    get_current_user: 12,
    get_session: 15,
    get_settings: 14,
}
"""The dependencies, and how many operations have each."""

BODIES = {
    "PATCH /api/{user_id}/tasks": {"completed": True},
    "PATCH /api/{user_id}/tasks/{task_id}/complete": {"completed": True},
}
CREDENTIALS = {"email": "a@example.com", "password": "a password of some length"}


@pytest.fixture(scope="module")
def settings(database_url: str, key_server: KeyServer) -> Settings:
    return make_settings(database_url, key_server.url)


def depends_on(dependant: Dependant, dependency: Callable[..., Any]) -> bool:
    return any(
        each.call is dependency or depends_on(each, dependency) for each in dependant.dependencies
    )


def operations(dependency: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    for router in (auth.router, tasks.router, health.router):
        for route in router.routes:
            if isinstance(route, APIRoute) and depends_on(route.dependant, dependency):
                for method in sorted(route.methods or ()):
                    yield method, route.path


@pytest.mark.parametrize("dependency", DEPENDENCIES, ids=lambda each: each.__name__)
def test_an_override_is_used_by_every_route_that_has_the_dependency(
    settings: Settings, key: SigningKey, dependency: Callable[..., Any]
) -> None:
    app = create_app(settings)

    async def overridden() -> AsyncIterator[None]:
        """Answer the request: no other dependency can have done so."""
        raise ConflictError("This is the override.")
        yield

    app.dependency_overrides[dependency] = overridden
    found = list(operations(dependency))
    assert len(found) == DEPENDENCIES[dependency]

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            return [
                await client.request(
                    method,
                    path.format(user_id="me", task_id=1),
                    params={"status": "all"},
                    headers={"Authorization": f"Bearer {key.token()}"},
                    json=BODIES.get(f"{method} {path}", {"title": "a task", **CREDENTIALS}),
                )
                for method, path in found
            ]

    for operation, response in zip(found, asyncio.run(ask()), strict=True):
        assert response.status_code == 409, (operation, response.text)
