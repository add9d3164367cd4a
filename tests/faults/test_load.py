"""200 clients on the default settings while the database hangs for a part of the time."""

import asyncio
import json
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import make_url

from tests.faults.conftest import OwnPostgres
from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.process import production_options, running_server, variables
from tests.support.service import Person
from tests.support.tokens import SigningKey
from tests.support.wire import HEALTH, connect, request

READERS, OTHERS = 180, 20
HUNG_SECONDS = 12
"""For longer than a statement may take."""


class Record(NamedTuple):
    """One request: its kind or the title of the task that it makes, and its response."""

    name: str
    began_at: float
    seconds: float
    status: int


async def ask(
    url: httpx.URL, user: str, token: str, over: asyncio.Event, records: list[Record]
) -> None:
    """Make tasks, read them and list them, on one connection; without a token, ask for /health.

    When the database hangs no more, go on until that has succeeded a few times.
    """
    reader, writer = await asyncio.open_connection(url.host, url.port)
    task, number, served = "", 0, 0
    while served < 5:
        number += 1
        if not token:
            name, asked = "health", HEALTH
        elif task or number % 10 == 0:
            name, asked = "read", request(user, token, "GET", task)
        else:
            name = f"{user}-{number}"
            asked = request(user, token, "POST", body={"title": name})
        began_at = time.monotonic()
        writer.write(asked)
        async with asyncio.timeout(40):
            headers = await reader.readuntil(b"\r\n\r\n")
            length = headers.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length))
        status = int(headers.split(b" ", 2)[1])
        records.append(Record(name, began_at, time.monotonic() - began_at, status))
        task = str(json.loads(body)["id"]) if status == 201 else ""
        served += over.is_set() and status == (201 if token else 200)
        # After a 503, for less long than it is asked to.
        await asyncio.sleep(0.5 if status == 503 else 0.1)
    writer.close()


async def never_read(url: httpx.URL, asked: bytes, over: asyncio.Event) -> None:
    """Ask for long lists for as long as there is room to, and read nothing."""
    with connect(url, is_small=True) as peer:
        peer.setblocking(False)
        while not over.is_set():
            with suppress(BlockingIOError):
                peer.send(asked)
            await asyncio.sleep(0.2)


@pytest.mark.serial
def test_a_database_that_hangs_under_200_clients_is_503_and_over_when_it_answers_again(
    tmp_path: Path, own_postgres: OwnPostgres, key_server: KeyServer, key: SigningKey
) -> None:
    name = f"load_{uuid4().hex}"
    execute(own_postgres.url, f"CREATE DATABASE {name}")
    url = make_url(own_postgres.url).set(database=name).render_as_string(hide_password=False)
    subjects = [f"client-{number}" for number in range(READERS)]
    records: list[Record] = []
    health: list[Record] = []

    async def load(address: httpx.URL, long_list: Person) -> tuple[float, float]:
        over = asyncio.Event()
        lists = request(long_list.id, long_list.token, "GET")
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(ask(address, "", "", over, health))
            for each in subjects:
                token = key.token(sub=each, email=f"{each}@example.com")
                group.create_task(ask(address, each, token, over, records))
            for _ in range(OTHERS):
                group.create_task(never_read(address, lists, over))
            await asyncio.sleep(3)
            own_postgres.hang()
            hung_at = time.monotonic()
            await asyncio.sleep(HUNG_SECONDS)
            own_postgres.go_on()
            over.set()
            return hung_at, time.monotonic()

    with running_server(tmp_path, variables(url, key_server.url), *production_options()) as server:
        long_list = Person(server.client, key)
        for _ in range(50):
            long_list.create(description="y" * 9_000)
        hung_at, over_at = asyncio.run(load(httpx.URL(server.url), long_list))
    assert {record.status for record in records} == {200, 201, 503}
    assert all(each.began_at + each.seconds > hung_at for each in records if each.status == 503)
    # Every client has been served again, and most new requests have not failed.
    afterwards = [record for record in records if record.began_at > over_at]
    assert len([each for each in afterwards if each.status == 503]) < len(afterwards) / 2
    # Only the log shows the requests of those that read no response.
    lists = f"GET /api/{{user_id}}/tasks 200 [0-9.]+ ms user={long_list.id} "
    assert re.search(lists, server.log.read_text())
    # Nothing in the event loop waited for the database.
    assert {record.status for record in health} == {200}
    assert max(record.seconds for record in health) < HUNG_SECONDS / 4
    titles = [title for (title,) in execute(url, "SELECT title FROM tasks WHERE title ~ '^client'")]
    assert len(titles) == len(set(titles))
    assert {record.name for record in records if record.status == 201} <= set(titles)
