"""How every route reads its JSON: to the letter of RFC 8259."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute


class StrictRequest(Request):
    """A request whose body is UTF-8 and has no NaN or Infinity in it, or is no JSON at all."""

    async def json(self) -> Any:  # noqa: ANN401 - as Starlette's
        """Read the body. Raises JSONDecodeError."""
        body = await self.body()
        try:
            value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        except (UnicodeDecodeError, RecursionError):
            raise json.JSONDecodeError("not JSON in UTF-8", "", 0) from None
        # FastAPI takes null for a body that was not sent, and would toggle a task.
        return "null" if value is None else value


class StrictRoute(APIRoute):
    """A route that reads its body so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand the route's code a StrictRequest."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", "", 0)
