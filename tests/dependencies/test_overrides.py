"""Tests that `app.dependency_overrides` works, because that is how people test FastAPI."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from core.problems import ConflictError
from dependencies import state
from main import create_app
from tests.support.keyserver import KeyServer
from tests.support.service import make_settings
from tests.support.tokens import SigningKey

MODULES = [import_module(f"routers.{each.name}") for each in iter_modules(["routers"])]
ROUTES = [
    route
    for router in (getattr(module, "router", APIRouter()) for module in MODULES)
    for route in router.routes
    if isinstance(route, APIRoute) and route.include_in_schema
]


def dependencies(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """Yield the functions that something depends on, directly and through others."""
    for each in dependant.dependencies:
        if each.call is not None:
            yield each.call
        yield from dependencies(each)


OPERATIONS = {
    function: [
        (method, route.path)
        for route in ROUTES
        if function in dependencies(route.dependant)
        for method in sorted(route.methods or ())
    ]
    for function in sorted(
        {function for route in ROUTES for function in dependencies(route.dependant)},
        key=lambda function: getattr(function, "__name__", type(function).__name__),
    )
}
"""Every dependency, and the operations that have it."""


def test_everything_that_the_lifespan_creates_is_a_dependency_of_a_route() -> None:
    getters = {function for name, function in vars(state).items() if name.startswith("get_")}
    assert getters <= set(OPERATIONS)


@pytest.mark.parametrize("dependency", OPERATIONS, ids=lambda each: getattr(each, "__name__", ""))
def test_an_override_is_used_by_every_route_that_has_the_dependency(
    database_url: str, key: SigningKey, key_server: KeyServer, dependency: Callable[..., Any]
) -> None:
    app = create_app(make_settings(database_url, key_server.url))

    async def overridden() -> AsyncIterator[None]:
        """Answer the request: no other dependency can have done so."""
        raise ConflictError("This is the override.")
        yield

    app.dependency_overrides[dependency] = overridden

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            headers = {"Authorization": f"Bearer {key.token()}"}
            return [
                await client.request(method, path.format(user_id="me", task_id=1), headers=headers)
                for method, path in OPERATIONS[dependency]
            ]

    for operation, response in zip(OPERATIONS[dependency], asyncio.run(ask()), strict=True):
        assert response.status_code == 409, (operation, response.text)
