"""Users with very long lists, and what they cost everybody else."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import psycopg2
import pytest

from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.process import Server, production_options, running_server, variables
from tests.support.service import Person
from tests.support.tokens import SigningKey
from tests.support.wire import request

pytestmark = pytest.mark.serial

POOL_SIZE = 10
READERS = 12
SECONDS = 6
SLOW_READERS = 60


@pytest.fixture
def server(tmp_path: Path, database_url: str, key_server: KeyServer) -> Iterator[Server]:
    with running_server(
        tmp_path, variables(database_url, key_server.url), *production_options()
    ) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


def add_tasks(database_url: str, person: Person, count: int, characters: int) -> None:
    execute(
        database_url,
        "INSERT INTO tasks (user_id, title, description, completed)"
        " SELECT %s, 'long', repeat('x', %s), false FROM generate_series(1, %s)",
        person.id,
        characters,
        count,
    )
    execute(database_url, "ANALYZE tasks")


class Watch:
    """The memory of a process and the statements of a database, watched in a thread."""

    def __init__(self, server: Server, database_url: str) -> None:
        self.grown = 0
        """By how many bytes at most the process has grown."""
        self.statements = 0
        """How many statements have run at once at most."""
        self.done = threading.Event()
        self._process = psutil.Process(server.process.pid)
        self._database_url = database_url

    def run(self) -> None:
        """Watch until `done` is set."""
        before = self._process.memory_info().rss
        with closing(psycopg2.connect(self._database_url)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            while not self.done.wait(0.05):
                self.grown = max(self.grown, self._process.memory_info().rss - before)
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
                    " AND backend_type = 'client backend' AND datname = current_database()"
                    " AND pid <> pg_backend_pid()"
                )
                ((statements,),) = cursor.fetchall()
                self.statements = max(self.statements, statements)


@contextmanager
def watching(server: Server, database_url: str) -> Iterator[Watch]:
    """Watch a server while the block runs."""
    watch = Watch(server, database_url)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
    finally:
        watch.done.set()
        thread.join()
    # For the figures: pytest -s.
    print(f"{watch.grown / 1e6:.0f} MB more, {watch.statements} statements")  # noqa: T201 - shown with -s


def read_until(server: Server, person: Person, until: float) -> int:
    """Read a list again and again; returns how many bytes came."""
    received = 0
    while time.monotonic() < until:
        with (
            suppress(httpx.HTTPError),
            httpx.stream(
                "GET", f"{server.url}/api/{person.id}/tasks", headers=person.headers, timeout=120
            ) as response,
        ):
            for piece in response.iter_raw():
                received += len(piece)
                if time.monotonic() > until:
                    break
    return received


def test_lists_of_200_megabytes_leave_others_their_responses_and_the_database_its_limit(
    server: Server, client: httpx.Client, database_url: str, key: SigningKey
) -> None:
    """12 readers of 20,000 tasks with 10,000 characters each, who leave in the middle."""
    heavy, other = Person(client, key), Person(client, key)
    other.create()
    add_tasks(database_url, heavy, 20_000, 10_000)
    until = time.monotonic() + SECONDS
    statuses, seconds = [], []
    with watching(server, database_url) as watch, ThreadPoolExecutor(READERS) as threads:
        reading = [threads.submit(read_until, server, heavy, until) for _ in range(READERS)]
        while time.monotonic() < until:
            began = time.monotonic()
            statuses.append(other.tasks("GET").status_code)
            seconds.append(time.monotonic() - began)
            time.sleep(0.1)
        received = sum(each.result() for each in reading)
    print(f"{len(statuses)} lists of another user, {max(seconds):.2f} s at most, {received} bytes")  # noqa: T201 - shown with -s
    assert received > 20_000_000
    assert set(statuses) == {200}
    # And those that are just being cancelled.
    assert watch.statements <= 2 * POOL_SIZE
    assert watch.grown < 200_000_000


def test_60_slow_readers_of_long_lists_hold_a_page_each_at_most(
    server: Server, client: httpx.Client, database_url: str, key: SigningKey
) -> None:
    heavy, other = Person(client, key), Person(client, key)
    add_tasks(database_url, heavy, 2_000, 10_000)
    address = httpx.URL(server.url)
    with watching(server, database_url) as watch, ExitStack() as opened:
        peers = [opened.enter_context(socket.socket()) for _ in range(SLOW_READERS)]
        for peer in peers:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect((address.host, address.port or 80))
            peer.sendall(request(heavy.id, heavy.token, "GET"))
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for peer in peers:
                peer.setblocking(False)
                with suppress(BlockingIOError):
                    peer.recv(10_000)
            assert other.tasks("GET").status_code == 200
            time.sleep(0.2)
    assert watch.grown < 250_000_000


def test_100_000_tasks_are_listed_with_little_memory(
    server: Server, client: httpx.Client, database_url: str, key: SigningKey
) -> None:
    heavy = Person(client, key)
    add_tasks(database_url, heavy, 100_000, 100)
    assert len(heavy.tasks("GET", params={"limit": 500}).json()) == 500
    with watching(server, database_url) as watch:
        assert read_until(server, heavy, time.monotonic() + 0.01) > 0
        began = time.monotonic()
        tasks = heavy.tasks("GET").json()
        print(f"{time.monotonic() - began:.1f} s")  # noqa: T201 - shown with -s
    assert len({task["id"] for task in tasks}) == 100_000
    assert watch.grown < 30_000_000
