"""Tests of docs/nginx.conf by itself; tests/replicas runs it before the service."""

import re
import selectors
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.keyserver import running_key_server
from tests.support.nginx import DOCUMENTED, running_nginx
from tests.support.wire import HEALTH, connect


def test_an_address_has_so_many_requests_running_and_others_are_not_affected(
    tmp_path: Path,
) -> None:
    (limit,) = re.findall(r"limit_conn todo_clients (\d+);", DOCUMENTED.read_text())
    refused_count = 20
    with ExitStack() as stack:
        server = stack.enter_context(running_key_server())
        server.delay = 60
        upstreams = [httpx.URL(server.url).port or 80] * 3
        url = stack.enter_context(running_nginx(tmp_path, upstreams))
        refused = stack.enter_context(selectors.DefaultSelector())

        for address in ["127.0.0.2"] * (int(limit) + refused_count) + ["127.0.0.3"]:
            peer = stack.enter_context(connect(url, address))
            peer.sendall(HEALTH)
            refused.register(peer, selectors.EVENT_READ, address)
        for _ in range(refused_count):
            (key, _), *_ = refused.select(10)
            assert isinstance(key.fileobj, socket.socket)
            assert key.fileobj.recv(4096).startswith(b"HTTP/1.1 429 ")
            assert key.data == "127.0.0.2"
            refused.unregister(key.fileobj)
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


@pytest.mark.slow
def test_responses_that_are_not_read_take_a_megabyte_of_disk_each_at_most(tmp_path: Path) -> None:
    readers, megabyte = 8, 1024 * 1024
    with running_key_server() as server, ExitStack() as stack:
        server.body = bytes(20 * megabyte)
        upstreams = [httpx.URL(server.url).port or 80] * 3
        url = stack.enter_context(running_nginx(tmp_path, upstreams))
        for _ in range(readers):
            peer = stack.enter_context(connect(url, is_small=True))
            peer.sendall(HEALTH)
        sizes = [0]
        for _ in range(20):
            time.sleep(0.1)
            sizes.append(spooled(tmp_path))
    assert 0 < max(sizes) < 2 * readers * megabyte
