"""Tests of connections when the process is to end; `tests/security` has those of slow senders."""

import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.http_protocol import LimitedHttpProtocol
from tests.support.keyserver import KeyServer
from tests.support.process import variables
from tests.support.replicas import Replica, replicas
from tests.support.wire import HEALTH


@pytest.fixture
def replica(tmp_path: Path, database_url: str, key_server: KeyServer) -> Iterator[Replica]:
    """Run the service as the README's production command does; each test ends it."""
    with replicas(tmp_path, variables(database_url, key_server.url), 1) as (only,):
        only.start()
        only.await_ready()
        yield only


def connect(replica: Replica) -> socket.socket:
    return socket.create_connection(("127.0.0.1", replica.port), 30)


def ask(peer: socket.socket) -> bytes:
    """Send a request and read its answer, and no further."""
    peer.sendall(HEALTH)
    answer = b""
    while not answer.endswith(b"}"):
        part = peer.recv(65_536)
        assert part
        answer += part
    return answer


def read_to_the_end(peer: socket.socket) -> bytes:
    answer = b""
    while part := peer.recv(65_536):
        answer += part
    return answer


def await_refusal(replica: Replica) -> None:
    """Wait until nobody listens any more."""
    deadline = time.monotonic() + 20
    while True:
        try:
            connect(replica).close()
        except ConnectionRefusedError:
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_request_that_meets_sigterm_on_an_idle_connection_is_answered_as_its_last(
    replica: Replica,
) -> None:
    with connect(replica) as used, connect(replica) as new, ThreadPoolExecutor(1) as threads:
        answer = ask(used)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" not in answer
        ending = threads.submit(replica.end)
        await_refusal(replica)
        for peer in (used, new):
            peer.sendall(HEALTH)
            answer = read_to_the_end(peer)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer
        assert ending.result() in (0, -signal.SIGTERM)


def test_idle_connections_do_not_keep_the_process_from_ending(replica: Replica) -> None:
    with ExitStack() as opened:
        new, half, used = (opened.enter_context(connect(replica)) for _ in range(3))
        half.sendall(HEALTH[:20])
        ask(used)
        began = time.monotonic()
        assert replica.end() in (0, -signal.SIGTERM)
        seconds = time.monotonic() - began
        assert LimitedHttpProtocol.linger_seconds - 1 < seconds < LimitedHttpProtocol.header_seconds
        for peer in (new, half, used):
            assert read_to_the_end(peer) == b""
