"""Faults of a real PostgreSQL, directly and through a real PgBouncer: nothing lost, nothing twice.

One service outlives all of them, on its default pool: it is never started again.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from typing import Any

import httpx
import pytest

from core.database import WAIT_SECONDS
from core.driver import Timeouts
from tests.conftest import Serve
from tests.support.database import Activity, execute, wait_until
from tests.support.keyserver import KeyServer
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import OwnPostgres
from tests.support.problems import assert_problem
from tests.support.proxy import PostgresProxy
from tests.support.service import Person, impatient, make_settings, running_service
from tests.support.tokens import SigningKey

pytestmark = pytest.mark.slow

POOL_SIZE = 10
WRITERS = 8


@pytest.fixture(scope="module", params=["direct", "pooled"])
def client(
    request: pytest.FixtureRequest,
    own_postgres: OwnPostgres,
    tmp_path_factory: pytest.TempPathFactory,
    key_server: KeyServer,
) -> Iterator[httpx.Client]:
    """Run the service that all of these faults happen to."""
    with ExitStack() as stack:
        url = own_postgres.url
        if request.param == "pooled":
            folder = tmp_path_factory.mktemp("pgbouncer")
            url, _ = stack.enter_context(running_pgbouncer(url, folder))
        settings = make_settings(url, key_server.url, migrate_on_start=True)
        # PgBouncer lets statements wait for PostgreSQL, for longer than this service does.
        adapt = impatient(Timeouts(statement=3), WAIT_SECONDS)
        yield stack.enter_context(running_service(settings, adapt=adapt))


def at_once(person: Person, method: str, *paths: object, **options: Any) -> list[httpx.Response]:
    """Send a request to each path, all at the same time."""
    with ThreadPoolExecutor(len(paths)) as threads:
        return list(threads.map(lambda path: person.tasks(method, path, **options), paths))


@contextmanager
def running_burst(person: Person) -> Iterator[dict[str, httpx.Response]]:
    """Create tasks without a pause until the block ends; yield the responses, by title."""
    responses: dict[str, httpx.Response] = {}
    done = threading.Event()

    def write(writer: int) -> None:
        for number in count():
            if done.is_set():
                return
            title = f"{writer}-{number}"
            responses[title] = person.tasks("POST", json={"title": title})
            if responses[title].status_code != 201:
                # So that a fault is not all that is written about.
                time.sleep(0.02)

    with ThreadPoolExecutor(WRITERS) as threads:
        writers = [threads.submit(write, writer) for writer in range(WRITERS)]
        try:
            yield responses
        finally:
            done.set()
    for writer in writers:
        writer.result()


def await_created(responses: dict[str, httpx.Response]) -> None:
    """Wait until a request that is made from now on has succeeded."""
    known = len(responses) + WRITERS
    wait_until(lambda: 201 in [r.status_code for r in list(responses.values())[known:]], 5)


FAULTS: dict[str, tuple[Callable[[OwnPostgres], None], int]] = {
    "backends ended": (OwnPostgres.end_backends, 3),
    "a backend killed": (OwnPostgres.crash, 1),
    "restarted": (OwnPostgres.restart, 1),
    "postmaster killed": (OwnPostgres.kill, 1),
}
"""What is done in the middle of a burst, and how many times."""


@pytest.mark.parametrize(("fault", "times"), FAULTS.values(), ids=FAULTS)
def test_of_a_burst_of_writes_nothing_is_lost_and_nothing_made_twice(
    own_postgres: OwnPostgres,
    client: httpx.Client,
    key: SigningKey,
    fault: Callable[[OwnPostgres], None],
    times: int,
) -> None:
    alice = Person(client, key)
    with running_burst(alice) as responses:
        await_created(responses)
        for _ in range(times):
            fault(own_postgres)
            await_created(responses)
    for response in responses.values():
        if response.status_code != 201:
            assert_problem(response, 503)
    listed = alice.tasks("GET").json()
    stored = {task["title"]: task for task in listed}
    assert len(stored) == len(listed)
    # A 503 may have been written: its response was lost, not its row.
    assert stored.keys() <= responses.keys()
    created = {title: each.json() for title, each in responses.items() if each.status_code == 201}
    assert created.items() <= stored.items()


def test_while_postgresql_is_stopped_every_response_is_503_and_then_it_is_over(
    own_postgres: OwnPostgres, client: httpx.Client, key: SigningKey
) -> None:
    alice = Person(client, key)
    task = alice.create()
    own_postgres.stop()
    try:
        for _ in range(2):
            for response in (
                alice.tasks("GET"),
                alice.tasks("POST", json={"title": "lost"}),
                alice.tasks("PATCH", task["id"], json={"completed": True}),
                client.get("/health/ready"),
            ):
                assert_problem(response, 503)
            assert client.get("/health").status_code == 200
    finally:
        own_postgres.start()
    wait_until(lambda: client.get("/health/ready").status_code == 200, 5)
    assert alice.tasks("GET").json() == [task]
    alice.create()


def test_connections_that_were_closed_while_idle_are_replaced_unseen(
    own_postgres: OwnPostgres, client: httpx.Client, key: SigningKey
) -> None:
    """Neon's scale to zero, with a whole pool open; the first requests after it come at once."""
    alice = Person(client, key)
    assert {each.status_code for each in at_once(alice, "GET", *[""] * 2 * POOL_SIZE)} == {200}
    own_postgres.restart()
    responses = at_once(alice, "POST", *[""] * 2 * POOL_SIZE, json={"title": "kept"})
    assert [response.status_code for response in responses] == [201] * 2 * POOL_SIZE
    own_postgres.restart()
    responses = at_once(alice, "GET", *[""] * POOL_SIZE)
    assert [len(response.json()) for response in responses] == [2 * POOL_SIZE] * POOL_SIZE


def test_a_statement_that_postgresql_cuts_off_is_503_and_changes_nothing(
    own_postgres: OwnPostgres, client: httpx.Client, key: SigningKey
) -> None:
    """As the README has it for Neon's pooled host, which takes no option."""
    alice = Person(client, key)
    task = alice.create()
    execute(own_postgres.url, "ALTER ROLE postgres SET statement_timeout = '300ms'")
    try:
        own_postgres.end_backends()
        with (
            closing(Activity(own_postgres.url)) as activity,
            activity.locking("SELECT FROM tasks FOR UPDATE"),
        ):
            began = time.monotonic()
            responses = at_once(alice, "DELETE", *[task["id"]] * 3)
            assert 0.3 < time.monotonic() - began < 5
        for response in responses:
            assert_problem(response, 503)
    finally:
        execute(own_postgres.url, "ALTER ROLE postgres RESET statement_timeout")
    assert alice.tasks("GET", task["id"]).json() == task
    assert alice.tasks("DELETE", task["id"]).status_code == 204
    own_postgres.end_backends()


def test_connections_that_fell_silent_while_idle_cost_one_deadline_and_not_one_each(
    proxy: PostgresProxy, serve: Serve, key: SigningKey
) -> None:
    """A firewall on the way has forgotten them, and does not say so."""
    adapt = impatient(Timeouts(statement=0.5, idle=0.2, cancel=0.2))
    alice = Person(serve(proxy.url, adapt=adapt), key)
    proxy.hang()
    with ThreadPoolExecutor(POOL_SIZE) as threads:
        listing = [threads.submit(alice.tasks, "GET") for _ in range(POOL_SIZE)]
        # One account has a third of them.
        wait_until(lambda: proxy.connections == POOL_SIZE // 3)
        proxy.go_on()
        assert {each.result().status_code for each in listing} == {200}
    proxy.forget()
    time.sleep(0.3)
    began = time.monotonic()
    alice.create()
    assert 0.4 < time.monotonic() - began < 1.5
