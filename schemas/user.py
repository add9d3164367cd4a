"""Accounts on the wire."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.base import RequestBody, Storable, Timestamp
from schemas.task import TaskExport
from utils.addresses import MAX_ADDRESS_LENGTH, normalise_address
from utils.security import MIN_PASSWORD_CHARACTERS, normalise_password, password_fault


def _address(email: str) -> str:
    try:
        return normalise_address(email)
    except ValueError:
        # The library's own message quotes what was sent.
        raise ValueError("This is not a valid e-mail address") from None


def _strong(password: str) -> str:
    fault = password_fault(password)
    if fault is not None:
        raise ValueError(fault)
    return password


# The length first: what follows takes longer than linear time.
EmailAddress = Annotated[
    str,
    Field(
        max_length=MAX_ADDRESS_LENGTH,
        description="Stored in lower case; one account each",
        examples=["me@example.com"],
        json_schema_extra={"format": "email"},
    ),
    Storable,
    AfterValidator(_address),
]
Password = Annotated[
    str,
    Storable,
    AfterValidator(normalise_password),
    Field(
        description="As it was typed to sign up",
        examples=["a long enough one"],
        json_schema_extra={"format": "password"},
    ),
]


class Credentials(RequestBody):
    """An e-mail address and a password, as they are typed to log in."""

    email: EmailAddress
    password: Password


class UserCreate(Credentials):
    """An e-mail address and a password that are good enough to sign up with."""

    password: Annotated[
        Password,
        AfterValidator(_strong),
        Field(
            description="8 characters to 72 bytes of UTF-8, and none of the commonest",
            json_schema_extra={"format": "password", "minLength": MIN_PASSWORD_CHARACTERS},
        ),
    ]


class UserPublic(BaseModel):
    """An account, as its owner sees it."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(description="The account's number", examples=[1])
    email: str | None = Field(
        description="In lower case; null once another user has proved that it is theirs",
        examples=["me@example.com"],
    )
    created_at: Timestamp = Field(description="When it was created")


class AccountExport(UserPublic):
    """An account with all that is stored about it, except the password's hash."""

    auth_subject: str | None = Field(
        description="Better Auth's own id of the user, once linked",
        examples=["Xb3kq9T2mWcR7vLpA1nZ"],
    )


class UserExport(BaseModel):
    """Everything that is stored about one user."""

    account: AccountExport = Field(description="The account")
    tasks: list[TaskExport] = Field(description="All of its tasks")
