"""The table of accounts, and its statements."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from psycopg2.errors import UniqueViolation
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel

from models.session import Session, prepared

MAX_ID = 2**63 - 1
"""The largest id that the columns hold (bigint)."""

NOBODY = 0
"""An id that no account has."""


class User(SQLModel, table=True):
    """One account. `auth_subject` is Better Auth's own id for it, once it is linked."""

    __tablename__ = "users"

    id: int = Field(sa_column=sa.Column(sa.BigInteger, sa.Identity(), primary_key=True))
    email: str = Field(sa_column=sa.Column(sa.Text, nullable=False, unique=True))
    password_hash: str = Field(sa_column=sa.Column(sa.Text, nullable=False))
    auth_subject: str | None = Field(sa_column=sa.Column(sa.Text, unique=True))
    created_at: datetime = Field(
        sa_column=sa.Column(
            sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        )
    )


_TABLE = SQLModel.metadata.tables["users"]
_USERS = _TABLE.c

_CREATE = prepared(
    insert(_TABLE)
    .values(
        email=sa.bindparam("email"),
        password_hash=sa.bindparam("password_hash"),
        auth_subject=sa.bindparam("auth_subject"),
    )
    .on_conflict_do_nothing()
    .returning(*_USERS)
)
_READ = prepared(sa.select(_TABLE).where(_USERS.id == sa.bindparam("id")))
_BY_EMAIL = prepared(sa.select(_TABLE).where(_USERS.email == sa.bindparam("email")))
_BY_SUBJECT = prepared(sa.select(_TABLE).where(_USERS.auth_subject == sa.bindparam("subject")))
_LINK = prepared(
    sa.update(_TABLE)
    .where(_USERS.email == sa.bindparam("its_email"), _USERS.auth_subject.is_(None))
    .values(auth_subject=sa.bindparam("subject"))
    .returning(*_USERS)
)


async def create(
    session: Session, email: str, password_hash: str, auth_subject: str | None = None
) -> User | None:
    """Make an account; None when the e-mail address or the subject has one already."""
    return await _one(
        session,
        _CREATE,
        {"email": email, "password_hash": password_hash, "auth_subject": auth_subject},
    )


async def read(session: Session, user_id: int) -> User | None:
    """Give the account with this id."""
    return await _one(session, _READ, {"id": user_id})


async def by_email(session: Session, email: str) -> User | None:
    """Give the account with this (lower-case) e-mail address."""
    return await _one(session, _BY_EMAIL, {"email": email})


async def by_subject(session: Session, subject: str) -> User | None:
    """Give the account that is linked to this subject."""
    return await _one(session, _BY_SUBJECT, {"subject": subject})


async def link(session: Session, email: str, subject: str) -> User | None:
    """Link the account with this e-mail address to a subject.

    None when there is no such account, or it is linked, or the subject is another's.
    """
    try:
        return await _one(session, _LINK, {"its_email": email, "subject": subject})
    except UniqueViolation:
        return None


async def _one(session: Session, statement: str, params: Mapping[str, object]) -> User | None:
    row = await session.first(statement, params)
    return None if row is None else User(**dict(zip(_USERS.keys(), row, strict=True)))
