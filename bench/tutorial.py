"""The same endpoints, written as FastAPI's and SQLModel's own tutorials show.

A session from a generator, `pool_pre_ping`, read, change, commit, refresh; the token is decoded on
every request. Kinder than most: the key set is fetched once, and no user is read for a request.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
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


def now() -> datetime:
    """Give the time."""
    return datetime.now(UTC)


class TaskBase(SQLModel):
    """What a caller says of a task."""

    title: str = Field(max_length=200)
    description: str | None = Field(default=None, max_length=10_000)
    completed: bool = False


class Task(TaskBase, table=True):
    """A row."""

    __tablename__ = "tasks"

    id: int | None = Field(default=None, primary_key=True)
    user_id: int = Field(index=True)
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


class TaskUpdate(SQLModel):
    """What a caller changes."""

    title: str | None = Field(default=None, max_length=200)
    description: str | None = Field(default=None, max_length=10_000)
    completed: bool | None = None


class TaskPublic(TaskBase):
    """What a caller sees."""

    id: int
    user_id: int
    created_at: datetime
    updated_at: datetime


def get_session() -> Iterator[Session]:
    """Give a session for one request."""
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session)]
TokenDep = Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="token"))]


@cache
def signing_key(kid: str) -> Key:
    """Fetch the key set, once."""
    entries: list[dict[str, Any]] = httpx.get(os.environ["JWKS_URL"]).json()["keys"]
    return jwk.construct(next(entry for entry in entries if entry["kid"] == kid), "EdDSA")


def get_current_user(token: TokenDep) -> int:
    """Give the id of the user whom the token names."""
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
    """Refuse a path of somebody else's."""
    if user_id != current_user:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Not enough permissions")


def own_task(session: Session, user_id: int, task_id: int) -> Task:
    """Read a task, and see whose it is."""
    task = session.get(Task, task_id)
    if task is None or task.user_id != user_id:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Task not found")
    return task


@app.get("/ready")
def read_readiness(session: SessionDep) -> None:
    """Say that the database answers."""
    session.exec(select(1))


@app.get("/api/{user_id}/tasks", response_model=list[TaskPublic])
def list_tasks(user_id: int, current_user: CurrentUser, session: SessionDep) -> Sequence[Task]:
    """Give all tasks."""
    check_owner(user_id, current_user)
    return session.exec(select(Task).where(Task.user_id == user_id).order_by("id")).all()


@app.post("/api/{user_id}/tasks", status_code=201, response_model=TaskPublic)
def create_task(
    user_id: int, new: TaskBase, current_user: CurrentUser, session: SessionDep
) -> Task:
    """Make a task."""
    check_owner(user_id, current_user)
    task = Task.model_validate(new, update={"user_id": user_id})
    session.add(task)
    session.commit()
    session.refresh(task)
    return task


@app.get("/api/{user_id}/tasks/{task_id}", response_model=TaskPublic)
def read_task(user_id: int, task_id: int, current_user: CurrentUser, session: SessionDep) -> Task:
    """Give one task."""
    check_owner(user_id, current_user)
    return own_task(session, user_id, task_id)


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
    task = own_task(session, user_id, task_id)
    task.sqlmodel_update(changes.model_dump(exclude_unset=True), update={"updated_at": now()})
    session.add(task)
    session.commit()
    session.refresh(task)
    return task
