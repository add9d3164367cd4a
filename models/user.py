"""The accounts, the marks of deleted ones, and their statements."""

import hashlib
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, SQLModel, col, delete, select, update

from core.database import Session, compile_statement, repeat_once
from models.base import now, timestamp_column

MARK_DAYS: Final = 30
"""How long a deleted account leaves a mark: far longer than any token lives."""


class User(SQLModel, table=True):
    """One account. `auth_subject` is Better Auth's own id of the user, once it is linked."""

    __tablename__ = "users"

    id: int = Field(
        default=None, sa_column=sa.Column(sa.BigInteger, sa.Identity(), primary_key=True)
    )
    email: str = Field(sa_column=sa.Column(sa.Text, nullable=False, unique=True))
    password_hash: str = Field(sa_column=sa.Column(sa.Text, nullable=False), exclude=True)
    auth_subject: str | None = Field(default=None, sa_column=sa.Column(sa.Text, unique=True))
    created_at: datetime = Field(default_factory=now, sa_column=timestamp_column())


class DeletedSubject(SQLModel, table=True):
    """The mark that a deleted account leaves: a digest of its subject, and when it was deleted."""

    __tablename__ = "deleted_subjects"

    digest: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    deleted_at: datetime = Field(default_factory=now, sa_column=timestamp_column())


@repeat_once
async def get_user(session: Session, user_id: int) -> User | None:
    """Return the account with this id."""
    async with session.transaction():
        return (await session.exec(select(User).where(User.id == user_id))).one_or_none()


_EXISTS: Final = compile_statement(
    select(sa.literal_column("1")).where(User.id == sa.bindparam("user_id")), is_repeatable=True
)


async def has_user(session: Session, user_id: int) -> bool:
    """Tell whether there is an account with this id, in one round trip."""
    return await session.fetch_one(_EXISTS, {"user_id": user_id}) is not None


@repeat_once
async def get_user_by_email(session: Session, email: str) -> User | None:
    """Return the account with this (lower-case) e-mail address."""
    async with session.transaction():
        return (await session.exec(select(User).where(User.email == email))).one_or_none()


@repeat_once
async def get_user_by_subject(session: Session, subject: str) -> User | None:
    """Return the account that is linked to this subject."""
    async with session.transaction():
        return (await session.exec(select(User).where(User.auth_subject == subject))).one_or_none()


async def create_user(session: Session, email: str, password_hash: str) -> User | None:
    """Create an account; None when the e-mail address has one already."""
    async with session.transaction():
        return await _insert(session, email=email, password_hash=password_hash)


async def create_linked_user(
    session: Session, email: str, password_hash: str, subject: str, *, issued_at: float | None
) -> User | None:
    """Create an account for the subject of a token; None when it or the address has one already.

    Raises DeletedAccountError when an account of that subject was deleted and the token is older:
    `issued_at`, its `iat`, is missing or not later than the second of the deletion. That is asked
    after the insert, in the same transaction: the insert waits for a deletion that is under way,
    and the statement after it sees its mark.
    """
    async with session.transaction():
        user = await _insert(
            session, email=email, password_hash=password_hash, auth_subject=subject
        )
        await _check_mark(session, subject, issued_at)
        return user


class DeletedAccountError(Exception):
    """The token's account was deleted after the token was issued."""


async def link_user(
    session: Session, email: str, subject: str, *, issued_at: float | None
) -> User | None:
    """Link the account with this e-mail address to the subject of a token.

    None when there is no such account, or it is linked, or the subject is another's. Raises
    DeletedAccountError as `create_linked_user` does.
    """
    statement = (
        update(User)
        .where(col(User.email) == email, col(User.auth_subject).is_(None))
        .values(auth_subject=subject)
        .returning(User)
    )
    try:
        async with session.transaction():
            user = (await session.exec(statement)).scalar_one_or_none()
            await _check_mark(session, subject, issued_at)
            return user
    except IntegrityError:
        return None


async def delete_user(session: Session, user_id: int) -> User | None:
    """Delete an account with all of its tasks and return it; None when it is gone already.

    What stays for `MARK_DAYS` is a mark of its subject, so that no older token makes it anew.
    """
    async with session.transaction():
        statement = delete(User).where(col(User.id) == user_id).returning(User)
        user = (await session.exec(statement)).scalar_one_or_none()
        if user is not None and user.auth_subject is not None:
            mark = insert(DeletedSubject).values(digest=_digest(user.auth_subject))
            await session.exec(
                mark.on_conflict_do_update(
                    index_elements=[DeletedSubject.digest],
                    set_={"deleted_at": mark.excluded.deleted_at},
                )
            )
        expired = now() - timedelta(days=MARK_DAYS)
        await session.exec(delete(DeletedSubject).where(col(DeletedSubject.deleted_at) < expired))
        return user


async def _insert(session: Session, **values: str) -> User | None:
    statement = insert(User).values(**values).on_conflict_do_nothing().returning(User)
    return (await session.exec(statement)).scalar_one_or_none()


async def _check_mark(session: Session, subject: str, issued_at: float | None) -> None:
    mark = await session.get(DeletedSubject, _digest(subject))
    if mark and (issued_at is None or issued_at < int(mark.deleted_at.timestamp()) + 1):
        raise DeletedAccountError


def _digest(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()
