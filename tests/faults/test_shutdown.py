"""SIGTERM under load, on the process that the documented production command starts."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path

import pytest

from tests.support.database import Activity, execute
from tests.support.keyserver import KeyServer
from tests.support.process import Server, production_options, running_server, variables
from tests.support.service import Person
from tests.support.tokens import SigningKey
from tests.support.wire import connect, read_response, request

ENDED = (0, -signal.SIGTERM)
"""Exit statuses; uvicorn raises the signal again, which a shell reports as 143."""
CLIENTS = 20


def write_until_closed(server: Server, person: Person, running: threading.Barrier) -> int:
    """Write on one connection without a pause, and return how many tasks were created.

    The connection may end only after a response with `Connection: close`.
    """
    asked = request(person.id, person.token, "POST", body={"title": "a task"})
    with connect(server.url) as peer, peer.makefile("rb") as responses:
        for number in count(1):
            peer.sendall(asked)
            status, headers, _ = read_response(responses)
            assert status == 201
            if number == 1:
                running.wait(20)
            if headers.get("connection") == "close":
                break
        assert responses.read() == b""
    return number


@pytest.mark.serial
def test_requests_in_flight_finish_and_the_process_ends(
    tmp_path: Path, database_url: str, key_server: KeyServer, key: SigningKey
) -> None:
    running = threading.Barrier(CLIENTS + 1)
    environment = variables(database_url, key_server.url)
    with (
        running_server(tmp_path, environment, *production_options()) as server,
        ThreadPoolExecutor(2 * CLIENTS) as threads,
    ):
        alice, bob = Person(server.client, key), Person(server.client, key)
        task = alice.create()["id"]
        with (
            closing(Activity(database_url)) as activity,
            activity.locking("SELECT FROM tasks FOR UPDATE"),
        ):
            waiting = [
                threads.submit(alice.tasks, "PATCH", task, json={"title": "late"}) for _ in range(5)
            ]
            writing = [
                threads.submit(write_until_closed, server, bob, running) for _ in range(CLIENTS)
            ]
            running.wait(20)
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            created = sum(each.result() for each in writing)
            assert not any(each.done() for each in waiting)
            with pytest.raises(ConnectionRefusedError):
                connect(server.url)
        assert [each.result().status_code for each in waiting] == [200] * 5
        assert {each.result().headers["connection"] for each in waiting} == {"close"}
        # Long before the grace time (30 seconds) ends.
        assert server.process.wait(15) in ENDED
    ((stored,),) = execute(database_url, "SELECT count(*) FROM tasks WHERE user_id = %s", bob.id)
    assert stored == created


@pytest.mark.serial
def test_clients_that_delay_shutdown_are_disconnected_after_the_grace_time(
    tmp_path: Path, database_url: str, key_server: KeyServer, key: SigningKey
) -> None:
    """Clients that do not read, a client that does not finish its request, and a slow statement."""
    options = production_options(timeout_graceful_shutdown="1")
    environment = variables(database_url, key_server.url)
    with running_server(tmp_path, environment, *options) as server:
        alice = Person(server.client, key)
        for _ in range(50):
            task = alice.create(description="y" * 9_000)["id"]
        with closing(Activity(database_url)) as activity, ExitStack() as opened:
            opened.enter_context(activity.locking("SELECT FROM tasks FOR UPDATE"))
            unfinished = request(alice.id, alice.token, "POST", body={"title": "never"})[:-1]
            for sent in (
                *[request(alice.id, alice.token, "GET")] * 5,
                request(alice.id, alice.token, "DELETE", task),
                unfinished,
                unfinished[:50],
            ):
                peer = opened.enter_context(connect(server.url, is_small=True))
                peer.sendall(sent)
            time.sleep(0.3)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) in ENDED
            assert time.monotonic() - began > 0.9
