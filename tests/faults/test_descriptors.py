"""Connections to PostgreSQL that are cut while the event loop is busy and clients connect."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.support.keyserver import KeyServer
from tests.support.process import production_options, running_server, variables
from tests.support.proxy import running_proxy
from tests.support.service import Person
from tests.support.tokens import SigningKey
from tests.support.wire import HEALTH, connect

ROUNDS = 15
READERS = 10
BURST = HEALTH * (65_536 // len(HEALTH))


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_descriptor_of_a_dead_connection_is_never_watched_when_a_client_has_it(
    tmp_path: Path, database_url: str, key_server: KeyServer, key: SigningKey, loop: str
) -> None:
    """Libpq closes its descriptor as soon as it finds the connection dead.

    A client that is accepted before the event loop knows gets the same number. The burst of
    pipelined requests makes all of it happen in one iteration of the loop.
    """
    options = [*production_options(), "--loop", loop]
    with (
        running_proxy(database_url) as proxy,
        running_server(tmp_path, variables(proxy.url, key_server.url), *options) as server,
        ThreadPoolExecutor(3 * READERS) as threads,
    ):
        alice = Person(server.client, key)
        done = threading.Event()

        def read_tasks(_: int) -> set[int]:
            statuses = set()
            while not done.is_set():
                statuses.add(alice.tasks("GET").status_code)
            return statuses

        def ask_health(_: int) -> bytes:
            with connect(server.url) as peer:
                peer.sendall(HEALTH)
                return peer.recv(13)

        reading = threads.map(read_tasks, range(READERS))
        for _ in range(ROUNDS):
            time.sleep(0.1)
            with connect(server.url) as burst:
                burst.sendall(BURST)
                proxy.cut()
                assert set(threads.map(ask_health, range(2 * READERS))) == {b"HTTP/1.1 200 "}
        done.set()
        # A read may meet two cuts.
        assert set().union(*reading) <= {200, 503}
        assert alice.tasks("GET").status_code == 200
        process = psutil.Process(server.process.pid)
        process.cpu_percent()
        time.sleep(2)
        assert process.cpu_percent() < 30
        log = server.log.read_text()
    assert "Traceback" not in log
    assert "is used by transport" not in log
