"""The floor: FastAPI on uvicorn answering the same bytes, with no token and no database."""

import json
from typing import Final

from fastapi import FastAPI, Request, Response

_TASK: Final = {
    "id": 100001,
    "user_id": 101,
    "title": "Task 1",
    "description": "Two litres, the cold kind",
    "completed": False,
    "created_at": "2026-01-31T12:00:00.000000Z",
    "updated_at": "2026-01-31T12:00:00.000000Z",
}
_ONE: Final = json.dumps(_TASK, separators=(",", ":")).encode()
_LIST: Final = json.dumps([_TASK] * 20, separators=(",", ":")).encode()

app = FastAPI()


@app.get("/ready")
async def read_readiness() -> None:
    """Say that the process runs."""


@app.get("/api/{user_id}/tasks")
async def list_tasks(user_id: str) -> Response:
    """Give twenty tasks."""
    return Response(_LIST, media_type="application/json")


@app.get("/api/{user_id}/tasks/{task_id}")
async def read_task(user_id: str, task_id: str) -> Response:
    """Give one task."""
    return Response(_ONE, media_type="application/json")


@app.post("/api/{user_id}/tasks", status_code=201)
async def create_task(user_id: str, request: Request) -> Response:
    """Take the body and give one task."""
    await request.body()
    return Response(_ONE, 201, media_type="application/json")


@app.patch("/api/{user_id}/tasks/{task_id}")
async def update_task(user_id: str, task_id: str, request: Request) -> Response:
    """Take the body and give one task."""
    await request.body()
    return Response(_ONE, media_type="application/json")
