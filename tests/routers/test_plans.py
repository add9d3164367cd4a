"""Measurements of the list's plans and of the indexes' cost, for a user with 100,000 tasks.

Run them alone, with figures: `pytest -m serial -n 0 --no-cov -s tests/routers/test_plans.py`
"""

import re
import sys
import time
from collections.abc import Iterator
from statistics import median

import httpx
import psycopg2
import pytest

from core.migrations import upgrade
from tests.conftest import MakeDatabase
from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.proxy import PostgresProxy, running_proxy
from tests.support.rows import insert_tasks
from tests.support.service import Person, make_settings, running_service
from tests.support.tokens import SigningKey
from utils.cursors import CursorCodec

pytestmark = pytest.mark.serial

TASKS = 100_000
LIMIT = 500
ORDERS = ["asc", "desc"]
INDEXES = [
    "tasks_user_id_created_at_id",
    "tasks_user_id_updated_at_id",
    "tasks_user_id_title_id",
    "tasks_user_id_idempotency_key",
]


@pytest.fixture(scope="module")
def database(make_database: MakeDatabase) -> str:
    """Return a database of its own, which indexes may be dropped in."""
    url = make_database()
    upgrade(url)
    return url


@pytest.fixture(scope="module")
def proxy(database: str) -> Iterator[PostgresProxy]:
    """Run a proxy between a service and PostgreSQL."""
    with running_proxy(database) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def owner(
    database: str, proxy: PostgresProxy, key: SigningKey, key_server: KeyServer
) -> Iterator[Person]:
    """Sign in a user with 100,000 tasks, among others with 100,000 in all."""
    with running_service(make_settings(proxy.url, key_server.url)) as client:
        owner = Person(client, key)
        for _ in range(10):
            insert_tasks(database, Person(client, key).id, TASKS // 10, description=100)
        insert_tasks(database, owner.id, TASKS, description=100)
        execute(database, "ANALYZE tasks")
        yield owner


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sort", ["created_at", "updated_at", "title"])
def test_the_last_page_costs_what_the_first_one_does(
    database: str, proxy: PostgresProxy, owner: Person, sort: str, order: str
) -> None:
    """Explain the statements of the first page and of the last, as the service sends them.

    Where the last page begins is read from the other end: test_lists.py follows all the links.
    """

    def page(order: str, cursor: str = "") -> tuple[httpx.Response, str]:
        """Return a page, and the statement that read it."""
        proxy.statements.clear()
        params = {"limit": LIMIT, "sort": sort, "order": order, "cursor": cursor}
        response = owner.call("GET", "/api/me/tasks", params=params)
        # Without the one that looks the account up again, once a minute.
        (statement,) = [each for each in proxy.statements if "FROM tasks" in each]
        return response, statement

    def cursor_of_next(response: httpx.Response) -> str:
        return httpx.URL(response.links["next"]["url"]).params["cursor"]

    first_page, first_statement = page(order)
    other_order = ORDERS[order == "asc"]
    end, _ = page(other_order)
    before_end = page(other_order, cursor_of_next(end))[0].json()[0]
    # Cursors are signed with a key that is made of the database's address.
    cursors = CursorCodec(proxy.url)
    scope: tuple[object, ...] = (owner.id, {}, sort, order == "desc")
    assert cursors.decode(scope, cursor_of_next(first_page))[1] == first_page.json()[-1]["id"]
    last_page, last_statement = page(
        order, cursors.encode(scope, (before_end[sort], before_end["id"]))
    )
    assert last_page.json() == end.json()[::-1]
    assert "next" not in last_page.links
    first, last = (explain(database, each) for each in (first_statement, last_statement))
    for name, (milliseconds, buffers, plan) in (("first", first), ("last", last)):
        scans = [line.strip() for line in plan if re.search("Index (Only )?Scan|Index Cond", line)]
        sys.stdout.write(
            f"\n{sort} {order}, {name} page: {milliseconds:.2f} ms, {buffers} buffers\n"
        )
        sys.stdout.write("\n".join(scans[:2]) + "\n")
        assert f"tasks_user_id_{sort}_id" in scans[0]
    assert last[1] < 1.5 * first[1]
    assert last[0] < 1.5 * first[0]


def explain(database: str, statement: str) -> tuple[float, int, list[str]]:
    """Return the shortest time of a statement in milliseconds, its buffers, and its plan."""
    times = []
    for _ in range(25):
        rows = execute(database, f"EXPLAIN (ANALYZE, BUFFERS) {statement.replace('%', '%%')}")
        plan = [line for (line,) in rows]
        times.append(float(re.findall(r"Execution Time: ([0-9.]+)", plan[-1])[0]))
    buffers = next(line for line in plan if "Buffers:" in line)
    return min(times), sum(map(int, re.findall(r"(?:hit|read)=([0-9]+)", buffers))), plan


def test_the_cost_of_a_create_with_and_without_the_indexes(database: str, owner: Person) -> None:
    statement = (
        "INSERT INTO tasks (user_id, title, completed) VALUES (%s, md5(random()::text), false)"
        " RETURNING id"
    )
    definitions = [
        execute(database, "SELECT pg_get_indexdef(%s::regclass)", name)[0][0] for name in INDEXES
    ]
    with_indexes = seconds(database, statement, owner.id)
    for name in INDEXES:
        execute(database, f"DROP INDEX {name}")
    without = seconds(database, statement, owner.id)
    for definition in definitions:
        execute(database, definition)
    again = seconds(database, statement, owner.id)
    sys.stdout.write(
        f"\ncreate: {with_indexes * 1e6:.0f} and {again * 1e6:.0f} us with the indexes of the"
        f" second revision, {without * 1e6:.0f} us without\n"
    )
    assert min(with_indexes, again) < 3 * without


def seconds(database: str, statement: str, *parameters: object) -> float:
    """Return the median time of a statement in a transaction of its own."""
    connection = psycopg2.connect(database)
    connection.autocommit = True
    times = []
    with connection.cursor() as cursor:
        for _ in range(2000):
            started_at = time.perf_counter()
            cursor.execute(statement, parameters)
            times.append(time.perf_counter() - started_at)
    connection.close()
    return median(times)
