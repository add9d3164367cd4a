"""Errors as RFC 9457 problem documents: the one shape of everything that is not a success."""

import asyncio
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE = "application/problem+json"
MAX_BODY_SIZE = 64 * 1024
"""The largest request body that is read, in bytes."""
BODY_SECONDS = 10
"""How long all of a request body may take to arrive."""

logger = logging.getLogger(__name__)


class FieldError(BaseModel):
    """What is wrong with one member of the input."""

    field: str = Field(examples=["title"])
    message: str = Field(examples=["String should have at least 1 character"])


class Problem(BaseModel):
    """A problem document (RFC 9457 §3)."""

    type: str = Field(default="about:blank", examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no such task."])
    errors: list[FieldError] | None = Field(
        default=None, description="One entry for each member that is wrong; only with 400."
    )


class ProblemError(HTTPException):
    """An error that is answered as a problem document; its subclasses say which."""

    status: ClassVar[HTTPStatus]

    def __init__(
        self,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(self.status, detail, headers)
        self.errors = errors


class BadRequestError(ProblemError):
    """400: the input is wrong, and the same request would fail again."""

    status = HTTPStatus.BAD_REQUEST


class TooSlowError(BadRequestError):
    """400: the body is not there after `BODY_SECONDS`, and its connection is closed."""

    def __init__(self) -> None:
        detail = f"The body took longer than {BODY_SECONDS} seconds to arrive."
        super().__init__(
            detail,
            errors=[FieldError(field="body", message="This did not arrive in time")],
            headers={"Connection": "close"},
        )


class UnauthorizedError(ProblemError):
    """401: who is asking could not be told; carries the challenge of RFC 6750 §3."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class ForbiddenError(ProblemError):
    """403: we know who is asking, and this is not theirs."""

    status = HTTPStatus.FORBIDDEN


class NotFoundError(ProblemError):
    """404: it does not exist, or the caller must not learn that it does."""

    status = HTTPStatus.NOT_FOUND


class ConflictError(ProblemError):
    """409: it clashes with what is there already."""

    status = HTTPStatus.CONFLICT


class TooLargeError(ProblemError):
    """413: the body is longer than `MAX_BODY_SIZE`."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __init__(self) -> None:
        super().__init__(f"The body is larger than {MAX_BODY_SIZE} bytes.")


class TooManyRequestsError(ProblemError):
    """429: asked too often; `retry_after` is in seconds."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class UnavailableError(ProblemError):
    """503: something this service needs is away; `retry_after` is in seconds."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str, *, retry_after: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


def found[T](row: T | None, detail: str = "There is no such task.") -> T:
    """Give the row; raise NotFoundError with `detail` when there is none."""
    if row is None:
        raise NotFoundError(detail)
    return row


def problem_response(
    status: int,
    detail: str,
    *,
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build the answer for one problem."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    return Response(
        problem.model_dump_json(exclude_none=True), status, headers, media_type=MEDIA_TYPE
    )


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document, for OpenAPI, the problems that a route may answer with."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": Problem(
                        title=HTTPStatus(status).phrase,
                        status=status,
                        detail=_EXAMPLES[status],
                        errors=[
                            FieldError(
                                field="title", message="String should have at least 1 character"
                            )
                        ]
                        if status == HTTPStatus.BAD_REQUEST
                        else None,
                    ).model_dump(exclude_none=True),
                }
            },
        }
        for status in statuses
    }


_EXAMPLES = {
    400: "The request is not valid: see errors.",
    401: "The token has expired.",
    403: "The path names another user.",
    404: "There is no such task.",
    409: "There is an account with this e-mail address already.",
    413: "The body is larger than 65536 bytes.",
    429: "Too many attempts: try again in 30 seconds.",
    500: "Something went wrong on our side; it has been logged.",
    503: "The database cannot be reached: try again shortly.",
}

# pydantic's words for a body that is no JSON object speak of dictionaries and Python objects.
_MESSAGES = {
    "model_attributes_type": "Send a JSON object, with Content-Type: application/json",
    "json_invalid": "This is not valid JSON",
    "missing": "This is required",
}


async def http_problem(_request: Request, error: Exception) -> Response:
    """Answer our own errors, and Starlette's for an unknown path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    detail = error.detail
    if not isinstance(error, ProblemError):
        detail = {
            404: "There is nothing at this address.",
            405: "This address does not take that method.",
        }.get(error.status_code, "The request could not be read.")
    return problem_response(
        error.status_code, detail, errors=getattr(error, "errors", None), headers=error.headers
    )


async def validation_problem(_request: Request, error: Exception) -> Response:
    """Answer invalid input: 404 for an id that can be nobody's, else 400. Never echoes input."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    found_errors = error.errors()
    if any(each["loc"][0] == "path" for each in found_errors):
        return problem_response(404, _EXAMPLES[404])
    return problem_response(
        400,
        _EXAMPLES[400],
        errors=[
            FieldError(
                field=".".join(str(part) for part in each["loc"][1:]) or "body"
                if each["type"] != "json_invalid"
                else "body",
                message=_MESSAGES.get(each["type"], each["msg"].removeprefix("Value error, ")),
            )
            for each in found_errors
        ],
    )


class ProblemMiddleware:
    """Answer 413 when the body is too long, 400 when it is too slow, and 500 for what is our fault.

    It stands inside the CORS middleware, so that a browser may read these answers too:
    FastAPI's own body limit and error page stand outside, and answer in plain text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and see that whatever happens is answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        size = 0
        deadline: float | None = None
        complete = False
        started = False

        async def receiving() -> Message:
            nonlocal size, deadline, complete
            if complete:
                # What is waited for now is the end of the connection.
                return await receive()
            deadline = deadline or asyncio.get_running_loop().time() + BODY_SECONDS
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise TooSlowError from None
            complete = not message.get("more_body", False)
            size += len(message.get("body", b""))
            if size > MAX_BODY_SIZE:
                raise TooLargeError
            return message

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receiving, sending)
        except Exception:
            logger.exception("unhandled error")
            if started:
                raise
            await problem_response(500, _EXAMPLES[500])(scope, receive, send)
