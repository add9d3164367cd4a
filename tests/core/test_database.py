"""Tests of the connections to PostgreSQL: statements per request, time-outs, broken connections."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
import uvloop
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import func, select

from core.database import Session
from core.driver import Timeouts
from tests.conftest import Serve
from tests.support.database import Activity, run_with_engine, wait_until
from tests.support.keyserver import KeyServer
from tests.support.pgbouncer import running_pgbouncer
from tests.support.problems import assert_problem
from tests.support.proxy import PostgresProxy
from tests.support.service import Person, impatient, make_settings, running_service
from tests.support.tokens import SigningKey
from tests.support.wire import connect, request


@pytest.fixture
def carol(proxy: PostgresProxy, serve: Serve, key: SigningKey) -> Person:
    """Sign in at a service behind the proxy that soon runs out of patience."""
    return Person(serve(proxy.url, adapt=impatient(), db_pool_size=2), key)


def test_a_connection_that_was_long_idle_is_tried_first(
    proxy: PostgresProxy, serve: Serve, key: SigningKey
) -> None:
    carol = Person(serve(proxy.url, adapt=impatient(Timeouts(idle=-1))), key)
    carol.create()
    proxy.statements.clear()
    carol.create()
    ping, insert, *_ = [each for each in proxy.statements if each not in ("BEGIN", "ROLLBACK")]
    assert not ping.startswith("INSERT")
    assert insert.startswith("INSERT")


def test_a_read_whose_connection_breaks_is_tried_once_more(
    carol: Person, proxy: PostgresProxy
) -> None:
    task = carol.create()
    proxy.swallow = "SELECT"
    proxy.statements.clear()
    assert_problem(carol.tasks("GET", task["id"]), 503)
    assert len(proxy.statements) == 2
    proxy.swallow = None
    assert carol.tasks("GET", task["id"]).json() == task
    # A new connection sets nothing: Neon's pooled host would forget it.
    assert not [each for each in proxy.statements if each.upper().startswith("SET")]


@pytest.mark.parametrize(
    "make_loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"]
)
def test_a_server_that_ends_the_connection_is_noticed_while_a_statement_runs(
    proxy: PostgresProxy, make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Its last words and the end are there at the same time: uvloop tells that once."""

    async def ask(engine: AsyncEngine) -> None:
        async with Session(engine) as session:
            await session.exec(select(func.now()))
            proxy.terminate = "now()"
            # The event loop looks at its sockets again when all has come.
            asyncio.get_running_loop().call_soon(time.sleep, 0.2)
            async with asyncio.timeout(5):
                with pytest.raises(DBAPIError, match=r"terminating connection|closed"):
                    await session.exec(select(func.now()))

    run_with_engine(proxy.url, ask, loop_factory=make_loop)


@pytest.mark.slow
def test_a_connection_that_goes_silent_ends_in_503_and_recovers(
    carol: Person, proxy: PostgresProxy
) -> None:
    proxy.hang()
    started = time.monotonic()
    assert_problem(carol.tasks("GET"), 503)
    assert 0.4 < time.monotonic() - started < 3
    proxy.statements.clear()
    proxy.go_on()
    assert carol.tasks("GET").status_code == 200
    # The first one passes by now. It was not tried again, when it would have waited as long.
    assert len([each for each in proxy.statements if "string_agg" in each]) == 2


def test_a_host_that_never_answers_ends_in_503_after_the_connect_deadline(
    serve: Serve, key: SigningKey
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = serve(f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x", adapt=impatient())
        headers = {"Authorization": f"Bearer {key.token()}"}
        assert_problem(client.get("/api/auth/me", headers=headers), 503)


@pytest.fixture
def activity(own_database: str) -> Iterator[Activity]:
    with closing(Activity(own_database)) as activity:
        yield activity


@pytest.mark.slow
def test_no_more_connections_are_opened_than_the_settings_allow(
    own_database: str, activity: Activity, serve: Serve, key: SigningKey
) -> None:
    client = serve(own_database, adapt=impatient(Timeouts()), db_pool_size=2)
    # Two people, because one alone has a third of the connections.
    people = [Person(client, key) for _ in range(2)]
    carol = Person(client, key)
    tasks = [person.create()["id"] for person in people]
    with activity.locking("SELECT FROM tasks FOR UPDATE"), ThreadPoolExecutor(2) as threads:
        waiting = [
            threads.submit(person.tasks, "DELETE", task)
            for person, task in zip(people, tasks, strict=True)
        ]
        activity.await_waiting(2)
        assert [carol.tasks("GET").status_code for _ in range(3)] == [503] * 3
        assert client.get("/health").status_code == 200
        activity.unlock()
        assert [each.result().status_code for each in waiting] == [204] * 2
    assert len(activity.backends()) == 2
    assert carol.tasks("GET").status_code == 200


def test_the_last_connection_used_is_taken_first_and_all_are_closed_when_the_service_stops(
    own_database: str, activity: Activity, key_server: KeyServer, key: SigningKey
) -> None:
    with running_service(make_settings(own_database, key_server.url)) as client:
        frank = Person(client, key)
        task = frank.create()["id"]
        with activity.locking("SELECT FROM tasks FOR UPDATE"), ThreadPoolExecutor(3) as threads:
            waiting = [threads.submit(frank.tasks, "DELETE", task) for _ in range(3)]
            activity.await_waiting(3)
            activity.unlock()
            assert sorted(each.result().status_code for each in waiting) == [204, 404, 404]
        before = activity.backends()
        for _ in range(6):
            assert frank.tasks("GET").status_code == 200
        after = activity.backends()
        assert after.keys() == before.keys()
        # The others age, and are closed by Neon.
        assert len([pid for pid in after if after[pid] > before[pid]]) == 1
    wait_until(lambda: activity.backends() == {})


# --- statements that are given up -----------------------------------------------------------


@pytest.fixture(params=["directly", "through PgBouncer"])
def reached(request: pytest.FixtureRequest, own_database: str, tmp_path: Path) -> Iterator[str]:
    """Return the database's address, or a PgBouncer's before it."""
    if request.param == "directly":
        yield own_database
    else:
        with running_pgbouncer(own_database, tmp_path) as (url, _):
            yield url


@pytest.fixture
def erin(reached: str, key_server: KeyServer, key: SigningKey) -> Iterator[Person]:
    """Sign in at a service with two connections, for requests that wait long for PostgreSQL."""
    settings = make_settings(reached, key_server.url, db_pool_size=2)
    protocol = "core.http_protocol:LimitedHttpProtocol"
    adapt = impatient(Timeouts(statement=1), 30)
    with running_service(settings, adapt=adapt, http=protocol) as client:
        yield Person(client, key)


@pytest.mark.slow
def test_a_statement_that_takes_too_long_is_cancelled_on_the_server(
    erin: Person, activity: Activity
) -> None:
    task = erin.create()["id"]
    with activity.locking("SELECT FROM tasks FOR UPDATE"), ThreadPoolExecutor(1) as threads:
        deleting = threads.submit(erin.tasks, "DELETE", task)
        activity.await_waiting(1)
        assert deleting.result().status_code == 503
        # The lock is held still: only a cancelled statement ceases to wait for it.
        activity.await_waiting(0)
    assert erin.tasks("GET", task).status_code == 200


@pytest.mark.slow
def test_reads_whose_clients_have_gone_are_cancelled_on_the_server(
    erin: Person, activity: Activity
) -> None:
    def leave(await_statement: Callable[[], None]) -> None:
        with connect(str(erin.client.base_url)) as connection:
            connection.sendall(request(erin.id, erin.token, "GET"))
            await_statement()

    erin.create()
    running = []
    with activity.locking("LOCK TABLE tasks"):
        leave(lambda: activity.await_waiting(1))
        gone_at = time.monotonic()
        activity.await_waiting(0)
        # That is sooner than the time-out of the statement would have ended it.
        assert time.monotonic() - gone_at < 0.9
        for _ in range(20):
            leave(lambda: time.sleep(0.03))
            running.append(activity.waiting())
        activity.await_waiting(0)
    # As many as there are connections, and those that are being cancelled.
    assert 1 <= max(running) <= 4
    assert len(erin.tasks("GET").json()) == 1


def test_the_first_requests_of_a_service_may_arrive_at_once(serve: Serve, key: SigningKey) -> None:
    client, headers = serve(), {"Authorization": f"Bearer {key.token()}"}
    with ThreadPoolExecutor(20) as threads:
        responses = threads.map(lambda _: client.get("/api/auth/me", headers=headers), range(20))
        assert {response.status_code for response in responses} == {200}


@pytest.mark.slow
@pytest.mark.parametrize("reading", [True, False], ids=["reading", "not reading"])
def test_200_clients_at_once_are_all_answered_on_the_default_pool(
    client: httpx.Client, sign_in: Callable[..., Person], *, reading: bool
) -> None:
    """Sessions of generator dependencies could lock the thread pool here (FastAPI issue 3205)."""
    erin = sign_in()
    for number in range(20):
        erin.create(title=f"{number} {'x' * 150}", description="y" * 9_000)
    with ExitStack() as opened:
        # With so little room that a response waits in the service until it is read.
        clients = [
            opened.enter_context(connect(client.base_url, is_small=True)) for _ in range(200)
        ]
        for each in clients:
            each.sendall(request(erin.id, erin.token, "GET"))
        # Those that do not read hold no connection and no thread that others need.
        for _ in range(10):
            assert erin.tasks("GET").status_code == 200
        for each in clients if reading else clients[:20]:
            assert each.recv(12) == b"HTTP/1.1 200"
