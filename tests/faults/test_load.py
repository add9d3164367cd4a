"""200 clients on the default settings while the database hangs for a part of the time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import make_url

from tests.faults import clients
from tests.faults.clients import User
from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.postgres import OwnPostgres
from tests.support.process import Server, production_options, running_server, variables
from tests.support.service import Person
from tests.support.tokens import SigningKey
from tests.support.wire import connect, read_answer

CLIENTS = 200
SECONDS = 30
HUNG = 8, 20
"""From when to when the database hangs: for longer than a statement may take."""


def run_delay(task: str) -> float:
    """Give how many seconds a thread has been ready to run while the cores were others'.

    Linux alone tells; anywhere else these seconds count as the service's own.
    """
    try:
        return int(Path(f"/proc/{task}/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0


@contextmanager
def probing(server: Server) -> Iterator[list[float]]:
    """Ask for /health twenty times a second; gives the seconds that the service took each time.

    That it, or who asks, had to wait for a core is the other processes' doing, and not counted.
    """
    seconds: list[float] = []
    done = threading.Event()

    def waited() -> float:
        return run_delay(str(server.process.pid)) + run_delay("thread-self")

    def probe() -> None:
        with connect(server.url) as peer, peer.makefile("rb") as answers:
            while not done.wait(0.05):
                waited_before, began = waited(), time.monotonic()
                peer.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert read_answer(answers)[0] == 200
                taken = time.monotonic() - began
                seconds.append(taken - (waited() - waited_before))

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield seconds
    finally:
        done.set()
        thread.join()


@pytest.mark.alone
def test_a_database_that_hangs_under_200_clients_is_503_and_over_when_it_answers_again(
    tmp_path: Path, own_postgres: OwnPostgres, key_server: KeyServer, key: SigningKey
) -> None:
    name = f"load_{uuid4().hex}"
    execute(own_postgres.url, f"CREATE DATABASE {name}")
    url = make_url(own_postgres.url).set(database=name).render_as_string(hide_password=False)

    def user(number: int) -> User:
        subject = f"client-{number}"
        return User(subject, key.token(sub=subject, email=f"{subject}@example.com"))

    with running_server(tmp_path, variables(url, key_server.url), *production_options()) as server:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            long_list = Person(client, key)
            for _ in range(50):
                long_list.create(description="y" * 9_000)
        readers = [user(number) for number in range(CLIENTS * 9 // 10)]
        others = [User(str(long_list.id), long_list.token)] * (CLIENTS // 10)
        with probing(server) as health, clients.start(server.url, readers, others, SECONDS) as load:
            time.sleep(HUNG[0])
            own_postgres.hang()
            hung_at = time.monotonic()
            time.sleep(HUNG[1] - HUNG[0])
            own_postgres.go_on()
            over_at = time.monotonic()
            records = clients.results(load)
    assert {record.status for record in records} == {200, 201, 503}
    failed_at = [record.answered_at for record in records if record.status == 503]
    assert hung_at < failed_at[0]
    assert failed_at[-1] < over_at + 5
    made = [record for record in records if record.status == 201]
    assert any(over_at < record.asked_at < over_at + 5 for record in made)
    assert len(health) > SECONDS * 10
    # One of the 600 may meet what a virtual machine's host does to it, which nothing here can tell.
    *others_took, longest = sorted(health)
    assert others_took[-1] < 0.1, others_took[-10:]
    assert longest < 0.5
    titles = [title for (title,) in execute(url, "SELECT title FROM tasks WHERE title ~ '^client'")]
    assert len(titles) == len(set(titles))
    assert {record.name for record in made} <= set(titles)
