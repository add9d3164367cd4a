"""The accounts, the marks of deleted ones, and their statements."""

import hashlib
from datetime import datetime, timedelta
from typing import Final

import psycopg2
import sqlalchemy as sa
from psycopg2.errors import DeadlockDetected
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlmodel import Field, SQLModel, col, delete, select

from core.database import Session, compile_statement, repeat_once
from core.problems import UnavailableError
from models.base import now, timestamp_column
from models.task import delete_tasks
from utils.security import UNUSABLE_HASH

MARK_DAYS: Final = 30
"""How long a deleted account leaves a mark: far longer than any token lives."""
MARK_LEEWAY: Final = 10
"""How many seconds after the deletion a token still counts as issued before it."""
CLAIM_ATTEMPTS: Final = 10
"""How often a subject is looked up, where other requests come between."""


class User(SQLModel, table=True):
    """One account. `auth_subject` is Better Auth's own id of the user, once it is linked."""

    __tablename__ = "users"

    id: int = Field(
        default=None, sa_column=sa.Column(sa.BigInteger, sa.Identity(), primary_key=True)
    )
    email: str | None = Field(sa_column=sa.Column(sa.Text, unique=True))
    """None once another subject has proved that the address is theirs."""
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


class DeletedAccountError(Exception):
    """The token's account was deleted after the token was issued."""


class AddressHeldError(Exception):
    """The address has an account that the token does not prove to be its own."""


async def claim_account(
    session: Session, subject: str, email: str, *, is_verified: bool, issued_at: float | None
) -> User:
    """Return the account of a token's subject: found, linked to it or created for it.

    An address belongs to the subject that proved it last: with a verified address, a subject links
    the account of that address, or takes the address over from another subject. Raises
    AddressHeldError, and DeletedAccountError when an account of that subject was deleted and the
    token is older: `issued_at`, its `iat`, is missing or not later than the deletion.

    Safe when requests arrive at once: where another one came between, it looks again, and raises
    UnavailableError when that has happened `CLAIM_ATTEMPTS` times.
    """
    for _ in range(CLAIM_ATTEMPTS):
        try:
            async with session.transaction():
                account = await _claim(
                    session, subject, email, is_verified=is_verified, issued_at=issued_at
                )
                if account is None:
                    account = await _insert(
                        session, email=email, password_hash=UNUSABLE_HASH, auth_subject=subject
                    )
                    # After the insert, which waits for a deletion that is under way.
                    await _check_mark(session, subject, issued_at)
        except DBAPIError as error:
            # Both come of other requests of these subjects and addresses.
            if not isinstance(error.orig, psycopg2.IntegrityError | DeadlockDetected):
                raise
        else:
            if account is not None:
                return account
    raise UnavailableError


async def _claim(
    session: Session, subject: str, email: str, *, is_verified: bool, issued_at: float | None
) -> User | None:
    """Return the subject's account, with the address that it may have; None where it has none."""
    statement = (
        select(User)
        .where((col(User.auth_subject) == subject) | (col(User.email) == email))
        # In one order, so that two requests never wait for each other.
        .order_by(col(User.id))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    accounts = (await session.exec(statement)).all()
    account = next((each for each in accounts if each.auth_subject == subject), None)
    holder = next((each for each in accounts if each.email == email), None)
    if account is not None and (
        account is holder or not (is_verified or (account.email is None and holder is None))
    ):
        return account
    if holder is not None:
        if not is_verified:
            await _check_mark(session, subject, issued_at)
            raise AddressHeldError
        if account is None and holder.auth_subject is None:
            holder.auth_subject = subject
            # A stranger may have set it: sign-up does not verify the address.
            holder.password_hash = UNUSABLE_HASH
            await session.flush()
            await _check_mark(session, subject, issued_at)
            return holder
        holder.email = None
        await session.flush()
    if account is not None:
        account.email = email
        await session.flush()
    return account


async def delete_user(session: Session, user_id: int) -> User | None:
    """Delete an account with all of its tasks and return it; None when it is gone already.

    What stays for `MARK_DAYS` is a mark of its subject, so that no token from before the end of
    the deletion makes it anew.
    """
    # In steps, because there may be more than one statement deletes in time.
    await delete_tasks(session, user_id, {})
    async with session.transaction():
        statement = delete(User).where(col(User.id) == user_id).returning(User)
        user = (await session.exec(statement)).scalar_one_or_none()
        if user is not None and user.auth_subject is not None:
            mark = insert(DeletedSubject).values(
                digest=_digest(user.auth_subject),
                # `now()` would be the beginning of the transaction.
                deleted_at=sa.func.clock_timestamp(),
            )
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
    mark = await session.get(DeletedSubject, _digest(subject), populate_existing=True)
    if mark and (
        issued_at is None or issued_at < int(mark.deleted_at.timestamp()) + 1 + MARK_LEEWAY
    ):
        raise DeletedAccountError


def _digest(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()
