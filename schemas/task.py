"""Tasks on the wire."""

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import (
    MISSING,
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StrictBool,
    WithJsonSchema,
)

from models.task import PRIORITIES, SORTS
from schemas.base import (
    EmptyIsNone,
    LowerCase,
    NoControl,
    RequestBody,
    Storable,
    Time,
    Timestamp,
    label,
)

MAX_TITLE: Final = 200
MAX_DESCRIPTION: Final = 10_000
MAX_TAGS: Final = 20
MAX_TAG: Final = 50
MAX_SEARCH: Final = 200
MAX_LIMIT: Final = 500
SORT_ALIASES: Final = {"created": "created_at", "updated": "updated_at"}

if TYPE_CHECKING:
    type Priority = str
    type SortName = str
else:
    Priority = Literal[PRIORITIES]
    SortName = Literal[*SORTS, *SORT_ALIASES]


def _read_title(title: str) -> str:
    title = label(title, MAX_TITLE)
    if not title:
        raise ValueError("Write a title")
    return title


def _read_priority(value: object) -> object:
    if value is None or value == "":
        return "none"
    return value.lower() if isinstance(value, str) else value


def _read_tags(value: object) -> list[str]:
    """Return the tags as they are stored: none empty, and none twice whatever the case."""
    tags = [] if value is None else value
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("This must be an array of texts")
    if len(tags) > MAX_TAGS:
        raise ValueError(f"This must have at most {MAX_TAGS} tags")
    if any("," in tag for tag in tags):
        raise ValueError("A tag has no comma")
    labels = [label(tag, MAX_TAG) for tag in tags]
    return list({tag.lower(): tag for tag in reversed(labels) if tag}.values())[::-1]


Title = Annotated[
    str,
    AfterValidator(_read_title),
    Field(
        description="Trimmed, and with at least one character that can be seen",
        examples=["Buy milk"],
        json_schema_extra={"minLength": 1, "maxLength": MAX_TITLE, "pattern": r"\S"},
    ),
]
Description = Annotated[
    str,
    Field(
        max_length=MAX_DESCRIPTION,
        description="More about it, in plain text",
        examples=["Two litres, the cold kind"],
    ),
    Storable,
    NoControl,
]
NewPriority = Annotated[
    Priority | None,
    BeforeValidator(_read_priority),
    Field(description="In any case; null is `none`", examples=["high"]),
]
IsCompleted = Annotated[StrictBool, Field(description="Whether it is done", examples=[True])]
DueDate = Annotated[
    Time,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
            "description": "A date (midnight UTC) or a time; without an offset it is in UTC",
            "examples": ["2026-12-31T09:30:00Z"],
        }
    ),
]
Tags = Annotated[
    list[str],
    BeforeValidator(_read_tags),
    Field(
        description="Of several that differ only in case, the first is kept; null is none",
        examples=[["home", "errands"]],
        json_schema_extra={
            "maxItems": MAX_TAGS,
            "items": {"type": "string", "maxLength": MAX_TAG, "pattern": "^[^,]*$"},
        },
    ),
]


class TaskCreate(RequestBody):
    """A new task."""

    title: Title
    description: Description | None = None
    completed: IsCompleted = False
    priority: NewPriority = "medium"
    due_date: DueDate = None
    tags: Tags = []  # noqa: RUF012 - pydantic copies it


class TaskReplace(RequestBody):
    """A whole task; what the body leaves out keeps its value, but the title is required."""

    title: Title
    description: Description | MISSING | None = MISSING
    completed: IsCompleted | MISSING = MISSING
    priority: NewPriority | MISSING = MISSING
    due_date: DueDate | MISSING = MISSING
    tags: Tags | MISSING = MISSING


class TaskUpdate(RequestBody):
    """The fields of a task to change; null clears those that may be empty."""

    title: Title | MISSING = MISSING
    description: Description | MISSING | None = MISSING
    completed: IsCompleted | MISSING = MISSING
    priority: NewPriority | MISSING = MISSING
    due_date: DueDate | MISSING = MISSING
    tags: Tags | MISSING = MISSING


class TaskCompletion(RequestBody):
    """Whether a task is completed; omit it to toggle."""

    completed: IsCompleted | MISSING = MISSING


class TasksUpdate(RequestBody):
    """What to set on all tasks."""

    completed: IsCompleted


class TaskPublic(BaseModel):
    """A task, as its owner sees it. Times are in UTC."""

    id: int = Field(description="The task's number", examples=[1])
    user_id: int = Field(description="Its owner's `id`", examples=[1])
    title: Title
    description: Description | None
    completed: IsCompleted
    priority: Priority = Field(description="`none` is the lowest", examples=["high"])
    due_date: Timestamp | None = Field(description="When it is due, if it has to be")
    tags: list[str] = Field(description="Its labels", examples=[["home", "errands"]])
    created_at: Timestamp = Field(description="When it was created")
    updated_at: Timestamp = Field(description="When it was last changed")


class TaskExport(TaskPublic):
    """A task with all that is stored about it."""

    idempotency_key: str | None = Field(
        description="The `Idempotency-Key` that it was created with", examples=["5d3f1c8a"]
    )
    idempotency_digest: str | None = Field(
        description="SHA-256 of the body that came with the key", examples=["9f86d081884c7d65"]
    )


class TasksUpdated(BaseModel):
    """How many tasks have changed."""

    updated: int = Field(description="How many have changed", examples=[3])


class TasksDeleted(BaseModel):
    """How many tasks were deleted."""

    deleted: int = Field(description="How many there were", examples=[3])


def _split(value: object) -> list[str]:
    """Return the texts between commas, without empty ones."""
    return [text for part in str(value).split(",") if (text := part.strip())]


def _read_priorities(value: object) -> list[str]:
    names = [name.lower() for name in _split(value)]
    if not set(names) <= {"all", *PRIORITIES}:
        raise ValueError(f"This must be one of: all, {', '.join(PRIORITIES)}")
    return [] if "all" in names else names


def _read_wanted_tags(value: object) -> list[str]:
    tags = [label(tag, MAX_TAG) for tag in _split(value)]
    if len(tags) > MAX_TAGS:
        raise ValueError(f"This must have at most {MAX_TAGS} tags")
    return [tag for tag in tags if tag]


def _read_limit(text: object) -> object:
    """Refuse what is no number, and pydantic's other spellings of one: ` 1.0`, `1_0`."""
    if not (
        isinstance(text, str)
        and text.isascii()
        and text.isdigit()
        and len(text) <= len(str(MAX_LIMIT))
        and 1 <= int(text) <= MAX_LIMIT
    ):
        raise ValueError(f"This must be a whole number from 1 to {MAX_LIMIT}")
    return text


Status = Annotated[
    Literal["completed", "pending", "all"],
    LowerCase,
    Field(description="Which tasks; `all` and none are the same", examples=["pending"]),
]
Completed = Annotated[
    Literal["true", "false"],
    LowerCase,
    Field(description="Whether it is completed", examples=["true"]),
]
Order = Annotated[
    Literal["asc", "desc"],
    LowerCase,
    Field(
        description="Without it: `created_at` and `updated_at` newest first, `priority` highest"
        " first, `due_date` soonest first, `title` from A",
        examples=["asc"],
    ),
]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT), BeforeValidator(_read_limit)]
SortBy = Annotated[SortName, LowerCase, Field(examples=["due_date"])]


def _text(description: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": description, "examples": [example]})


WantedTags = Annotated[
    list[str],
    BeforeValidator(_read_wanted_tags),
    _text("Several, separated by commas: the task has all of them; in any case", "home"),
]


class TaskCompletionParams(BaseModel):
    """Whether a task is completed, for clients that send no body."""

    completed: Annotated[Completed | None, EmptyIsNone] = None


class TaskFilters(BaseModel):
    """Which tasks. Values are read in any case, and an empty one is none."""

    status: Annotated[Status | None, EmptyIsNone] = Field(
        default=None, json_schema_extra={"default": "all"}
    )
    completed: Annotated[Completed | None, EmptyIsNone] = None
    priority: Annotated[
        list[str],
        BeforeValidator(_read_priorities),
        _text("Several, separated by commas: any of them", "high,urgent"),
    ] = []
    tag: WantedTags = []
    tags: WantedTags = []
    due_before: Annotated[Time, _text("Due before this date or time", "2027-01-01")] = None
    due_after: Annotated[Time, _text("Due at this date or time or later", "2026-12-01")] = None
    search: Annotated[
        str,
        Field(
            max_length=MAX_SEARCH,
            description="Text in the title or the description, in any case",
            examples=["milk"],
        ),
        Storable,
    ] = ""

    def filters(self) -> dict[str, object]:
        """Return the filters that narrow the list, by the names of `models.task.FILTERS`."""
        is_completed = {"completed": True, "pending": False, "true": True, "false": False}
        filters: dict[str, object] = {
            "status": is_completed.get(self.status or ""),
            "completed": is_completed.get(self.completed or ""),
            "priority": self.priority or None,
            "tags": [*self.tag, *self.tags] or None,
            "due_before": self.due_before,
            "due_after": self.due_after,
            "search": self.search or None,
        }
        return {name: value for name, value in filters.items() if value is not None}


class TaskDeleteParams(TaskFilters):
    """Which tasks to delete; `status=all` has to be written out."""

    status: Status


class TaskListParams(TaskFilters):
    """Which tasks, in which order, and how many. None of them is required."""

    sort: Annotated[SortBy | None, EmptyIsNone] = Field(
        default=None,
        description="`created` and `updated` are accepted too",
        json_schema_extra={"default": "created_at"},
    )
    order: Annotated[Order | None, EmptyIsNone] = None
    sort_by: Annotated[SortBy | None, EmptyIsNone] = Field(
        default=None, description="As `sort`, which wins over it"
    )
    sort_order: Annotated[Order | None, EmptyIsNone] = Field(
        default=None, description="As `order`, which wins over it"
    )
    limit: Annotated[Limit | None, EmptyIsNone] = Field(
        default=None,
        description="The most tasks of a page; it has fewer where they are very long",
        examples=[20],
    )
    cursor: Annotated[str | None, EmptyIsNone] = Field(
        default=None,
        max_length=2000,
        description="From the `Link` header of the page before",
        examples=[""],
    )

    def sorting(self) -> tuple[str, bool]:
        """Return what to sort by, one of `models.task.SORTS`, and whether it descends."""
        name = self.sort or self.sort_by or "created_at"
        sort = SORT_ALIASES.get(name, name)
        order = self.order or self.sort_order
        return sort, SORTS[sort].is_descending if order is None else order == "desc"
