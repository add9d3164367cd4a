"""Tasks on the wire."""

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import (
    MISSING,
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StrictBool,
    StringConstraints,
)

from models.task import SORTS
from schemas.base import EmptyIsNone, RequestBody, Storable, Timestamp


def _require_text(title: str) -> str:
    if not title:
        raise ValueError("Write a title")
    return title


Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=200),
    Storable,
    AfterValidator(_require_text),
    Field(examples=["Buy milk"], json_schema_extra={"minLength": 1, "pattern": r"\S"}),
]
Description = Annotated[
    str, Field(max_length=10_000, examples=["Two litres, the cold kind"]), Storable
]


class TaskCreate(RequestBody):
    """A new task."""

    title: Title
    description: Description | None = None
    completed: StrictBool = False


class TaskReplace(RequestBody):
    """A whole task; what the body leaves out keeps its value, but the title is required."""

    title: Title
    description: Description | MISSING | None = MISSING
    completed: StrictBool | MISSING = MISSING


class TaskUpdate(RequestBody):
    """The fields of a task to change; null clears the description and nothing else."""

    title: Title | MISSING = MISSING
    description: Description | MISSING | None = MISSING
    completed: StrictBool | MISSING = MISSING


class TaskCompletion(RequestBody):
    """Whether a task is completed; without it, the reverse of what it was."""

    completed: StrictBool | MISSING = MISSING


class TasksUpdate(RequestBody):
    """What to set on all tasks."""

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


class TaskExport(TaskPublic):
    """A task with all that is stored about it."""

    idempotency_key: str | None
    idempotency_digest: str | None


class TasksUpdated(BaseModel):
    """How many tasks have changed."""

    updated: int = Field(examples=[3])


class TasksDeleted(BaseModel):
    """How many tasks were deleted."""

    deleted: int = Field(examples=[3])


Status = Literal["all", "pending", "completed"]
Search = Annotated[
    str,
    Field(max_length=200, description="Text in the title or the description, in any case"),
    Storable,
]
SORT_ALIASES: Final = {"created": "created_at", "updated": "updated_at"}
if TYPE_CHECKING:
    Sort = str
else:
    Sort = Literal[*SORTS, *SORT_ALIASES]
MAX_LIMIT: Final = 500


def _require_limit(text: object) -> object:
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


Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT), BeforeValidator(_require_limit)]


class _TaskFilters(BaseModel):
    status: Status | None
    search: Search = ""

    def filters(self) -> dict[str, object]:
        """Return the filters that narrow the list, by the names that `models.task` has."""
        filters: dict[str, object] = {}
        if self.status not in (None, "all"):
            filters["completed"] = self.status == "completed"
        if self.search:
            filters["search"] = self.search
        return filters


class TaskDeleteParams(_TaskFilters):
    """Which tasks to delete; for all of them, `all` has to be said."""

    status: Status


class TaskListParams(_TaskFilters):
    """Which tasks, in which order, and how many. None of them is required."""

    status: Annotated[Status | None, EmptyIsNone] = None
    sort: Annotated[Sort | None, EmptyIsNone] = Field(
        default=None, description="`created` and `updated` are accepted too"
    )
    order: Annotated[Literal["asc", "desc"] | None, EmptyIsNone] = None
    limit: Annotated[Limit | None, EmptyIsNone] = Field(
        default=None,
        description="The most tasks of a page; it has fewer where they are very long.",
    )
    cursor: Annotated[str | None, EmptyIsNone] = Field(
        default=None, max_length=2000, description="From the `Link` header of the page before"
    )

    def sorting(self) -> tuple[str, bool]:
        """Return what to sort by, one of `models.task.SORTS`, and whether it descends."""
        sort = SORT_ALIASES.get(self.sort or "", self.sort or "created_at")
        if self.order is None:
            return sort, SORTS[sort].is_descending
        return sort, self.order == "desc"
