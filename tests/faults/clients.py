"""Many clients at once, in a process of their own: `python -m tests.faults.clients`.

Reads what they are to do as JSON from standard input, and writes what they saw of it.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import NamedTuple

import httpx

from tests.support.process import ROOT
from tests.support.wire import request

PAUSE_SECONDS = 0.5
"""How long a client pauses after a 503: less than it is asked to."""
PATIENCE_SECONDS = 40


class User(NamedTuple):
    """Who asks: the `sub` of a token, and the token."""

    subject: str
    token: str


class Record(NamedTuple):
    """One request: its kind or the title of the task it makes, and what became of it."""

    name: str
    began_at: float
    ended_at: float
    status: int
    """0 without a whole response."""


def start(
    url: str, readers: list[User], others: list[User], seconds: float
) -> subprocess.Popen[str]:
    """Start clients, one a user; the others never read their responses."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    json.dump([url, readers, others, seconds], process.stdin)
    process.stdin.close()
    return process


def await_end(process: subprocess.Popen[str]) -> str:
    """Wait until the clients have ended, and return their output for `results`."""
    assert process.stdout is not None
    return process.stdout.read()


def results(output: str) -> list[Record]:
    """Return what clients saw, in the order of the responses."""
    records = [Record(*each) for each in json.loads(output)]
    return sorted(records, key=lambda record: record.ended_at)


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one response; 0 where the connection ends before it does, or nothing comes."""
    with suppress(asyncio.IncompleteReadError, OSError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            return int(head.split(b" ", 2)[1]), await reader.readexactly(int(length))
    return 0, b""


async def use(url: httpx.URL, user: User, until: float, records: list[Record]) -> None:
    """Make tasks, read them and list them, one request after the other, on one connection."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    number = 0
    task = ""
    while time.monotonic() < until:
        number += 1
        if number % 10 == 0:
            name, asked = "list", request(*user, "GET")
        elif task:
            name, asked = "read", request(*user, "GET", task)
        else:
            name = f"{user.subject}-{number}"
            asked = request(*user, "POST", body={"title": name})
        began_at = time.monotonic()
        writer.write(asked)
        status, body = await read_response(reader)
        records.append(Record(name, began_at, time.monotonic(), status))
        if status == 0:
            break
        if status == 503:
            await asyncio.sleep(PAUSE_SECONDS)
        task = str(json.loads(body)["id"]) if status == 201 else ""
    writer.close()


async def never_read(url: httpx.URL, user: User, until: float) -> None:
    """Ask for long lists for as long as there is room to, and read nothing."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect((url.host, url.port or 80))
        peer.setblocking(False)
        while time.monotonic() < until:
            with suppress(BlockingIOError):
                peer.send(request(*user, "GET"))
            await asyncio.sleep(0.2)


async def work(url: str, readers: list[User], others: list[User], seconds: float) -> list[Record]:
    """Be all the clients, for so many seconds."""
    records: list[Record] = []
    until = time.monotonic() + seconds
    address = httpx.URL(url)
    async with asyncio.TaskGroup() as group:
        for user in readers:
            group.create_task(use(address, user, until, records))
        for user in others:
            group.create_task(never_read(address, user, until))
    return records


if __name__ == "__main__":
    # The service comes first: it is what is measured.
    os.nice(10)
    url, readers, others, seconds = json.load(sys.stdin)
    done = asyncio.run(
        work(url, [User(*each) for each in readers], [User(*each) for each in others], seconds)
    )
    json.dump(done, sys.stdout)
