"""Faults between the service and PostgreSQL while it retries, streams, or loses its client."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from core.middleware import BODY_SECONDS
from routers.base import MAX_STREAMS
from tests.support.database import Activity, wait_until
from tests.support.keyserver import KeyServer
from tests.support.pgbouncer import running_pgbouncer
from tests.support.process import Server, production_options, running_server, variables
from tests.support.proxy import PostgresProxy
from tests.support.rows import insert_tasks
from tests.support.service import Person, at_once, make_settings, running_service
from tests.support.tokens import SigningKey
from tests.support.wire import connect, read_to_the_end, request

pytestmark = pytest.mark.slow

POOL_SIZE = 10
LONG_LIST = 5_000


@pytest.fixture(params=["direct", "pooled"])
def client(
    request: pytest.FixtureRequest, proxy: PostgresProxy, tmp_path: Path, key_server: KeyServer
) -> Iterator[httpx.Client]:
    """Run a service whose connections to PostgreSQL, or PgBouncer's, can be cut."""
    with ExitStack() as stack:
        url = proxy.url
        if request.param == "pooled":
            url, _ = stack.enter_context(running_pgbouncer(url, tmp_path))
        yield stack.enter_context(running_service(make_settings(url, key_server.url)))


def swallow_once(
    proxy: PostgresProxy, text: str, call: Callable[[], httpx.Response]
) -> httpx.Response:
    """Lose PostgreSQL's response to the first statement that has this text."""
    proxy.swallow, proxy.swallows_once = text, True
    try:
        return call()
    finally:
        assert proxy.swallow is None, "it never came"
        proxy.swallows_once = False


def test_a_create_with_a_key_whose_acknowledgement_is_lost_is_repeated_and_makes_one_task(
    proxy: PostgresProxy, client: httpx.Client, key: SigningKey
) -> None:
    alice = Person(client, key)
    once = {"json": {"title": "once"}, "headers": {"Idempotency-Key": uuid4().hex}}
    created = swallow_once(proxy, "INSERT INTO tasks", lambda: alice.tasks("POST", **once))
    assert created.status_code == 201
    assert sum("INSERT INTO tasks" in each for each in proxy.statements) == 2
    assert alice.tasks("GET").json() == [created.json()]


def test_reads_of_accounts_whose_connection_breaks_are_repeated_once(
    proxy: PostgresProxy, client: httpx.Client, key: SigningKey
) -> None:
    alice = Person(client, key)
    me = swallow_once(proxy, "FROM users", lambda: alice.call("GET", "/api/auth/me"))
    assert me.json()["id"] == alice.id
    export = swallow_once(proxy, "FROM tasks", lambda: alice.call("GET", "/api/auth/me/export"))
    assert export.json()["account"]["id"] == alice.id
    proxy.swallow = "FROM users"
    assert alice.call("GET", "/api/auth/me").status_code == 503
    proxy.swallow = None
    assert alice.call("DELETE", "/api/auth/me").status_code == 204


# Long lists


@pytest.fixture
def server(tmp_path: Path, proxy: PostgresProxy, key_server: KeyServer) -> Iterator[Server]:
    """Run the service as in production, with a database that can be cut off."""
    environment = variables(proxy.url, key_server.url)
    with running_server(tmp_path, environment, *production_options()) as server:
        yield server


@pytest.fixture
def reader(server: Server, key: SigningKey, database_url: str) -> Person:
    """Sign in a user whose list has several pages."""
    person = Person(server.client, key)
    insert_tasks(database_url, person.id, LONG_LIST, description=1000)
    return person


def pages(proxy: PostgresProxy) -> int:
    """Return how many pages of a list have been asked for."""
    return sum("string_agg" in each for each in proxy.statements)


def begin_list(reader: Person, version: bytes = b"1.1") -> socket.socket:
    """Ask for a list on a connection that takes little of it."""
    peer = connect(reader.client.base_url, is_small=True)
    peer.sendall(request(reader.id, reader.token, "GET").replace(b"/1.1", b"/" + version))
    assert peer.recv(12) == b"HTTP/1.1 200"
    return peer


def test_a_list_whose_next_page_cannot_be_read_is_cut_and_logged_in_one_line(
    server: Server, reader: Person, proxy: PostgresProxy
) -> None:
    """The last chunk is missing (RFC 9112 §8); an HTTP/1.0 client sees a reset."""
    for version in (b"1.0", b"1.1"):
        received = b""
        reset = pytest.raises if version == b"1.0" else suppress
        with begin_list(reader, version) as peer, reset(ConnectionResetError):
            proxy.swallow = "string_agg"
            while part := peer.recv(1_000_000):
                received += part
        proxy.swallow = None
        assert received.count(b'"title"') < LONG_LIST
        assert not received.endswith(b"0\r\n\r\n")
    assert len(reader.tasks("GET").json()) == LONG_LIST
    log = server.log.read_text()
    assert log.count("ERROR") == log.count("response cut off") == 2
    assert "Traceback" not in log


def test_a_list_whose_next_page_gets_no_connection_is_cut_and_logged_in_one_line(
    server: Server, reader: Person, key: SigningKey, database_url: str
) -> None:
    others = [Person(server.client, key) for _ in range(POOL_SIZE)]
    with (
        ThreadPoolExecutor(POOL_SIZE) as threads,
        closing(Activity(database_url)) as activity,
        begin_list(reader) as peer,
        activity.locking("LOCK TABLE tasks"),
    ):
        for each in others:
            threads.submit(each.create)
        activity.await_waiting(POOL_SIZE)
        assert not read_to_the_end(peer).endswith(b"0\r\n\r\n")
    # It is written in the background.
    wait_until(lambda: "response cut off" in server.log.read_text())
    log = server.log.read_text()
    assert log.count("ERROR") == log.count("response cut off") == 1
    assert "Traceback" not in log


def test_a_list_goes_on_whatever_body_its_request_has(server: Server, reader: Person) -> None:
    chunked = b"Transfer-Encoding: chunked\r\nHost"
    with connect(server.url) as peer:
        peer.sendall(request(reader.id, reader.token, "GET").replace(b"Host", chunked))
        assert peer.recv(12)
        peer.sendall(b"%x\r\n" % 100_000 + b"x" * 100_000)
        # The rest of the body does not come in time either.
        time.sleep(BODY_SECONDS + 1)
        assert read_to_the_end(peer).endswith(b"0\r\n\r\n")
    assert "ERROR" not in server.log.read_text()


def test_head_of_a_stream_reads_one_page_and_has_the_headers_of_get(
    server: Server, reader: Person, proxy: PostgresProxy
) -> None:
    for path in ("/api/me/tasks", "/api/auth/me/export"):
        asked = pages(proxy)
        head = reader.call("HEAD", path)
        # What would still be read.
        time.sleep(0.5)
        # Of a long list, the first page may take two statements.
        assert pages(proxy) <= asked + 2
        get = reader.call("GET", path)
        assert (head.content, get.text.count('"title"')) == (b"", LONG_LIST)
        for name in ("transfer-encoding", "x-request-id", "date"):
            for response in (head, get):
                response.headers.pop(name, None)
        assert (head.status_code, head.headers) == (200, get.headers)
    assert "ERROR" not in server.log.read_text()


def test_a_list_whose_connections_break_between_its_pages_goes_on(
    reader: Person, proxy: PostgresProxy
) -> None:
    with begin_list(reader) as peer:
        proxy.cut()
        # A chunk may end within a title.
        received = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", read_to_the_end(peer))
    assert received.count(b'"title"') == LONG_LIST


def test_lists_that_are_not_read_or_whose_clients_go_away_hold_no_connection(
    server: Server, reader: Person, proxy: PostgresProxy
) -> None:
    with ExitStack() as opened:
        for _ in range(MAX_STREAMS - 1):
            opened.enter_context(begin_list(reader))
        asked = pages(proxy)
        began = time.monotonic()
        assert reader.call("GET", "/api/auth/me").status_code == 200
        assert reader.tasks("GET", params={"limit": 1}).status_code == 200
        assert time.monotonic() - began < 2
        # None of them has come to its end.
        assert asked < (MAX_STREAMS - 1) * LONG_LIST / 1000
    time.sleep(0.5)
    asked = pages(proxy)
    time.sleep(0.5)
    assert pages(proxy) == asked
    assert len(reader.tasks("GET").json()) == LONG_LIST
    assert "Traceback" not in server.log.read_text()


def test_many_reads_whose_clients_go_away_leave_nothing_behind(
    server: Server, reader: Person, database_url: str
) -> None:
    """Their statements are cancelled; descriptors, threads and connections stay as many."""
    process = psutil.Process(server.process.pid)

    def use_all() -> tuple[int, int]:
        responses = at_once(3 * POOL_SIZE, lambda _: reader.tasks("GET", params={"limit": 1}))
        assert {each.status_code for each in responses} == {200}
        return process.num_fds(), process.num_threads()

    with closing(Activity(database_url)) as activity:

        def leave(rounds: int) -> None:
            for _ in range(rounds):
                with activity.locking("LOCK TABLE tasks"), ExitStack() as opened:
                    for _ in range(3 * POOL_SIZE):
                        peer = opened.enter_context(connect(server.url))
                        peer.sendall(request(reader.id, reader.token, "GET"))
                    activity.await_waiting(max(1, POOL_SIZE // 3))
                    opened.close()
                    # While the lock is still held.
                    activity.await_waiting(0)

        leave(2)
        before = use_all()
        leave(20)
        # One that was given up may take a moment to end.
        wait_until(lambda: len(activity.backends()) <= POOL_SIZE)
        descriptors, threads = use_all()
    assert descriptors <= before[0] + POOL_SIZE
    assert threads <= before[1] + POOL_SIZE
