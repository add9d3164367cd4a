"""What all routes have in common: their names, strict JSON (RFC 8259), and entity tags."""

import json
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, NoReturn

from fastapi import APIRouter, Request, Response, status
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from utils.etags import is_known


class StrictRequest(Request):
    """A request whose body is UTF-8 and has no NaN or Infinity in it, or is no JSON at all."""

    async def json(self) -> Any:  # noqa: ANN401 - as Starlette's
        """Read the body. Raises JSONDecodeError."""
        body = await self.body()
        try:
            return _STRICT.decode(body.decode("utf-8"))
        except (ValueError, RecursionError):
            # Not UTF-8, not JSON, a number of thousands of digits, or nested too deeply.
            raise json.JSONDecodeError("not JSON in UTF-8", "", 0) from None


class StrictRoute(APIRoute):
    """A route that reads its body, where it has one, as strict JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Pass a StrictRequest to the route."""
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


def header_parameter(name: str, description: str, **schema: object) -> dict[str, Any]:
    """Document, for OpenAPI, a header that a route reads from the request itself.

    That is a documented way of FastAPI's, and several times as fast as its `Header()`
    (docs/decisions/0008).
    """
    parameter = {"name": name, "in": "header", "description": description}
    return {"parameters": [{**parameter, "schema": {"type": "string", **schema}}]}


def query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Document, for OpenAPI, the query parameters that a route reads by `read_query`."""
    schema = model.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": prop.get("description", ""),
            "schema": prop,
        }
        for name, prop in schema["properties"].items()
    ]


def read_query[M: BaseModel](request: Request, model: type[M]) -> M:
    """Return the query parameters of a request. Raises RequestValidationError.

    FastAPI's `Query()` looks for each field of a model by itself (docs/decisions/0008).
    """
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        ) from None


IF_MATCH: Final = header_parameter(
    "If-Match", "Change it only if its `ETag` is one of these, or 412 (RFC 9110 §13.1.1)"
)
IF_NONE_MATCH: Final = header_parameter(
    "If-None-Match", "Send it only if its `ETag` is none of these, or 304 (RFC 9110 §13.1.2)"
)


def documented(
    status_code: int, *headers: str, description: str = "Successful response"
) -> dict[int | str, dict[str, Any]]:
    """Document, for OpenAPI, the headers of a response (`core.openapi` describes each)."""
    return {status_code: {"description": description, "x-headers": headers}}


def not_modified(*headers: str) -> dict[int | str, dict[str, Any]]:
    """Document, for OpenAPI, the response to a caller that has the newest version."""
    return documented(304, *headers, description="The caller has this version already")


def tagged_response(
    body: str,
    tag: str,
    *,
    request: Request | None = None,
    status_code: int = status.HTTP_200_OK,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a response whose body is JSON already; 304 where the request has that version."""
    headers = {"ETag": f'"{tag}"', **(headers or {})}
    if request is not None and is_known(request.headers.getlist("if-none-match"), tag):
        return Response(None, status.HTTP_304_NOT_MODIFIED, headers)
    return Response(body, status_code, headers, media_type="application/json")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_STRICT: Final = json.JSONDecoder(parse_constant=_refuse_constant)
