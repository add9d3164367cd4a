"""Types that several schemas have."""

import re
import unicodedata
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
_CONTROL: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
"""Control characters other than tab and line breaks."""
_UNSEEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp"})
_UNSEEN_LETTERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def _require_storable(value: str) -> str:
    if _NOT_STORABLE.search(value):
        # As pydantic names the type of some of these errors itself.
        raise PydanticCustomError("string_unicode", "not storable")
    return value


Storable = AfterValidator(_require_storable)
"""For text that PostgreSQL can store; behind the limits of length, which are checked first."""


def _require_no_control(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("This has a control character other than tab and line breaks")
    return value


NoControl = AfterValidator(_require_no_control)


def label(text: str, max_length: int) -> str:
    """Return a short text as it is stored: trimmed, and in Unicode's NFC.

    Empty where nothing in it can be seen. Raises ValueError. The length comes first, because
    normalising takes quadratic time: no character of NFC has more than four in another form.
    """
    text = text.strip()
    if len(text) <= 4 * max_length:
        _require_storable(text)
        text = unicodedata.normalize("NFC", text)
    if len(text) > max_length:
        raise ValueError(f"This must have at most {max_length} characters")
    _require_no_control(text)
    is_seen = any(
        unicodedata.category(character) not in _UNSEEN_CATEGORIES
        and character not in _UNSEEN_LETTERS
        for character in text
    )
    return text if is_seen else ""


_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt]((?:[01]\d|2[0-3]):\d\d(?::\d\d)?)(?:[.,](\d+))?([Zz]|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_MAX_TIME_LENGTH: Final = 64


def _read_time(value: object) -> datetime | None:
    """Return a point in time in UTC; None for null and for an empty text."""
    if value is None or value == "":
        return None
    match = (
        _TIME.fullmatch(value)
        if isinstance(value, str) and len(value) <= _MAX_TIME_LENGTH
        else None
    )
    try:
        if match is None:
            raise ValueError  # noqa: TRY301 - the one message is below
        date, time, decimals, offset = match.groups()
        text = f"{date}T{time or '00:00'}"
        if decimals is not None:
            text += f".{decimals[:6]:0<6}"
        zone = "+00:00" if offset in (None, "Z", "z") else offset
        return datetime.fromisoformat(text + zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            "This must be a date or a time, such as 2026-12-31 or 2026-12-31T09:30:00Z"
        ) from None


Time = Annotated[datetime | None, BeforeValidator(_read_time)]
"""A date (midnight UTC) or a time in ISO 8601, in UTC where it names no offset."""


class RequestBody(BaseModel):
    """A JSON object from a caller. Fields that are not known are ignored."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


EmptyIsNone = BeforeValidator(_none_if_empty)
"""For query parameters: front ends send `status=` for none."""

LowerCase = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
"""For names that count in any case."""
