"""Errors as RFC 9457 problem documents: the one shape of everything that is not a success."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

from fastapi.exceptions import RequestValidationError
from psycopg2 import errors as pg
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE: Final = "application/problem+json"

logger = logging.getLogger(__name__)


class FieldError(BaseModel):
    """What is wrong with one field of the input."""

    field: str = Field(description="Its name in the body or the query", examples=["title"])
    message: str = Field(description="What is wrong, for people", examples=["Write a title"])


class Problem(BaseModel):
    """A problem document (RFC 9457 §3)."""

    type: str = Field(
        default="about:blank",
        description="Always `about:blank`: the status says what kind it is",
        examples=["about:blank"],
    )
    title: str = Field(description="The status in words", examples=["Not Found"])
    status: int = Field(description="The status of the response", examples=[404])
    detail: str = Field(
        description="One sentence, for people", examples=["There is nothing with this id."]
    )
    errors: list[FieldError] | None = Field(
        default=None, description="One entry for each field that is wrong; only with 400."
    )


class ProblemError(HTTPException):
    """An error that is answered with a problem document; each subclass has one status.

    Its `usual_detail` is the sentence where the caller gives none, and OpenAPI's example.
    """

    status: ClassVar[HTTPStatus]
    usual_detail: ClassVar[str]

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: list[FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(self.status, detail or self.usual_detail, headers)
        self.errors = errors

    @property
    def problem(self) -> Problem:
        """The problem document."""
        return make_problem(self.status, self.detail, self.errors)


class BadRequestError(ProblemError):
    """400: one field of the input is wrong, and the same request would fail again."""

    status = HTTPStatus.BAD_REQUEST
    usual_detail = "The request is not valid: see errors."

    def __init__(
        self,
        field: str = "title",
        message: str = "Write a title",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(errors=[FieldError(field=field, message=message)], headers=headers)


class UnauthorizedError(ProblemError):
    """401: the caller is not known; carries the challenge of RFC 6750 §3."""

    status = HTTPStatus.UNAUTHORIZED
    usual_detail = "The token has expired."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class ForbiddenError(ProblemError):
    """403: the caller is known, and may not do this."""

    status = HTTPStatus.FORBIDDEN
    usual_detail = "The path names another user."


class UnverifiedEmailError(ForbiddenError):
    """403: the token's address has an account, and the token does not prove that address."""

    usual_detail = (
        "There is an account with this e-mail address: verify your e-mail address first to use it."
    )


class NotFoundError(ProblemError):
    """404: it does not exist, or the caller must not learn that it does."""

    status = HTTPStatus.NOT_FOUND
    usual_detail = "There is nothing with this id."


class AccountGoneError(NotFoundError):
    """404: the account of the token was deleted."""

    usual_detail = "This account is gone."


class ConflictError(ProblemError):
    """409: it conflicts with something that exists."""

    status = HTTPStatus.CONFLICT
    usual_detail = "There is one already."


class PreconditionFailedError(ProblemError):
    """412: the resource has changed since the version that `If-Match` names."""

    status = HTTPStatus.PRECONDITION_FAILED
    usual_detail = "It has changed since the version that If-Match names."


class TooLargeError(ProblemError):
    """413: the body is longer than `limit` bytes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __init__(self, limit: int = 64 * 1024) -> None:
        super().__init__(f"The body is larger than {limit} bytes.")


class TooManyRequestsError(ProblemError):
    """429: too many attempts; `retry_after` is in seconds."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    usual_detail = "Too many attempts: try again later."

    def __init__(self, detail: str | None = None, *, retry_after: int = 30) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class InternalError(ProblemError):
    """500: an unhandled error; the log says more."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    usual_detail = "Something went wrong on our side; it has been logged."


class UnavailableError(ProblemError):
    """503: something that this service needs is not available; `retry_after` is in seconds."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    usual_detail = "The database is not available: try again shortly."

    def __init__(self, detail: str | None = None, *, retry_after: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


def get_or_404[T](row: T | None, error: type[NotFoundError] = NotFoundError) -> T:
    """Return the row. Raises `error` when there is none."""
    if row is None:
        raise error
    return row


def make_problem(status: int, detail: str, errors: list[FieldError] | None = None) -> Problem:
    """Return a problem document of a status."""
    return Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)


def problem_response(
    status: int,
    detail: str,
    *,
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response for one problem."""
    problem = make_problem(status, detail, errors)
    return Response(
        problem.model_dump_json(exclude_none=True), status, headers, media_type=MEDIA_TYPE
    )


# Messages for pydantic's types of errors, with the values of their context; its own speak of
# Python. A message of ours is a ValueError of a validator.
_MESSAGES: Final = {
    "bool_type": "This must be true or false",
    "extra_forbidden": "This is not known",
    "json_invalid": "This is not valid JSON",
    "literal_error": "This must be one of: {expected}",
    "missing": "This is required",
    "model_attributes_type": "Send a JSON object, with Content-Type: application/json",
    "string_too_long": "This must have at most {max_length} characters",
    "string_type": "This must be text",
    "string_unicode": "This has a NUL character or half of a surrogate pair",
}


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    context = dict(error.get("ctx", {}))
    if "expected" in context:
        context["expected"] = context["expected"].replace("'", "").replace(" or ", ", ")
    return _MESSAGES.get(error["type"], "This is not valid").format(**context)


async def http_problem(_request: Request, error: Exception) -> Response:
    """Answer our own errors, and Starlette's for an unknown path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    detail = error.detail
    if isinstance(error, ProblemError):
        if error.status_code in (401, 403):
            logger.info("%s: %s", error.status_code, detail)
    else:
        detail = {
            404: "There is nothing at this address.",
            405: "This address does not support that method.",
        }.get(error.status_code, "The request could not be read.")
    return problem_response(
        error.status_code, detail, errors=getattr(error, "errors", None), headers=error.headers
    )


async def validation_problem(_request: Request, error: Exception) -> Response:
    """Answer invalid input: 404 for an id that nothing can have, else 400. Never echoes input."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    errors = error.errors()
    if any(each["loc"][0] == "path" for each in errors):
        return problem_response(404, NotFoundError.usual_detail)
    return problem_response(
        400,
        BadRequestError.usual_detail,
        errors=[FieldError(field=_field(each), message=_message(each)) for each in errors],
    )


def _field(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return "body"
    return ".".join(str(part) for part in error["loc"][1:]) or "body"


async def database_problem(request: Request, error: Exception) -> Response:
    """Answer 503 when PostgreSQL is away, too slow or too busy; its own message is for the log.

    So is a schema that is older than the code. Any other error of the database is a bug: 500.
    """
    request.app.state.database_health.is_good = False
    if isinstance(error, DBAPIError):
        cause = error.orig
        if isinstance(cause, pg.ProgrammingError | pg.DataError | pg.IntegrityError) and not (
            isinstance(cause, pg.UndefinedTable | pg.UndefinedColumn)
        ):
            raise error
        logger.warning("database unavailable: %s", cause)
        unavailable = UnavailableError()
    else:
        logger.warning("database too busy: no connection of the pool in time")
        unavailable = UnavailableError("The database is too busy: try again shortly.")
    return await http_problem(request, unavailable)
