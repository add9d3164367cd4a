"""Tests that `app.dependency_overrides` works, because that is how people test FastAPI."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient

from application import create_app
from core.problems import ConflictError
from dependencies import state
from tests.support.keyserver import KeyServer
from tests.support.operations import Operation
from tests.support.service import make_settings
from tests.support.tokens import SigningKey

Dependency = Callable[..., Any]


def dependencies_of(dependant: Dependant) -> Iterator[Dependency]:
    """Yield what a route depends on, and what that depends on."""
    for each in dependant.dependencies:
        if each.call is not None:
            yield each.call
        yield from dependencies_of(each)


def routes_by_dependency() -> dict[Dependency, list[Operation]]:
    app = create_app(make_settings("postgresql://x/x", "http://localhost/x"))
    found: dict[Dependency, list[Operation]] = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.include_in_schema:
            operations = [Operation(each, str(context.path)) for each in route.methods or ()]
            for dependency in dict.fromkeys(dependencies_of(route.dependant)):
                found.setdefault(dependency, []).extend(operations)
    return found


ROUTES: Final = routes_by_dependency()


def test_everything_that_the_lifespan_creates_is_a_dependency_of_a_route() -> None:
    assert {each for name, each in vars(state).items() if name.startswith("get_")} <= set(ROUTES)


@pytest.mark.parametrize("dependency", ROUTES, ids=lambda each: getattr(each, "__name__", ""))
def test_an_override_is_used_by_every_route_that_has_the_dependency(
    database_url: str, key_server: KeyServer, key: SigningKey, dependency: Dependency
) -> None:
    app = create_app(make_settings(database_url, key_server.url))

    async def overridden() -> AsyncIterator[None]:
        """Answer the request: no other dependency can have done so."""
        raise ConflictError("This is the override.")
        yield

    app.dependency_overrides[dependency] = overridden

    with TestClient(app) as client:
        for each in ROUTES[dependency]:
            headers = {"Authorization": f"Bearer {key.token()}"}
            response = client.request(each.method, each.url(), json=each.body, headers=headers)
            assert response.status_code == 409, (each, response.text)
