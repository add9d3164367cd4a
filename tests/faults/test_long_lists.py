"""Users with very long lists, and what they cost everybody else."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.process import Server, production_options, running_server, variables
from tests.support.rows import insert_tasks
from tests.support.service import Person
from tests.support.tokens import SigningKey
from tests.support.wire import connect, request

pytestmark = pytest.mark.serial

READERS = 12
SECONDS = 6


@pytest.fixture
def server(tmp_path: Path, database_url: str, key_server: KeyServer) -> Iterator[Server]:
    with running_server(
        tmp_path, variables(database_url, key_server.url), *production_options()
    ) as server:
        yield server


@contextmanager
def growing_by_less_than(size: int, server: Server) -> Iterator[None]:
    """Check that the process never has that many bytes more while the block runs."""
    process = psutil.Process(server.process.pid)
    sizes = [process.memory_info().rss]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            sizes.append(process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert max(sizes) - sizes[0] < size


def read_until(person: Person, until: float) -> int:
    """Read a list again and again; return how many bytes came."""
    received = 0
    url = person.client.base_url.join("/api/me/tasks")
    while time.monotonic() < until:
        with (
            suppress(httpx.HTTPError),
            httpx.stream("GET", url, headers=person.headers, timeout=120) as response,
        ):
            for piece in response.iter_raw():
                received += len(piece)
                if time.monotonic() > until:
                    break
    return received


def test_lists_of_200_megabytes_leave_others_their_responses_and_hold_a_page_each_at_most(
    server: Server, key: SigningKey, database_url: str
) -> None:
    """Of 20,000 tasks with 10,000 characters each; the readers leave in the middle."""
    heavy, slow, other = (Person(server.client, key) for _ in range(3))
    for person in (heavy, slow):
        insert_tasks(database_url, person.id, 20_000, description=10_000)
    execute(database_url, "ANALYZE tasks")
    until = time.monotonic() + SECONDS
    with (
        growing_by_less_than(300_000_000, server),
        ThreadPoolExecutor(READERS) as threads,
        ExitStack() as opened,
    ):
        reading = [threads.submit(read_until, heavy, until) for _ in range(READERS)]
        peers = [opened.enter_context(connect(server.url, is_small=True)) for _ in range(READERS)]
        for peer in peers:
            peer.sendall(request(slow.id, slow.token, "GET"))
            peer.setblocking(False)
        while time.monotonic() < until:
            for peer in peers:
                with suppress(BlockingIOError):
                    peer.recv(10_000)
            assert other.tasks("GET").status_code == 200
            time.sleep(0.1)
        assert sum(each.result() for each in reading) > 20_000_000


def test_100_000_tasks_are_listed_with_little_memory(
    server: Server, key: SigningKey, database_url: str
) -> None:
    heavy = Person(server.client, key)
    insert_tasks(database_url, heavy.id, 100_000, description=100)
    execute(database_url, "ANALYZE tasks")
    assert len(heavy.tasks("GET", params={"limit": 500}).json()) == 500
    with growing_by_less_than(30_000_000, server):
        assert read_until(heavy, time.monotonic() + 0.01) > 0
        tasks = heavy.tasks("GET", timeout=120).json()
    assert len({task["id"] for task in tasks}) == 100_000
