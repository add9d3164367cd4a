"""What every body of a request has in common."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

# PostgreSQL returns times in the zone of its session, which its administrator chooses.
Timestamp = Annotated[
    datetime,
    AfterValidator(lambda time: time.astimezone(UTC)),
    Field(examples=["2026-01-31T12:00:00.000000Z"]),
]


_NOT_STORABLE: Final = re.compile("[\0\ud800-\udfff]")


def _require_storable(value: str) -> str:
    if _NOT_STORABLE.search(value):
        # As pydantic names the type of some of these errors itself.
        raise PydanticCustomError("string_unicode", "not storable")
    return value


Storable = AfterValidator(_require_storable)
"""For text that PostgreSQL can store; behind the limits of length, which are checked first."""


class RequestBody(BaseModel):
    """A JSON object from a caller. Fields that are not known are ignored."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


EmptyIsNone = BeforeValidator(_none_if_empty)
"""For query parameters: front ends send `status=` for none."""
