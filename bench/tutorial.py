"""The same endpoints, written as FastAPI's and SQLModel's tutorials show.

A session from a generator, `pool_pre_ping`, read, change, commit and refresh; each request decodes
its token. Faster than most such code: it fetches the key set once, and does not read the user.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, HTTPException, status
from fastapi.security import OAuth2PasswordBearer
from jose import JWTError, jwk, jwt
from jose.backends.base import Key
from sqlalchemy import make_url
from sqlmodel import Field, Session, SQLModel, create_engine, select

from utils import eddsa

eddsa.register()
engine = create_engine(
    make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg2"),
    pool_size=int(os.environ["DB_POOL_SIZE"]),
    pool_pre_ping=True,
)
app = FastAPI()


class TaskBase(SQLModel):
    """The fields that a caller may write."""

    title: str = Field(max_length=200)
    description: str | None = Field(default=None, max_length=10_000)
    completed: bool = False


class Task(TaskBase, table=True):
    """The table."""

    __tablename__ = "tasks"

    id: int | None = Field(default=None, primary_key=True)
    user_id: int = Field(index=True)
    created_at: datetime = Field(default_factory=partial(datetime.now, UTC))
    updated_at: datetime = Field(default_factory=partial(datetime.now, UTC))


class TaskUpdate(SQLModel):
    """A partial update."""

    title: str | None = Field(default=None, max_length=200)
    description: str | None = Field(default=None, max_length=10_000)
    completed: bool | None = None


class TaskPublic(TaskBase):
    """The response."""

    id: int
    user_id: int
    created_at: datetime
    updated_at: datetime


def get_session() -> Iterator[Session]:
    """Yield a session for one request."""
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session)]
TokenDep = Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="token"))]


@cache
def signing_key(kid: str) -> Key:
    """Return a key of the key set, which is fetched once."""
    entries: list[dict[str, Any]] = httpx.get(os.environ["JWKS_URL"]).json()["keys"]
    return jwk.construct(next(entry for entry in entries if entry["kid"] == kid), "EdDSA")


def get_current_user(token: TokenDep) -> int:
    """Return the id of the token's user."""
    try:
        claims = jwt.decode(
            token,
            signing_key(jwt.get_unverified_header(token)["kid"]),
            algorithms=["EdDSA"],
            audience=os.environ["JWT_AUDIENCE"],
            issuer=os.environ["JWT_ISSUER"],
        )
    except JWTError as error:
        raise HTTPException(
            status.HTTP_401_UNAUTHORIZED,
            "Could not validate credentials",
            {"WWW-Authenticate": "Bearer"},
        ) from error
    return int(claims["sub"])


CurrentUser = Annotated[int, Depends(get_current_user)]


def check_owner(user_id: int, current_user: int) -> None:
    """Raise 403 if the path names another user."""
    if user_id != current_user:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Not enough permissions")


def get_or_404(session: Session, user_id: int, task_id: int) -> Task:
    """Return the user's task, or raise 404."""
    task = session.get(Task, task_id)
    if task is None or task.user_id != user_id:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Task not found")
    return task


@app.get("/health/ready")
def read_readiness(session: SessionDep) -> None:
    """Return 200 if the database responds."""
    session.exec(select(1))


@app.get("/api/{user_id}/tasks", response_model=list[TaskPublic])
def list_tasks(user_id: int, current_user: CurrentUser, session: SessionDep) -> Sequence[Task]:
    """Return all tasks of the user."""
    check_owner(user_id, current_user)
    return session.exec(select(Task).where(Task.user_id == user_id).order_by("id")).all()


@app.post("/api/{user_id}/tasks", status_code=201, response_model=TaskPublic)
def create_task(
    user_id: int, new: TaskBase, current_user: CurrentUser, session: SessionDep
) -> Task:
    """Create a task."""
    check_owner(user_id, current_user)
    task = Task.model_validate(new, update={"user_id": user_id})
    session.add(task)
    session.commit()
    session.refresh(task)
    return task


@app.get("/api/{user_id}/tasks/{task_id}", response_model=TaskPublic)
def read_task(user_id: int, task_id: int, current_user: CurrentUser, session: SessionDep) -> Task:
    """Return one task."""
    check_owner(user_id, current_user)
    return get_or_404(session, user_id, task_id)


@app.patch("/api/{user_id}/tasks/{task_id}", response_model=TaskPublic)
def update_task(
    user_id: int,
    task_id: int,
    changes: TaskUpdate,
    current_user: CurrentUser,
    session: SessionDep,
) -> Task:
    """Change a task."""
    check_owner(user_id, current_user)
    task = get_or_404(session, user_id, task_id)
    task.sqlmodel_update(
        changes.model_dump(exclude_unset=True), update={"updated_at": datetime.now(UTC)}
    )
    session.add(task)
    session.commit()
    session.refresh(task)
    return task
