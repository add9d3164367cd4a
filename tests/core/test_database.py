"""Tests of the connections to PostgreSQL: statements per request, time-outs, broken connections."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import psycopg2
import pytest
import uvloop
from sqlalchemy.exc import DBAPIError
from sqlmodel import func, select

from core.database import Session, make_engine
from core.driver import Timeouts
from core.migrations import upgrade
from tests.conftest import MakeDatabase
from tests.support.database import Activity, wait_until
from tests.support.keyserver import KeyServer
from tests.support.pgbouncer import running_pgbouncer
from tests.support.proxy import PostgresProxy, running_proxy
from tests.support.service import Person, impatient, make_settings, running_service
from tests.support.tokens import SigningKey
from tests.support.wire import connect, request

PROBLEM = "application/problem+json"


@pytest.fixture
def proxy(database_url: str) -> Iterator[PostgresProxy]:
    with running_proxy(database_url) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: PostgresProxy, key_server: KeyServer) -> Iterator[httpx.Client]:
    """Run a service that reaches its database through the proxy, and is soon out of patience."""
    settings = make_settings(proxy.url, key_server.url, db_pool_size=2)
    with running_service(settings, adapt=impatient()) as client:
        yield client


@pytest.fixture
def carol(proxied: httpx.Client, key: SigningKey) -> Person:
    """Return a user of the service behind the proxy, whose account exists."""
    return Person(proxied, key)


def test_each_task_endpoint_sends_exactly_one_statement(
    carol: Person, proxy: PostgresProxy
) -> None:
    def statements(method: str, path: object = "", **options: object) -> list[str]:
        proxy.statements.clear()
        answer = carol.tasks(method, path, **options)
        assert answer.is_success, answer.text
        return [statement.split()[0] for statement in proxy.statements]

    task = carol.create()["id"]
    assert statements("POST", json={"title": "two"}) == ["INSERT"]
    assert statements("GET") == ["SELECT"]
    assert statements("GET", task) == ["SELECT"]
    assert statements("PUT", task, json={"title": "new"}) == ["UPDATE"]
    assert statements("PATCH", task, json={"completed": True}) == ["UPDATE"]
    assert statements("PATCH", task, json={}) == ["SELECT"]
    assert statements("PATCH", f"{task}/complete") == ["UPDATE"]
    assert statements("DELETE", task) == ["DELETE"]


def test_a_missed_row_costs_one_statement_and_an_empty_list_one_more(
    carol: Person, proxy: PostgresProxy
) -> None:
    proxy.statements.clear()
    assert carol.tasks("PUT", 1, json={"title": "x"}).status_code == 404
    assert len(proxy.statements) == 1
    proxy.statements.clear()
    assert carol.tasks("GET").json() == []
    assert [each.split()[0] for each in proxy.statements] == ["SELECT", "SELECT"]


def test_nothing_is_sent_when_the_token_or_the_path_is_refused(
    carol: Person, proxied: httpx.Client, proxy: PostgresProxy
) -> None:
    proxy.statements.clear()
    assert proxied.get(f"/api/{carol.id}/tasks").status_code == 401
    assert carol.call("GET", "/api/999999/tasks").status_code == 403
    assert carol.tasks("GET", "01").status_code == 404
    assert carol.tasks("POST", json={"title": ""}).status_code == 400
    assert proxy.statements == []


def test_a_new_connection_sets_nothing(carol: Person, proxy: PostgresProxy) -> None:
    """Neon's pooled host would forget it."""
    carol.create()
    assert not [each for each in proxy.statements if each.upper().startswith("SET")]


def test_a_connection_that_was_closed_while_idle_is_replaced_unseen(
    carol: Person, proxy: PostgresProxy
) -> None:
    for method, options in (("GET", {}), ("POST", {"json": {"title": "kept"}})):
        proxy.cut()
        time.sleep(0.05)
        assert carol.tasks(method, **options).is_success
    assert [task["title"] for task in carol.tasks("GET").json()] == ["kept"]


def test_a_connection_that_was_long_idle_is_tried_first(
    proxy: PostgresProxy, key_server: KeyServer, key: SigningKey
) -> None:
    settings = make_settings(proxy.url, key_server.url)
    with running_service(settings, adapt=impatient(Timeouts(idle=-1))) as client:
        carol = Person(client, key)
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
    answer = carol.tasks("GET", task["id"])
    assert answer.status_code == 503
    assert len(proxy.statements) == 2
    proxy.swallow = None
    assert carol.tasks("GET", task["id"]).json() == task


def test_a_write_whose_connection_breaks_is_not_repeated(
    carol: Person, proxy: PostgresProxy
) -> None:
    proxy.swallow = "INSERT"
    answer = carol.tasks("POST", json={"title": "once"})
    assert answer.status_code == 503
    assert answer.headers["content-type"] == PROBLEM
    assert int(answer.headers["retry-after"]) > 0
    proxy.swallow = None
    assert [task["title"] for task in carol.tasks("GET").json()] == ["once"]


@pytest.mark.parametrize(
    "make_loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"]
)
def test_a_server_that_ends_the_connection_is_noticed_while_a_statement_runs(
    proxy: PostgresProxy, make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Its last words and the end are there at the same time: uvloop tells that once."""

    async def ask() -> None:
        engine = make_engine(proxy.url, 1)
        async with Session(engine) as session:
            await session.exec(select(func.now()))
            proxy.terminate = "now()"
            # The event loop looks at its sockets again when all has come.
            asyncio.get_running_loop().call_soon(time.sleep, 0.2)
            with pytest.raises(DBAPIError, match=r"terminating connection|closed"):
                await session.exec(select(func.now()))
        await engine.dispose()

    started = time.monotonic()
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(ask())
    assert time.monotonic() - started < 5


def test_a_connection_that_goes_silent_ends_in_503_and_recovers(
    carol: Person, proxy: PostgresProxy
) -> None:
    proxy.hang()
    started = time.monotonic()
    answer = carol.tasks("GET")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert 0.4 < time.monotonic() - started < 3
    proxy.statements.clear()
    proxy.go_on()
    assert carol.tasks("GET").status_code == 200
    # The first one passes by now. It was not tried again, when it would have waited as long.
    assert len([each for each in proxy.statements if "string_agg" in each]) == 2


def test_a_host_that_never_answers_ends_in_503_after_the_connect_deadline(
    key_server: KeyServer, key: SigningKey
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"
        with running_service(make_settings(url, key_server.url), adapt=impatient()) as client:
            answer = client.get("/api/auth/me", headers={"Authorization": f"Bearer {key.token()}"})
    assert answer.status_code == 503


def test_a_statement_that_waits_for_a_lock_ends_in_503(carol: Person, database_url: str) -> None:
    task = carol.create()
    holder = psycopg2.connect(database_url)
    with holder, holder.cursor() as cursor:
        cursor.execute("SELECT 1 FROM tasks WHERE id = %s FOR UPDATE", [task["id"]])
        assert carol.tasks("DELETE", task["id"]).status_code == 503
    holder.close()


def test_a_request_that_finds_no_connection_free_gives_up_and_health_still_answers(
    proxy: PostgresProxy, key_server: KeyServer, key: SigningKey
) -> None:
    settings = make_settings(proxy.url, key_server.url, db_pool_size=2)
    with running_service(settings, adapt=impatient(wait_seconds=2)) as client:
        carol = Person(client, key)
        proxy.hang()
        with ThreadPoolExecutor(12) as threads:
            responses = [threads.submit(carol.tasks, "GET") for _ in range(12)]
            time.sleep(0.1)
            assert client.get("/health").status_code == 200
            assert not all(response.done() for response in responses)
            assert {response.result().status_code for response in responses} == {503}
        proxy.go_on()
        assert carol.tasks("GET").status_code == 200


def test_no_more_connections_are_opened_than_the_settings_allow(
    proxy: PostgresProxy, key_server: KeyServer, key: SigningKey, database_url: str
) -> None:
    settings = make_settings(proxy.url, key_server.url, db_pool_size=2)
    with running_service(settings, adapt=impatient(Timeouts())) as client:
        carol = Person(client, key)
        tasks = [carol.create()["id"] for _ in range(2)]
        holder = psycopg2.connect(database_url)
        with holder.cursor() as cursor, ThreadPoolExecutor(2) as threads:
            cursor.execute("SELECT FROM tasks WHERE id = ANY(%s) FOR UPDATE", [tasks])
            proxy.statements.clear()
            held = [threads.submit(carol.tasks, "DELETE", task) for task in tasks]
            while len(proxy.statements) < len(tasks):
                time.sleep(0.01)
            assert [carol.tasks("GET").status_code for _ in range(3)] == [503] * 3
            holder.rollback()
            assert [each.result().status_code for each in held] == [204] * 2
        holder.close()
        assert proxy.connections == 2
        assert carol.tasks("GET").status_code == 200


@pytest.fixture
def empty_database(make_database: MakeDatabase) -> str:
    url = make_database()
    upgrade(url)
    return url


@pytest.fixture
def activity(empty_database: str) -> Iterator[Activity]:
    with closing(Activity(empty_database)) as activity:
        yield activity


def open_three(person: Person, activity: Activity) -> None:
    """Have three connections opened, because each waits for a lock."""
    task = person.create()["id"]
    with activity.locking("SELECT FROM tasks FOR UPDATE"), ThreadPoolExecutor(3) as threads:
        held = [threads.submit(person.tasks, "PUT", task, json={"title": "x"}) for _ in range(3)]
        activity.await_waiting(3)
        activity.unlock()
        assert [each.result().status_code for each in held] == [200] * 3


def test_the_last_connection_used_is_taken_first_so_that_the_others_age(
    empty_database: str, activity: Activity, key_server: KeyServer, key: SigningKey
) -> None:
    with running_service(make_settings(empty_database, key_server.url)) as client:
        frank = Person(client, key)
        open_three(frank, activity)
        before = activity.backends()
        for _ in range(6):
            assert frank.tasks("GET").status_code == 200
        after = activity.backends()
        assert after.keys() == before.keys()
        assert len([pid for pid in after if after[pid] > before[pid]]) == 1


def test_idle_connections_are_closed_when_the_service_stops(
    empty_database: str, activity: Activity, key_server: KeyServer, key: SigningKey
) -> None:
    with running_service(make_settings(empty_database, key_server.url)) as client:
        open_three(Person(client, key), activity)
        assert len(activity.backends()) == 3
    wait_until(lambda: activity.backends() == {})


# --- statements that are given up -----------------------------------------------------------


@pytest.fixture(params=["directly", "through PgBouncer"])
def reached(request: pytest.FixtureRequest, empty_database: str, tmp_path: Path) -> Iterator[str]:
    """Return the database's address, or a PgBouncer's before it."""
    if request.param == "directly":
        yield empty_database
    else:
        with running_pgbouncer(empty_database, tmp_path) as (url, _):
            yield url


@pytest.fixture
def hasty(reached: str, key_server: KeyServer) -> Iterator[httpx.Client]:
    """Run a service with two connections, for requests that wait long for PostgreSQL."""
    settings = make_settings(reached, key_server.url, db_pool_size=2)
    protocol = "core.http_protocol:LimitedHttpProtocol"
    adapt = impatient(Timeouts(statement=1), 30)
    with running_service(settings, adapt=adapt, http=protocol) as client:
        yield client


def test_a_statement_that_takes_too_long_is_cancelled_on_the_server(
    hasty: httpx.Client, activity: Activity, key: SigningKey
) -> None:
    erin = Person(hasty, key)
    task = erin.create()["id"]
    with activity.locking("SELECT FROM tasks FOR UPDATE"), ThreadPoolExecutor(1) as threads:
        deleting = threads.submit(erin.tasks, "DELETE", task)
        activity.await_waiting(1)
        assert deleting.result().status_code == 503
        # The lock is held still: only a cancelled statement ceases to wait for it.
        activity.await_waiting(0)
    assert erin.tasks("GET", task).status_code == 200


def test_a_read_whose_client_has_gone_is_cancelled_on_the_server(
    hasty: httpx.Client, activity: Activity, key: SigningKey
) -> None:
    erin = Person(hasty, key)
    erin.create()
    with activity.locking("LOCK TABLE tasks"):
        with connect(str(hasty.base_url)) as connection:
            connection.sendall(request(erin.id, erin.token, "GET"))
            activity.await_waiting(1)
        gone_at = time.monotonic()
        activity.await_waiting(0)
        # That is sooner than the time-out of the statement would have ended it.
        assert time.monotonic() - gone_at < 0.9
    assert len(erin.tasks("GET").json()) == 1


def test_clients_that_come_and_go_never_have_more_statements_run_than_there_are_connections(
    hasty: httpx.Client, activity: Activity, key: SigningKey
) -> None:
    erin = Person(hasty, key)
    erin.create()
    most = 0
    with activity.locking("LOCK TABLE tasks"):
        for _ in range(20):
            with connect(str(hasty.base_url)) as connection:
                connection.sendall(request(erin.id, erin.token, "GET"))
                time.sleep(0.03)
                most = max(most, activity.waiting())
        activity.await_waiting(0)
    # Two, and those that are being cancelled.
    assert 1 <= most <= 4
    assert len(erin.tasks("GET").json()) == 1


def test_the_first_requests_of_a_service_may_arrive_at_once(
    database_url: str, key_server: KeyServer, key: SigningKey
) -> None:
    headers = {"Authorization": f"Bearer {key.token()}"}
    with (
        running_service(make_settings(database_url, key_server.url)) as client,
        ThreadPoolExecutor(20) as threads,
    ):
        answers = threads.map(lambda _: client.get("/api/auth/me", headers=headers), range(20))
        assert {answer.status_code for answer in answers} == {200}


def test_the_database_restarting_is_503_and_then_over(
    make_database: MakeDatabase, key_server: KeyServer, key: SigningKey
) -> None:
    """Its backends are ended in the middle of a burst, and connections are refused for a while."""
    url = make_database()
    settings = make_settings(url, key_server.url, migrate_on_start=True)
    with running_service(settings) as client:
        dave = Person(client, key)
        stop = threading.Event()
        codes: list[int] = []
        started = time.monotonic()

        def write() -> None:
            while not stop.is_set():
                codes.append(dave.tasks("POST", json={"title": "x"}).status_code)

        admin = psycopg2.connect(url)
        admin.autocommit = True
        name = admin.info.dbname
        with ThreadPoolExecutor(4) as threads, admin.cursor() as cursor:
            for _ in range(4):
                threads.submit(write)
            for _ in range(5):
                time.sleep(0.1)
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = %s AND pid <> pg_backend_pid()",
                    [name],
                )
            stop.set()
        admin.close()
        listed = dave.tasks("GET")
        assert listed.status_code == 200
        assert set(codes) <= {201, 503}
        # The end of a connection is noticed at once, and not by the statement's time-out.
        assert time.monotonic() - started < 5
        made = codes.count(201)
        assert made > 0
        # A 503 may have been written: its answer was lost, not its row.
        assert made <= len(listed.json()) <= len(codes)


@pytest.mark.parametrize("reading", [True, False], ids=["reading", "not reading"])
def test_200_clients_at_once_are_all_answered_on_the_default_pool(
    client: httpx.Client, sign_in: Callable[..., Person], *, reading: bool
) -> None:
    """Sessions of generator dependencies could lock the thread pool here (FastAPI issue 3205)."""
    erin = sign_in()
    for number in range(20):
        erin.create(title=f"{number} {'x' * 150}", description="y" * 9_000)
    address = client.base_url.host, client.base_url.port
    clients = []
    try:
        for _ in range(200):
            each = socket.socket()
            clients.append(each)
            # So little room that an answer waits in the service until it is read.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.settimeout(20)
            each.connect(address)
            each.sendall(request(erin.id, erin.token, "GET"))
        # Those that do not read hold no connection and no thread that others need.
        for _ in range(10):
            assert erin.tasks("GET").status_code == 200
        for each in clients if reading else clients[:20]:
            assert each.recv(12) == b"HTTP/1.1 200"
    finally:
        for each in clients:
            each.close()
