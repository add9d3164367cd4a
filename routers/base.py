"""What all routes have in common: their names, and JSON to the letter of RFC 8259."""

import json
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, NoReturn

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute


class StrictRequest(Request):
    """A request whose body is UTF-8 and has no NaN or Infinity in it, or is no JSON at all."""

    async def json(self) -> Any:  # noqa: ANN401 - as Starlette's
        """Read the body. Raises JSONDecodeError."""
        body = await self.body()
        try:
            return _STRICT.decode(body.decode("utf-8"))
        except (ValueError, RecursionError):
            # Not UTF-8, not JSON, a number of thousands of digits, or nested beyond measure.
            raise json.JSONDecodeError("not JSON in UTF-8", "", 0) from None


class StrictRoute(APIRoute):
    """A route that reads its body so, where it has one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand the route's code a StrictRequest."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly


Router: Final = partial(
    APIRouter,
    route_class=StrictRoute,
    # So that a client that is generated from the OpenAPI document reads well: list_tasks.
    generate_unique_id_function=lambda route: route.name,
)


def json_response(
    body: str, status_code: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with a text that is JSON already."""
    return Response(body, status_code, headers, media_type="application/json")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_STRICT: Final = json.JSONDecoder(parse_constant=_refuse_constant)
