"""Accounts on the wire."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field

from schemas.base import Body
from utils.security import normalise_password, password_fault


def _strong(password: str) -> str:
    fault = password_fault(password)
    if fault is not None:
        raise ValueError(fault)
    return password


EmailAddress = Annotated[EmailStr, AfterValidator(str.lower), Field(examples=["user@example.com"])]
Password = Annotated[
    str,
    AfterValidator(normalise_password),
    Field(examples=["secure_password_123"], json_schema_extra={"format": "password"}),
]


class Credentials(Body):
    """An e-mail address and a password, as they are typed to log in."""

    email: EmailAddress
    password: Password


class UserCreate(Credentials):
    """An e-mail address and a password that are good enough to sign up with."""

    password: Annotated[
        Password,
        AfterValidator(_strong),
        Field(description="8 characters to 72 bytes of UTF-8, and none of the commonest"),
    ]


class UserPublic(BaseModel):
    """An account, as its owner sees it."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(examples=[1])
    email: str = Field(examples=["user@example.com"])
    created_at: datetime = Field(examples=["2026-01-31T12:00:00.000000Z"])
