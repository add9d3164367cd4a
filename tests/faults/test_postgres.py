"""Faults of a real PostgreSQL, directly and through a real PgBouncer: nothing lost, nothing twice.

One service outlives all of them, on its default pool: it is never started again.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import count

import httpx
import pytest

from core.database import WAIT_SECONDS
from core.driver import Timeouts
from tests.faults.conftest import OwnPostgres
from tests.support.database import Activity, execute, wait_until
from tests.support.keyserver import KeyServer
from tests.support.pgbouncer import running_pgbouncer
from tests.support.problems import assert_problem
from tests.support.service import Person, at_once, impatient, make_settings, running_service
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


@pytest.mark.parametrize("fault", [OwnPostgres.end_backends, OwnPostgres.restart, OwnPostgres.kill])
def test_of_a_burst_of_writes_nothing_is_lost_and_nothing_made_twice(
    own_postgres: OwnPostgres,
    client: httpx.Client,
    key: SigningKey,
    fault: Callable[[OwnPostgres], None],
) -> None:
    alice = Person(client, key)
    responses: dict[str, httpx.Response] = {}
    done = threading.Event()

    def write(writer: int) -> None:
        for number in count():
            title = f"{writer}-{number}"
            responses[title] = alice.tasks("POST", json={"title": title})
            # After a 503 for longer, so that a fault is not all that is written about.
            if done.wait(0 if responses[title].status_code == 201 else 0.02):
                return

    def await_created() -> None:
        """Wait until a request that is made from now on has succeeded."""
        known = len(responses) + WRITERS
        wait_until(lambda: 201 in [r.status_code for r in list(responses.values())[known:]], 5)

    with ThreadPoolExecutor(WRITERS) as threads:
        writers = [threads.submit(write, writer) for writer in range(WRITERS)]
        try:
            await_created()
            fault(own_postgres)
            await_created()
        finally:
            done.set()
    for writer in writers:
        writer.result()
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
            assert_problem(alice.tasks("GET"), 503)
            assert_problem(alice.tasks("PATCH", task["id"], json={"completed": True}), 503)
            assert_problem(client.get("/health/ready"), 503)
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
    responses = at_once(2 * POOL_SIZE, lambda _: alice.tasks("GET"))
    assert {each.status_code for each in responses} == {200}
    own_postgres.restart()
    responses = at_once(2 * POOL_SIZE, lambda _: alice.tasks("POST", json={"title": "kept"}))
    assert {each.status_code for each in responses} == {201}
    own_postgres.restart()
    responses = at_once(POOL_SIZE, lambda _: alice.tasks("GET"))
    assert {len(each.json()) for each in responses} == {2 * POOL_SIZE}


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
            responses = at_once(3, lambda _: alice.tasks("DELETE", task["id"]))
            assert 0.3 < time.monotonic() - began < 5
        for response in responses:
            assert_problem(response, 503)
    finally:
        execute(own_postgres.url, "ALTER ROLE postgres RESET statement_timeout")
    assert alice.tasks("GET", task["id"]).json() == task
    assert alice.tasks("DELETE", task["id"]).status_code == 204
    own_postgres.end_backends()
