"""Tasks on the wire."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictBool, StringConstraints

from schemas.base import Body, Timestamp

Title = Annotated[
    str,
    # The pattern adds nothing here, but tells readers of the OpenAPI document that blanks are none.
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"\S"),
    Field(examples=["Buy milk"]),
]
Description = Annotated[str, Field(max_length=10_000, examples=["Two litres, the cold kind"])]


def _drop_default(schema: dict[str, Any]) -> None:
    del schema["default"]


# What PATCH may leave out but not set to null: the default never passes a validator, nor into use.
_ABSENT: Any = Field(default=None, json_schema_extra=_drop_default)


class TaskCreate(Body):
    """A whole task, to make one or to replace what one says."""

    title: Title
    description: Description | None = None
    completed: StrictBool = False


class TaskUpdate(Body):
    """The members of a task to change; null clears the description and nothing else."""

    title: Title = _ABSENT
    description: Description | None = _ABSENT
    completed: StrictBool = _ABSENT


class TaskCompletion(Body):
    """Whether a task is completed."""

    completed: StrictBool


class TaskPublic(BaseModel):
    """A task, as its owner sees it. Times are in UTC."""

    id: int = Field(examples=[1])
    user_id: int = Field(examples=[1])
    title: Title
    description: Description | None
    completed: bool
    created_at: Timestamp
    updated_at: Timestamp
