"""Logs: one line a request, in text or JSON, and nothing in them that is secret."""

import logging.config
import os
import re
import sys
import time
from functools import partial
from typing import Literal, override

from opentelemetry import trace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = "X-Request-ID"
_REQUEST_ID = REQUEST_ID.lower().encode()
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")

logger = logging.getLogger(__name__)


class StartupError(Exception):
    """The service cannot start; the message is one line for whoever starts it."""


def configure_logging(log_format: Literal["text", "json"]) -> None:
    """Send every log line of the process, uvicorn's own too, to standard error in one format."""
    # What no format here shows need not be found out for each line ("Optimization" in the manual).
    logging._srcfile = None  # noqa: SLF001 - it is the manual's own way
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined] # typeshed does not know it
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "text": {
                    "()": _TextFormatter,
                    "fmt": "%(asctime)s %(levelname)s %(name)s: %(message)s",
                },
                "json": {
                    "()": "pythonjsonlogger.json.JsonFormatter",
                    "fmt": "{asctime}{levelname}{name}{message}",
                    "style": "{",
                    "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                },
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": log_format}},
            "root": {"handlers": ["stderr"], "level": "INFO"},
            "loggers": {
                "uvicorn": {"handlers": [], "propagate": True},
                # Our line says more: uvicorn's has the raw address, query and all.
                "uvicorn.access": {"handlers": [], "propagate": False},
                "alembic": {"level": "WARNING"},
                # httpx would log each fetch of the key set.
                "httpx": {"level": "WARNING"},
            },
        }
    )


class _TextFormatter(logging.Formatter):
    """Writes the time as logging does, but works out each second once and not for each line."""

    _second = -1
    _text = ""

    @override
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._text = time.strftime(self.default_time_format, self.converter(second))
        return f"{self._text},{int(record.msecs):03d}"


class RequestLogMiddleware:
    """Name each request, on its answer and in its log line.

    The caller's `X-Request-ID` is kept when it is a sane one. Stands outside of everything else,
    and so says of each answer what may be done with it: nobody guesses its type, nobody keeps it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, add the header to its answer and log what came of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, partial(_send_readably, send))
            return
        started_at = time.perf_counter()
        request_id = _request_id(scope)
        # What callers make up does not get into the span either, which has the route.
        trace.get_current_span().set_attributes({"url.path": "", "url.query": ""})
        is_of_docs = f"{scope['path']}/".startswith("/docs/")
        headers = safe_headers(request_id, may_be_stored=is_of_docs)
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            log_answer(
                method=scope["method"],
                # The route, not the path: what callers make up does not get into the log.
                route=getattr(scope.get("route"), "path", "(none)"),
                status=status,
                milliseconds=round((time.perf_counter() - started_at) * 1000, 1),
                user_id=scope.get("state", {}).get("user_id"),
                request_id=request_id,
            )


def safe_headers(request_id: str, *, may_be_stored: bool = False) -> list[tuple[bytes, bytes]]:
    """Give what every answer carries: its id, and that nobody is to guess its type or keep it."""
    headers = [(_REQUEST_ID, request_id.encode()), (b"x-content-type-options", b"nosniff")]
    if not may_be_stored:
        headers.append((b"cache-control", b"no-store"))
    return headers


def log_answer(**answer: object) -> None:
    """Write the one line of a request."""
    logger.info(
        "%(method)s %(route)s %(status)s %(milliseconds)s ms"
        " user=%(user_id)s request=%(request_id)s",
        answer,
        extra=answer,
    )


def new_request_id() -> str:
    """Make up an id: 128 random bits."""
    return os.urandom(16).hex()


async def _send_readably(send: Send, message: Message) -> None:
    """Put a StartupError's one line in place of its traceback, which uvicorn would log."""
    error = sys.exception()
    if message["type"] == "lifespan.startup.failed" and isinstance(error, StartupError):
        message["message"] = str(error)
    await send(message)


def _request_id(scope: Scope) -> str:
    """Give the caller's request id, or a new one where it sent none or a strange one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return new_request_id()
