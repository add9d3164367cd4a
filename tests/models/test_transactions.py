"""Tests that the functions of `models/` take part in the transaction of their session."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import func, select

from core.database import Session
from models import task, user
from tests.support.database import execute, run_in_session, run_with_engine

CONNECTIONS = 4


class RollbackError(Exception):
    """Raised to end a transaction."""


def address() -> str:
    return f"{uuid4().hex}@example.com"


async def create(session: Session, email: str) -> tuple[int, int]:
    """Create an account and a task of it; return their ids."""
    account = await user.create_user(session, email, "!")
    assert account is not None
    row = await task.create_task(session, account.id, {"title": email, "completed": False})
    assert row is not None
    return account.id, row.id


def rows(url: str, email: str) -> int:
    """Return how many accounts and tasks `create` has left."""
    ((count,),) = execute(
        url,
        "SELECT (SELECT count(*) FROM users WHERE email = %s)"
        " + (SELECT count(*) FROM tasks WHERE title = %s)",
        email,
        email,
    )
    return int(count)


@pytest.mark.parametrize("is_committed", [True, False])
def test_statements_of_both_tables_are_committed_or_rolled_back_together(
    database_url: str, *, is_committed: bool
) -> None:
    email = address()

    async def use(session: Session) -> None:
        with suppress(RollbackError):
            async with session.begin():
                owner, task_id = await create(session, email)
                assert await task.get_task(session, owner, task_id)
                assert await user.has_user(session, owner)
                assert (await task.list_tasks(session, owner, {})).count == 1
                # Refusals do not end the transaction.
                values = {"title": "x", "completed": False}
                assert await task.create_task(session, -1, values) is None
                assert await user.create_user(session, email, "!") is None
                with suppress(user.AddressHeldError):
                    await user.claim_account(
                        session, "subject", email, is_verified=False, issued_at=None
                    )
                assert rows(database_url, email) == 0
                if not is_committed:
                    raise RollbackError
        assert rows(database_url, email) == (2 if is_committed else 0)
        # Autocommit again.
        assert (await task.get_task(session, owner, task_id) is not None) is is_committed

    run_in_session(database_url, use)


def test_a_savepoint_with_changes_and_deletions_is_rolled_back_alone(database_url: str) -> None:
    kept, lost = address(), address()

    async def use(session: Session) -> None:
        async with session.begin():
            owner, task_id = await create(session, kept)
            with suppress(RollbackError):
                async with session.begin_nested():
                    await create(session, lost)
                    await task.update_task(session, owner, task_id, {"title": "changed"})
                    await task.update_tasks(session, owner, {}, {"completed": True})
                    await user.delete_user(session, owner)
                    raise RollbackError

    run_in_session(database_url, use)
    assert (rows(database_url, kept), rows(database_url, lost)) == (2, 0)


@pytest.mark.parametrize("fault", ["cancelled", "ended by PostgreSQL"])
def test_a_transaction_that_breaks_is_rolled_back_and_its_connection_replaced(
    database_url: str, fault: str
) -> None:
    email = address()

    async def use(session: Session) -> None:
        is_inserted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def insert_and_wait() -> None:
            async with session.begin():
                await create(session, email)
                is_inserted.set_result((await session.exec(select(func.pg_backend_pid()))).one())
                await session.exec(select(func.pg_sleep(20)))

        inserting = asyncio.create_task(insert_and_wait())
        pid = await is_inserted
        await asyncio.sleep(0.05)
        if fault == "cancelled":
            inserting.cancel()
        else:
            execute(database_url, "SELECT pg_terminate_backend(%s)", pid)
        with pytest.raises((asyncio.CancelledError, DBAPIError)):
            await inserting
        assert rows(database_url, email) == 0
        assert (await session.exec(select(func.length("four")))).one() == 4

    run_in_session(database_url, use)


def test_as_many_transactions_as_connections_do_not_wait_for_each_other(database_url: str) -> None:
    emails = [address() for _ in range(CONNECTIONS)]

    async def use(engine: AsyncEngine) -> None:
        barrier = asyncio.Barrier(CONNECTIONS)

        async def transaction(email: str) -> None:
            async with Session(engine) as session, session.begin():
                await user.get_user(session, 0)
                await barrier.wait()
                await create(session, email)

        await asyncio.gather(*(transaction(email) for email in emails))

    run_with_engine(database_url, use, CONNECTIONS)
    assert [rows(database_url, email) for email in emails] == [2] * CONNECTIONS


def test_a_session_of_one_connection_is_rolled_back_with_it(database_url: str) -> None:
    """Tests that wrap a whole request in a transaction of their own are written like this."""
    email = address()

    async def use(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            transaction = await connection.begin()
            async with Session(connection, join_transaction_mode="create_savepoint") as session:
                owner, task_id = await create(session, email)
                assert await task.get_task(session, owner, task_id)
            await transaction.rollback()
        assert rows(database_url, email) == 0

    run_with_engine(database_url, use)


def test_the_example_of_contributing_is_one_transaction(database_url: str) -> None:
    (example,) = re.findall(
        r"```python\n(.*?)```", Path("CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL
    )

    async def use(session: Session) -> None:
        owner, task_id = await create(session, address())
        names = {"task": task, "session": session, "owner": owner, "task_id": task_id}
        lines = "".join(f"    {line}\n" for line in example.splitlines())
        exec(f"async def run():\n{lines}", names)  # noqa: S102 - it is our own page
        await names["run"]()  # type: ignore[operator]
        assert await task.get_task(session, owner, task_id) is None

    run_in_session(database_url, use)
