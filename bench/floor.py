"""The floor: FastAPI on uvicorn sending the same bytes, without tokens and without a database."""

from typing import Final

from fastapi import FastAPI, Request, Response

ONE: Final = (
    b'{"id":100001,"user_id":101,"title":"Task 1","description":"Two litres, the cold kind",'
    b'"completed":false,"created_at":"2026-01-31T12:00:00.000000Z",'
    b'"updated_at":"2026-01-31T12:00:00.000000Z"}'
)
LIST: Final = b"[" + b",".join([ONE] * 20) + b"]"

app = FastAPI()


@app.get("/health/ready")
async def read_readiness() -> None:
    """Return 200."""


@app.get("/api/{user_id}/tasks")
async def list_tasks(user_id: str) -> Response:
    """Return twenty tasks."""
    return Response(LIST, media_type="application/json")


@app.get("/api/{user_id}/tasks/{task_id}")
async def read_task(user_id: str, task_id: str) -> Response:
    """Return one task."""
    return Response(ONE, media_type="application/json")


@app.post("/api/{user_id}/tasks")
@app.patch("/api/{user_id}/tasks/{task_id}")
async def write_task(user_id: str, request: Request) -> Response:
    """Read the body and return one task."""
    await request.body()
    return Response(ONE, media_type="application/json")
