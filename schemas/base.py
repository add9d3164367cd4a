"""What every body that comes in has in common."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

# PostgreSQL gives times in the zone of its session, which its administrator chooses.
Timestamp = Annotated[
    datetime,
    AfterValidator(lambda time: time.astimezone(UTC)),
    Field(examples=["2026-01-31T12:00:00.000000Z"]),
]

_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


class Body(BaseModel):
    """A JSON object from a caller. Members that are not known are ignored."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_cannot_be_stored(cls, value: object) -> object:
        if not is_storable(value):
            raise ValueError("Text has no NUL character and no half of a surrogate pair")
        return value


def is_storable(value: object) -> bool:
    """Tell whether PostgreSQL could store every text in a JSON value."""
    # A loop, because what json reads may be nested deeper than Python recurses.
    rest = [value]
    for each in rest:
        if isinstance(each, str):
            if _NOT_STORABLE.search(each):
                return False
        elif isinstance(each, dict):
            rest.extend(each)
            rest.extend(each.values())
        elif isinstance(each, list):
            rest.extend(each)
    return True
