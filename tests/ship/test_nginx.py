"""Tests of docs/nginx.conf by itself; tests/replicas runs it before the service."""

import re
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.support.nginx import DOCUMENTED, running_nginx

REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def silent_server() -> Iterator[int]:
    """Run a server that reads requests and never responds; yield its port."""
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener, ExitStack() as peers:
        listener.settimeout(0.05)

        def accept() -> None:
            while not stopped.is_set():
                try:
                    peers.enter_context(listener.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopped.set()
            thread.join()


def test_an_address_has_so_many_requests_running_and_others_are_not_affected(
    tmp_path: Path,
) -> None:
    (limit,) = re.findall(r"limit_conn todo_clients (\d+);", DOCUMENTED.read_text())
    refused_count = 20
    with ExitStack() as stack:
        port = stack.enter_context(silent_server())
        address = httpx.URL(stack.enter_context(running_nginx(tmp_path, [port] * 3)))
        at = (address.host, address.port or 80)
        refused = stack.enter_context(selectors.DefaultSelector())
        for _ in range(int(limit) + refused_count):
            peer = stack.enter_context(socket.create_connection(at))
            peer.sendall(REQUEST)
            refused.register(peer, selectors.EVENT_READ)
        for _ in range(refused_count):
            (key, _), *_ = refused.select(10)
            assert isinstance(key.fileobj, socket.socket)
            assert key.fileobj.recv(4096).startswith(b"HTTP/1.1 429 ")
            refused.unregister(key.fileobj)
        assert refused.select(0.2) == []
        other = stack.enter_context(socket.create_connection(at, source_address=("127.0.0.2", 0)))
        other.sendall(REQUEST)
        refused.register(other, selectors.EVENT_READ)
        assert refused.select(0.2) == []
