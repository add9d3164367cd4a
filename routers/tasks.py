"""Tasks: the caller's own, and nobody else's."""

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import Body, Path, Request, Response, status

from core.openapi import documented, header_parameter, not_modified, problems, query_parameters
from core.problems import (
    AccountGoneError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    PreconditionFailedError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    get_or_404,
)
from dependencies.auth import OwnerDep
from dependencies.state import CursorsDep, QuotaDep, SessionDep, StreamsDep
from models import task, user
from models.paging import Cursor
from routers.base import (
    AccountStream,
    RowId,
    make_router,
    read_query,
    stream_pages,
    tagged_response,
)
from schemas.task import (
    TaskCompletion,
    TaskCompletionParams,
    TaskCreate,
    TaskDeleteParams,
    TaskFilters,
    TaskListParams,
    TaskPublic,
    TaskReplace,
    TasksDeleted,
    TasksUpdate,
    TasksUpdated,
    TaskUpdate,
)
from utils.cursors import CursorCodec, InvalidCursorError
from utils.etags import content_tag, strong_tags

router = make_router("/api/{user_id}/tasks", ["tasks"])

MAX_KEY_LENGTH: Final = 255
"""The most characters of an `Idempotency-Key`."""

IF_MATCH: Final = header_parameter(
    "If-Match", "Change it only if its `ETag` is one of these, or 412 (RFC 9110 §13.1.1)", '"755"'
)
IF_NONE_MATCH: Final = header_parameter(
    "If-None-Match",
    "Send it only if its `ETag` is none of these, or 304 (RFC 9110 §13.1.2)",
    '"755"',
)

_OTHER_BODY: Final = "This Idempotency-Key came with another body before."
_REFUSED: Final = (UnauthorizedError, ForbiddenError, UnavailableError)
_NOT_BOOLEAN: Final = BadRequestError("completed", "This must be true or false")
_CHANGED: Final = {
    **documented(200, "ETag"),
    **problems(*_REFUSED, BadRequestError, NotFoundError, PreconditionFailedError, TooLargeError),
}


def _idempotency_key(request: Request) -> str | None:
    """Return the request's `Idempotency-Key`, if it has one. Raises BadRequestError."""
    key = request.headers.get("idempotency-key")
    if key is not None and not (
        1 <= len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable() and " " not in key
    ):
        raise BadRequestError(
            "idempotency-key", f"This must be 1 to {MAX_KEY_LENGTH} visible ASCII characters"
        )
    return key


TaskId = Annotated[RowId, Path(description="The `id` of a task", examples=[1])]


@router.get(
    "",
    response_model=list[TaskPublic],
    openapi_extra={"parameters": [*query_parameters(TaskListParams), *IF_NONE_MATCH["parameters"]]},
    responses={
        **documented(200, "ETag", "Link"),
        **not_modified("ETag", "Link"),
        **problems(
            *_REFUSED,
            BadRequestError("order", "This must be one of: asc, desc"),
            AccountGoneError,
        ),
    },
)
async def list_tasks(
    request: Request,
    owner: OwnerDep,
    session: SessionDep,
    cursors: CursorsDep,
    streams: StreamsDep,
) -> Response:
    """Return the tasks, newest first unless the parameters say otherwise.

    Without `limit` it is all of them: a list that is too long for one page of the database is
    streamed, without an `ETag`. With `limit`, `Link: <…>; rel="next"` leads to the next page.
    """
    params = read_query(request, TaskListParams)
    filters = params.filters()
    sort, is_descending = params.sorting()
    # What a cursor is good for.
    listing = (owner, filters, sort, is_descending)
    page_of = partial(
        task.list_tasks, session, owner, filters, sort=sort, is_descending=is_descending
    )
    page = await page_of(after=_position(cursors, listing, params.cursor), limit=params.limit)
    if not page.count:
        await _require_account(session, owner)
    if page.next is not None and params.limit is None:
        stream = await streams.acquire(str(owner))
        return AccountStream(stream_pages(page, lambda after: page_of(after=after)), stream)
    headers = {}
    if page.next is not None:
        following = [each for each in request.query_params.multi_items() if each[0] != "cursor"]
        following.append(("cursor", cursors.encode(listing, page.next)))
        headers["Link"] = f'<{_path(request)}?{urlencode(following)}>; rel="next"'
    # The next page is part of the version: a page may stay as it is while tasks follow it.
    tag = content_tag(page.json + headers.get("Link", "").encode())
    return tagged_response(page.json, tag, request=request, headers=headers)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=TaskPublic,
    openapi_extra=header_parameter(
        "Idempotency-Key",
        "Repeated with the same key and body, the request creates no second task",
        "5d3f1c8a",
        minLength=1,
        maxLength=MAX_KEY_LENGTH,
        pattern="^[!-~]+$",
    ),
    responses={
        **documented(201, "ETag", "Location"),
        **problems(
            *_REFUSED,
            BadRequestError,
            AccountGoneError,
            ConflictError(_OTHER_BODY),
            TooLargeError,
        ),
    },
)
async def create_task(
    request: Request,
    new: TaskCreate,
    owner: OwnerDep,
    session: SessionDep,
    quota: QuotaDep,
) -> Response:
    """Create a task."""
    values, key = new.model_dump(), _idempotency_key(request)
    try:
        row = await task.create_task(session, owner, values, key=key, quota=quota)
    except task.IdempotencyConflictError:
        raise ConflictError(_OTHER_BODY) from None
    except task.QuotaExceededError:
        raise ConflictError(
            f"This account has {quota.limit} tasks already, the most that it may have."
        ) from None
    row = get_or_404(row, AccountGoneError)
    headers = {"Location": f"{_path(request)}/{row.id}"}
    return tagged_response(
        row.json, row.version, status_code=status.HTTP_201_CREATED, headers=headers
    )


@router.get(
    "/{task_id}",
    response_model=TaskPublic,
    openapi_extra=IF_NONE_MATCH,
    responses={
        **documented(200, "ETag"),
        **not_modified("ETag"),
        **problems(*_REFUSED, NotFoundError),
    },
)
async def read_task(
    request: Request, task_id: TaskId, owner: OwnerDep, session: SessionDep
) -> Response:
    """Return one task."""
    row = get_or_404(await task.get_task(session, owner, task_id))
    return tagged_response(row.json, row.version, request=request)


@router.patch("/{task_id}", response_model=TaskPublic, responses=_CHANGED, openapi_extra=IF_MATCH)
async def update_task(
    request: Request,
    task_id: TaskId,
    changes: TaskUpdate,
    owner: OwnerDep,
    session: SessionDep,
) -> Response:
    """Change the fields that the body has."""
    versions = _versions(request)
    return await _changed(task.update_task(session, owner, task_id, changes.model_dump(), versions))


@router.patch(
    "/{task_id}/complete",
    response_model=TaskPublic,
    openapi_extra={
        "parameters": [*query_parameters(TaskCompletionParams), *IF_MATCH["parameters"]]
    },
    responses={
        **_CHANGED,
        **problems(_NOT_BOOLEAN),
    },
)
async def complete_task(
    request: Request,
    task_id: TaskId,
    owner: OwnerDep,
    session: SessionDep,
    completion: Annotated[TaskCompletion, Body()] = TaskCompletion(),  # noqa: B008 - immutable
) -> Response:
    """Set whether a task is completed; where neither body nor query say so, toggle it."""
    versions = _versions(request)
    changes: dict[str, object] = completion.model_dump()
    if not changes and (wanted := read_query(request, TaskCompletionParams).completed):
        changes = {"completed": wanted == "true"}
    return await _changed(
        task.update_task(session, owner, task_id, changes, versions)
        if changes
        else task.toggle_task(session, owner, task_id, versions)
    )


@router.put("/{task_id}", response_model=TaskPublic, responses=_CHANGED, openapi_extra=IF_MATCH)
async def replace_task(
    request: Request,
    task_id: TaskId,
    new: TaskReplace,
    owner: OwnerDep,
    session: SessionDep,
) -> Response:
    """Set a task; the title is required, and what else the body leaves out keeps its value."""
    versions = _versions(request)
    return await _changed(task.update_task(session, owner, task_id, new.model_dump(), versions))


@router.delete(
    "/{task_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=IF_MATCH,
    responses=problems(*_REFUSED, NotFoundError, PreconditionFailedError),
)
async def delete_task(
    request: Request, task_id: TaskId, owner: OwnerDep, session: SessionDep
) -> None:
    """Delete a task."""
    await _changed(task.delete_task(session, owner, task_id, _versions(request)))


@router.patch(
    "",
    openapi_extra={"parameters": query_parameters(TaskFilters)},
    responses=problems(*_REFUSED, _NOT_BOOLEAN, AccountGoneError, TooLargeError),
)
async def update_tasks(
    request: Request, new: TasksUpdate, owner: OwnerDep, session: SessionDep
) -> TasksUpdated:
    """Complete all tasks that fit, or the reverse; the count is of those that have changed."""
    filters = _bulk_filters(request, TaskFilters)
    updated = await task.update_tasks(session, owner, filters, new.model_dump())
    if not updated:
        await _require_account(session, owner)
    return TasksUpdated(updated=updated)


@router.delete(
    "",
    openapi_extra={"parameters": query_parameters(TaskDeleteParams)},
    responses=problems(*_REFUSED, BadRequestError("status", "This is required"), AccountGoneError),
)
async def delete_tasks(request: Request, owner: OwnerDep, session: SessionDep) -> TasksDeleted:
    """Delete all tasks of a status that fit."""
    filters = _bulk_filters(request, TaskDeleteParams)
    deleted = await task.delete_tasks(session, owner, filters)
    if not deleted:
        await _require_account(session, owner)
    return TasksDeleted(deleted=deleted)


def _bulk_filters(request: Request, model: type[TaskFilters]) -> dict[str, object]:
    """Return the filters of a request that changes many tasks. Raises BadRequestError."""
    for name in ("limit", "cursor"):
        if request.query_params.get(name):
            raise BadRequestError(name, "All tasks that fit are changed: this is for lists alone")
    return read_query(request, model).filters()


async def _changed(change: Awaitable[task.TaskRow | None]) -> Response:
    """Return the response for a change: the task, 404, or 412."""
    try:
        row = get_or_404(await change)
    except task.VersionMismatchError:
        raise PreconditionFailedError from None
    return tagged_response(row.json, row.version)


async def _require_account(session: SessionDep, owner: int) -> None:
    """Tell an account without tasks from one that is gone. Raises NotFoundError."""
    if not await user.has_user(session, owner):
        raise AccountGoneError


def _versions(request: Request) -> list[str] | None:
    """Return the versions that `If-Match` accepts; None where it is missing or accepts all."""
    if_match = request.headers.getlist("if-match")
    return strong_tags(if_match) if if_match else None


def _path(request: Request) -> str:
    path: bytes = request.scope["raw_path"]
    # The one character that would end the address in a Link header.
    return path.decode().replace(">", "%3E")


def _position(cursors: CursorCodec, listing: Sequence[object], cursor: str | None) -> Cursor | None:
    if cursor is None:
        return None
    try:
        return Cursor(*cursors.decode(listing, cursor))
    except InvalidCursorError:
        raise BadRequestError(
            "cursor", "This is no cursor of this list: begin without one"
        ) from None
