"""Tasks: the caller's own, and nobody else's."""

from typing import Annotated, Any

from fastapi import Path, Request, Response, status
from pydantic import BeforeValidator, Field

from dependencies.auth import OwnSessionDep
from models import task, user
from routers.base import Router, json_response
from schemas.task import TaskCompletion, TaskCreate, TaskPublic, TaskUpdate
from utils.problems import found, problems

router = Router(prefix="/api/{user_id}/tasks", tags=["tasks"])


def _decimal(text: str) -> int:
    """Read an id in its one spelling: `1`, and neither `01` nor `+1`."""
    if not (text.isascii() and text.isdigit()) or text.startswith("0"):
        raise ValueError("not an id")
    return int(text)


_NO_ACCOUNT = "This account is gone."

# A body may be left out but not be null: the type says so to whoever reads the OpenAPI document.
_NOT_SENT: Any = None

TaskId = Annotated[int, Field(ge=1, le=user.MAX_ID), BeforeValidator(_decimal), Path(examples=[1])]


@router.get("", response_model=list[TaskPublic], responses=problems(401, 403, 404, 503))
async def list_tasks(session: OwnSessionDep) -> Response:
    """Give all the tasks, the oldest first."""
    tasks = await task.every(session)
    if tasks is None:
        found(await user.read(session, session.owner), _NO_ACCOUNT)
    return json_response(tasks or task.NONE)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=TaskPublic,
    responses={
        201: {
            "headers": {
                "Location": {"description": "The task's address", "schema": {"type": "string"}}
            }
        },
        **problems(400, 401, 403, 404, 413, 503),
    },
)
async def create_task(request: Request, new: TaskCreate, session: OwnSessionDep) -> Response:
    """Make a task."""
    made = found(await task.create(session, new.model_dump()), _NO_ACCOUNT)
    task_id, body = made
    location = f"{request.scope['raw_path'].decode()}/{task_id}"
    return json_response(body, status.HTTP_201_CREATED, {"Location": location})


@router.get("/{task_id}", response_model=TaskPublic, responses=problems(401, 403, 404, 503))
async def read_task(task_id: TaskId, session: OwnSessionDep) -> Response:
    """Give one task."""
    return json_response(found(await task.read(session, task_id)))


@router.put(
    "/{task_id}", response_model=TaskPublic, responses=problems(400, 401, 403, 404, 413, 503)
)
async def replace_task(task_id: TaskId, new: TaskCreate, session: OwnSessionDep) -> Response:
    """Set all that one says of a task; what the body leaves out goes back to its default."""
    return json_response(found(await task.update(session, task_id, new.model_dump())))


@router.patch(
    "/{task_id}", response_model=TaskPublic, responses=problems(400, 401, 403, 404, 413, 503)
)
async def update_task(task_id: TaskId, changes: TaskUpdate, session: OwnSessionDep) -> Response:
    """Change the members that the body names and leave the rest."""
    named = changes.model_dump(exclude_unset=True)
    return json_response(found(await task.update(session, task_id, named)))


@router.patch(
    "/{task_id}/complete",
    response_model=TaskPublic,
    responses=problems(400, 401, 403, 404, 413, 503),
)
async def complete_task(
    task_id: TaskId, session: OwnSessionDep, completion: TaskCompletion = _NOT_SENT
) -> Response:
    """Set whether a task is completed; without a body, turn it round."""
    completed = completion.completed if completion else None
    return json_response(found(await task.complete(session, task_id, completed=completed)))


@router.delete(
    "/{task_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(401, 403, 404, 503),
)
async def delete_task(task_id: TaskId, session: OwnSessionDep) -> None:
    """Delete a task."""
    found(await task.remove(session, task_id))
