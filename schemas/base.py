"""What every body of a request has in common."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

# PostgreSQL returns times in the zone of its session, which its administrator chooses.
Timestamp = Annotated[
    datetime,
    AfterValidator(lambda time: time.astimezone(UTC)),
    Field(examples=["2026-01-31T12:00:00.000000Z"]),
]


def _refuse_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("This must have no NUL character")
    return value


Text = Annotated[str, AfterValidator(_refuse_nul)]
"""Text that PostgreSQL can store; pydantic refuses lone surrogates."""


class Body(BaseModel):
    """A JSON object from a caller. Fields that are not known are ignored."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


EmptyIsNone = BeforeValidator(_none_if_empty)
"""For query parameters: front ends send `status=` for none."""
