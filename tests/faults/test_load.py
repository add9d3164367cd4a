"""200 clients on the default settings while the database hangs for a part of the time."""

import re
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
from tests.support.wire import HEALTH, connect, read_response

CLIENTS = 200
SECONDS = 21
HUNG = 3, 15
"""From when to when the database hangs: for longer than a statement may take."""


@contextmanager
def probing(server: Server) -> Iterator[list[float]]:
    """Request /health twenty times a second, on one connection, and yield the seconds."""
    seconds: list[float] = []
    done = threading.Event()

    def probe() -> None:
        with connect(server.url) as peer, peer.makefile("rb") as responses:
            while not done.wait(0.05):
                began = time.monotonic()
                peer.sendall(HEALTH)
                assert read_response(responses)[0] == 200
                seconds.append(time.monotonic() - began)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield seconds
    finally:
        done.set()
        thread.join()


@pytest.mark.serial
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
            output = clients.await_end(load)
    # Not before: to read as much as that holds up the thread that asks for /health.
    records = clients.results(output)
    assert {record.status for record in records} == {200, 201, 503}
    created = [record for record in records if record.status == 201]
    failed_at = [record.ended_at for record in records if record.status == 503]
    assert hung_at < failed_at[0]
    # It recovers: every client is served again, and hardly any new request fails.
    afterwards = [record for record in records if record.began_at > over_at]
    assert {record.name.rpartition("-")[0] for record in afterwards if record.status == 201} == {
        reader.subject for reader in readers
    }
    assert len([each for each in afterwards if each.status == 503]) < len(afterwards) / 10
    # Only the log shows the requests of those that read no response.
    lists = f"GET /api/{{user_id}}/tasks 200 [0-9.]+ ms user={long_list.id} "
    assert len(re.findall(lists, server.log.read_text())) >= len(others)
    # Nothing in the event loop waited for the database.
    assert max(health) < (HUNG[1] - HUNG[0]) / 4, sorted(health)[-10:]
    titles = [title for (title,) in execute(url, "SELECT title FROM tasks WHERE title ~ '^client'")]
    assert len(titles) == len(set(titles))
    assert {record.name for record in created} <= set(titles)
