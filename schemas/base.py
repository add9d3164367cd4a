"""What every body that comes in has in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Body(BaseModel):
    """A JSON object from a caller. Members that are not known are ignored."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_cannot_be_stored(cls, value: Any) -> Any:  # noqa: ANN401 - anything comes in
        if not is_storable(value):
            raise ValueError("Text has no NUL character and no half of a surrogate pair")
        return value


def is_storable(value: object) -> bool:
    """Tell whether PostgreSQL could store every text in a JSON value."""
    match value:
        case str():
            return "\0" not in value and not any("\ud800" <= each <= "\udfff" for each in value)
        case dict():
            return all(is_storable(name) and is_storable(each) for name, each in value.items())
        case list():
            return all(is_storable(each) for each in value)
        case _:
            return True
