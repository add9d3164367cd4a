"""Tests of the delaying proxy."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.proxy import delaying_proxy


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65_536):
            self.request.sendall(data)


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "echo"
    with socketserver.ThreadingUnixStreamServer(str(path), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def test_data_arrives_complete_and_delayed(echo: Path) -> None:
    sent = bytes(range(256)) * 1000
    with (
        delaying_proxy(echo, 0.03) as port,
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        started_at = time.monotonic()
        connection.sendall(sent)
        received = connection.recv(65_536)
        assert time.monotonic() - started_at >= 0.06
        while len(received) < len(sent):
            received += connection.recv(65_536)
        assert received == sent


def test_the_end_of_a_stream_is_forwarded(echo: Path) -> None:
    with (
        delaying_proxy(echo, 0.001) as port,
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
