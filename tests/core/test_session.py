"""Tests of transactions that fail; tests/models/test_transactions.py has those that do not."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import col, func, select

from core.database import Session
from models.user import User
from tests.support.database import execute, run_in_session


def new_user() -> User:
    return User(email=f"{uuid4().hex}@example.com", password_hash="!")


def users(url: str, *emails: str) -> int:
    """Return how many of these accounts there are."""
    ((count,),) = execute(url, "SELECT count(*) FROM users WHERE email = ANY(%s)", list(emails))
    return int(count)


def test_an_error_rolls_both_statements_back(database_url: str) -> None:
    one, two = new_user(), new_user()
    two.email = one.email

    async def use(session: Session) -> None:
        async def insert_both() -> None:
            async with session.begin():
                session.add(one)
                await session.flush()
                session.add(two)

        with pytest.raises(IntegrityError) as caught:
            await insert_both()
        # PostgreSQL quotes the row in further lines of the message.
        assert str(one.email) not in str(caught.value)
        assert users(database_url, str(one.email)) == 0
        assert (await session.exec(select(func.count()).select_from(User))).one() >= 0

    run_in_session(database_url, use)


def test_a_cancellation_rolls_both_statements_back(database_url: str) -> None:
    email = f"{uuid4().hex}@example.com"

    async def use(session: Session) -> None:
        is_inserted = asyncio.Event()

        async def insert_and_wait() -> None:
            async with session.begin():
                session.add(User(email=email, password_hash="!"))
                await session.flush()
                is_inserted.set()
                await session.exec(select(func.pg_sleep(20)))

        task = asyncio.create_task(insert_and_wait())
        await is_inserted.wait()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert users(database_url, email) == 0
        # The pool has one connection, which has been replaced.
        statement = select(User).where(col(User.email) == email)
        assert (await session.exec(statement)).one_or_none() is None

    run_in_session(database_url, use)


async def length_of_5_megabytes(session: Session) -> int:
    length: int = (await session.exec(select(func.length("x" * 5_000_000)))).one()
    return length


def test_a_statement_longer_than_the_socket_takes_at_once_is_sent_whole(database_url: str) -> None:
    assert run_in_session(database_url, length_of_5_megabytes) == 5_000_000


def test_a_backend_that_dies_in_a_transaction_is_an_error_and_then_over(database_url: str) -> None:
    async def use(session: Session) -> None:
        async def end() -> None:
            async with session.begin():
                (pid,) = (await session.exec(select(func.pg_backend_pid()))).all()
                execute(database_url, "SELECT pg_terminate_backend(%s)", pid)
                await asyncio.sleep(0.1)
                await session.exec(select(func.now()))

        with pytest.raises(DBAPIError) as caught:
            await end()
        assert caught.value.connection_invalidated
        assert (await session.exec(select(func.length("four")))).one() == 4

    run_in_session(database_url, use)
