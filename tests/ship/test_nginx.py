"""Tests of docs/nginx.conf by itself; tests/replicas runs it before the service."""

import re
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from tests.support.nginx import DOCUMENTED, running_nginx

REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def running_server(response: bytes = b"") -> Iterator[int]:
    """Run a server that reads requests and sends this to each, or nothing; yield its port."""
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener, ExitStack() as peers:
        listener.settimeout(0.05)

        def respond(peer: socket.socket) -> None:
            with suppress(OSError):
                peer.recv(4096)
                peer.sendall(response)

        def accept() -> None:
            while not stopped.is_set():
                with suppress(TimeoutError):
                    peer = peers.enter_context(listener.accept()[0])
                    if response:
                        threading.Thread(target=respond, args=[peer], daemon=True).start()

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
        port = stack.enter_context(running_server())
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


def spooled(folder: Path) -> int:
    """Return the size of nginx's temporary files, which have no name."""
    return sum(
        descriptor.stat().st_size
        for process in psutil.Process().children(recursive=True)
        if process.name() == "nginx"
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir()
        if str(descriptor.readlink()).startswith(f"{folder}/proxy/")
    )


def test_responses_that_are_not_read_take_a_megabyte_of_disk_each_at_most(tmp_path: Path) -> None:
    readers, megabyte = 8, 1024 * 1024
    body = bytes(20 * megabyte)
    headers = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    with running_server(headers + body) as port, ExitStack() as stack:
        address = httpx.URL(stack.enter_context(running_nginx(tmp_path, [port] * 3)))
        for _ in range(readers):
            peer = stack.enter_context(socket.socket())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect((address.host, address.port or 80))
            peer.sendall(REQUEST)
        sizes = [0]
        for _ in range(20):
            time.sleep(0.1)
            sizes.append(spooled(tmp_path))
    # For the figures: pytest -s.
    print(f"{max(sizes) / 1e6:.1f} MB")  # noqa: T201 - shown with -s
    assert 0 < max(sizes) < 2 * readers * megabyte
