"""What all routes have in common: strict JSON (RFC 8259), entity tags and streamed lists."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from enum import Enum
from typing import Annotated, Any, Final, NoReturn

from fastapi import APIRouter, Request, Response, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from starlette.types import Receive, Scope, Send

from models.base import MAX_ID
from models.paging import Cursor, Page
from utils.etags import is_known

MAX_STREAMS: Final = 8
"""How many streamed responses one account reads at once in a process: each holds a page."""
PIECE_SIZE: Final = 64 * 1024
"""The most bytes of a page that are sent at once."""


def _decimal(text: str) -> int:
    """Read an id in its one spelling: `1`, and neither `01` nor `+1`."""
    if not (text.isascii() and text.isdigit()) or text.startswith("0"):
        raise ValueError("not an id")
    return int(text)


RowId = Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(_decimal)]
"""The id of a row, in a path: 404 for what no row can have."""


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


def make_router(prefix: str, tags: list[str | Enum]) -> APIRouter:
    """Create a router of strict routes, which generated clients call by the functions' names."""
    return APIRouter(
        prefix=prefix,
        tags=tags,
        route_class=StrictRoute,
        generate_unique_id_function=lambda route: route.name,
    )


def read_query[M: BaseModel](request: Request, model: type[M]) -> M:
    """Return the query parameters of a request. Raises RequestValidationError.

    One that is sent several times means the same as commas. FastAPI's `Query()` looks for each
    field of a model by itself (docs/decisions/0008).
    """
    params = request.query_params
    try:
        return model.model_validate(
            {name: ",".join(params.getlist(name)) for name in params.keys() & model.model_fields}
        )
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        ) from None


def tagged_response(
    body: str | bytes,
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


class AccountStream(StreamingResponse):
    """A streamed JSON document that counts as one of its account's streams until it ends."""

    def __init__(
        self,
        content: AsyncIterator[bytes],
        stream: asyncio.Semaphore,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(content, headers=headers, media_type="application/json")
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.release()


async def stream_pages(
    page: Page, read_after: Callable[[Cursor], Awaitable[Page]]
) -> AsyncIterator[bytes]:
    """Yield the pieces of one JSON array: a page, and each that follows as it is read.

    The pieces are small, because only the next one waits until the client has taken those before.
    """
    yield b"["
    while True:
        end = len(page.json) - 1
        for start in range(1, end, PIECE_SIZE):
            yield page.json[start : min(start + PIECE_SIZE, end)]
        if page.next is None:
            break
        # Yield once so that waiting requests get the connection.
        await asyncio.sleep(0)
        page = await read_after(page.next)
        if page.count:
            yield b","
    yield b"]"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_STRICT: Final = json.JSONDecoder(parse_constant=_refuse_constant)
