"""ASGI middleware: the log line, the limits and the last resort of every request."""

import asyncio
import logging
import os
import re
import sys
import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final

from fastapi.middleware.cors import CORSMiddleware
from opentelemetry import trace
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.logs import request_id_var
from core.problems import (
    BadRequestError,
    FieldError,
    InternalError,
    TooLargeError,
    problem_response,
)
from core.settings import StartupError

REQUEST_ID: Final = "X-Request-ID"
MAX_BODY_SIZE: Final = 64 * 1024
"""The largest request body that is read, in bytes."""
BODY_SECONDS: Final = 10
"""How long all of a request body may take to arrive."""

_REQUEST_ID: Final = REQUEST_ID.lower().encode()
_VALID_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")

logger = logging.getLogger(__name__)


class RequestLogMiddleware:
    """Identify each request, in its response and in every log line, and log its outcome.

    The caller's `X-Request-ID` is kept when it is a harmless one. As the outermost middleware it
    adds what every response carries: no sniffing, no caching. HEAD is GET that ends after the
    headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, add headers to its response and log the outcome."""
        if scope["type"] != "http":
            await self.app(scope, receive, partial(_send_readable, send))
            return
        started_at = time.perf_counter()
        request_id = _request_id(scope)
        token = request_id_var.set(request_id)
        # Remove the raw path and query from the span; it has the route.
        trace.get_current_span().set_attributes({"url.path": "", "url.query": ""})
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        is_of_docs = f"{path}/".startswith("/docs/")
        headers = safe_headers(request_id, may_be_stored=is_of_docs)
        is_head = scope["method"] == "HEAD"
        inner = {**scope, "method": "GET"} if is_head else scope
        status = 0
        head = asyncio.timeout(None)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *headers]
                await send(message)
            elif not is_head:
                await send(message)
            else:
                await send({"type": "http.response.body"})
                if message.get("more_body"):
                    # A stream would go on to read all of its pages: cancel it.
                    head.reschedule(0)
                    await asyncio.Event().wait()

        try:
            if is_head:
                with suppress(TimeoutError):
                    async with head:
                        await self.app(inner, receive, sending)
            else:
                await self.app(inner, receive, sending)
        finally:
            log_request(
                method=scope["method"],
                # The route and not the path: nothing that callers invent gets into the log.
                route=getattr(inner.get("route"), "path", "(none)"),
                status=status,
                milliseconds=round((time.perf_counter() - started_at) * 1000, 1),
                user_id=scope.get("state", {}).get("user_id"),
            )
            request_id_var.reset(token)


def safe_headers(request_id: str, *, may_be_stored: bool = False) -> list[tuple[bytes, bytes]]:
    """Return the headers that every response carries."""
    headers = [(_REQUEST_ID, request_id.encode()), (b"x-content-type-options", b"nosniff")]
    if not may_be_stored:
        headers.append((b"cache-control", b"no-store"))
    return headers


def log_request(**outcome: object) -> None:
    """Write the one line of a request."""
    logger.info(
        "%(method)s %(route)s %(status)s %(milliseconds)s ms user=%(user_id)s",
        outcome,
        extra=outcome,
    )


def new_request_id() -> str:
    """Return a new id: 128 random bits."""
    return os.urandom(16).hex()


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == _REQUEST_ID and _VALID_REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return new_request_id()


async def _send_readable(send: Send, message: Message) -> None:
    """Put a StartupError's one line in place of its traceback, which uvicorn would log."""
    error = sys.exception()
    if message["type"] == "lifespan.startup.failed" and isinstance(error, StartupError):
        message["message"] = str(error)
    await send(message)


class TrailingSlashFallback:
    """Route a path that no route has once more, without its trailing slash.

    To remove it beforehand would hide the root of a mounted application, which needs it.
    """

    def __init__(self, router: Router) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the route without the slash, or respond with 404."""
        path: bytes = scope.get("raw_path", b"")
        if path.endswith(b"/") and not path.endswith(b"//"):
            # In place: the log and the links of a response are about the path that was routed.
            scope["path"] = scope["path"][:-1]
            scope["raw_path"] = path[:-1]
            await self._router.app(scope, receive, send)
        else:
            await self._router.not_found(scope, receive, send)


def _declared_size(scope: Scope) -> int:
    size = Headers(scope=scope).get("content-length", "0")
    return int(size) if size.isascii() and size.isdigit() else 0


class ProblemMiddleware:
    """Answer 413 for bodies that are too long, 400 for slow ones, 500 for unhandled errors.

    An error after the response has begun leaves it incomplete. It stands inside the CORS
    middleware, so that a browser may read these responses too: FastAPI's own body limit and error
    page stand outside, and answer in plain text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(  # noqa: C901 - what its functions share is of one request
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass the request on, and respond to any error."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = 0
        deadline: float | None = None
        is_complete = False
        is_started = False

        async def receiving() -> Message:
            nonlocal received, deadline, is_complete
            if is_complete or is_started:
                # The body is complete, or not needed; the next message is http.disconnect.
                return await receive()
            if deadline is None and _declared_size(scope) > MAX_BODY_SIZE:
                raise TooLargeError(MAX_BODY_SIZE)
            deadline = deadline or asyncio.get_running_loop().time() + BODY_SECONDS
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                if is_started:
                    return await receive()
                raise BadRequestError(
                    "body",
                    f"This took longer than {BODY_SECONDS} seconds to arrive",
                    headers={"Connection": "close"},
                ) from None
            is_complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > MAX_BODY_SIZE and not is_started:
                raise TooLargeError(MAX_BODY_SIZE)
            return message

        async def sending(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self.app(scope, receiving, sending)
        except Exception as error:
            if is_started:
                # The server sees that the response is not complete, and ends the connection.
                _log_cut(error)
                return
            logger.exception("unhandled error")
            response = problem_response(500, InternalError.usual_detail)
            await response(scope, receive, send)


def _log_cut(error: Exception) -> None:
    """Log an error after the response has begun: in one line, unless it is a bug."""
    # Starlette raises RuntimeError from an error that has a handler.
    cause = error.__cause__ if isinstance(error, RuntimeError) else None
    if cause is None:
        logger.error("unhandled error", exc_info=error)
    else:
        logger.error("response cut off: %s", " ".join(str(getattr(cause, "orig", cause)).split()))


class ProblemCORSMiddleware(CORSMiddleware):
    """FastAPI's CORS middleware, whose refused preflights are problem documents and are logged."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight request."""
        response = super().preflight_response(request_headers)
        if response.status_code < HTTPStatus.BAD_REQUEST:
            return response
        reason = bytes(response.body).decode()
        logger.info("%s, asked for by %.200r", reason, request_headers["origin"])
        del response.headers["content-length"], response.headers["content-type"]
        return problem_response(
            400,
            "The browser may not send this request from that page: see CORS_ORIGINS.",
            errors=[FieldError(field="Origin", message=reason)],
            headers=response.headers,
        )
