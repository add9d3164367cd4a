"""Tests of the HTTP protocol: shutdown, pipelining and upgrades.

Slow and endless senders are in `tests/security/test_slow_senders.py`.
"""

import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from core.http_protocol import LimitedHttpProtocol
from tests.support.keyserver import KeyServer
from tests.support.process import production_options, running_process, variables
from tests.support.replicas import Replica, replicas
from tests.support.service import Person
from tests.support.tokens import SigningKey
from tests.support.wire import HEALTH, read_answer, request
from tests.support.wire import connect as connect_to


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


@pytest.mark.slow
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


@pytest.mark.slow
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


# Requests

LAST = HEALTH.replace(b"Host", b"Connection: close\r\nHost")


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, key_server: KeyServer
) -> Iterator[httpx.Client]:
    """Run the service as the README's production command does, for all tests of requests."""
    environment = variables(database_url, key_server.url)
    folder = tmp_path_factory.mktemp("production")
    with running_process(folder, environment, *production_options()) as (client, _):
        yield client


def send(client: httpx.Client, *segments: bytes) -> list[int]:
    """Send segments one after another, and return the statuses up to the connection's end."""
    with connect_to(str(client.base_url)) as peer, peer.makefile("rb") as answers:
        for segment in segments:
            peer.sendall(segment)
            time.sleep(0.1)
        statuses = []
        with suppress(EOFError):
            while True:
                statuses.append(read_answer(answers)[0])
        return statuses


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("is_second", [False, True], ids=["first", "pipelined"])
def test_a_request_for_an_upgrade_is_handled_as_if_it_had_not_asked(
    client: httpx.Client, key: SigningKey, protocol: str, *, is_second: bool
) -> None:
    """Its body is its own, also in a segment of its own, and is never taken for a request."""
    alice = Person(client, key)
    before = HEALTH if is_second else b""
    upgrade = f"Connection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\n".encode()
    smuggled = request(alice.id, alice.token, "POST", body={"title": "smuggled"})
    for method in ("GET", "POST"):
        headers, _, body = request(alice.id, alice.token, method, body={"title": "mine"}).partition(
            b"\r\n\r\n"
        )
        for content in (body, smuggled):
            asked = headers.replace(
                b"Content-Length: %d" % len(body), b"Content-Length: %d" % len(content)
            )
            asked = before + asked + b"\r\n" + upgrade + b"\r\n"
            for segments in ([asked, content + LAST], [asked + content, LAST]):
                statuses = send(client, *segments)
                expected = 200 if method == "GET" else 201 if content is body else 400
                assert statuses == [200] * is_second + [expected, 200], (method, segments)
    assert {task["title"] for task in alice.tasks("GET").json()} == {"mine"}


def test_connect_is_refused_and_nothing_behind_it_is_run(
    client: httpx.Client, key: SigningKey
) -> None:
    alice = Person(client, key)
    hidden = request(alice.id, alice.token, "POST", body={"title": "hidden"})
    for target in ("example.com:443", "/health", f"{client.base_url.host}:{client.base_url.port}"):
        statuses = send(client, f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + hidden)
        assert statuses == [400], target
    assert client.get("/health").elapsed.total_seconds() < 1
    assert alice.tasks("GET").json() == []


def test_what_is_no_http_is_refused_behind_the_responses_of_the_requests_before_it(
    client: httpx.Client, key: SigningKey
) -> None:
    """Otherwise a client would take the refusal for the response to a POST that was carried out."""
    alice = Person(client, key)
    post = request(alice.id, alice.token, "POST", body={"title": "a"})
    for number in (1, 3):
        statuses = send(client, post * number + b"nonsense\r\n\r\n" + post)
        assert statuses == [201] * number + [400]
    assert len(alice.tasks("GET").json()) == 4


def test_a_percent_encoded_slash_is_a_slash(client: httpx.Client, key: SigningKey) -> None:
    """ASGI decodes paths before they are routed: whose tasks they are is checked afterwards."""
    alice, bob = Person(client, key), Person(client, key)
    task = alice.create(title="a")
    for path, status in (
        ("/api/me%2ftasks", 200),
        (f"/api/{alice.id}%2Ftasks%2f{task['id']}", 200),
        (f"/api/{bob.id}%2ftasks", 403),
        (f"/api/me%2f..%2f{bob.id}%2ftasks", 404),
        ("/api/me%252ftasks", 404),
    ):
        start = f"GET {path} HTTP/1.1\r\nConnection: close\r\nHost: x\r\n"
        authorization = f"Authorization: Bearer {alice.token}\r\n\r\n"
        assert send(client, (start + authorization).encode()) == [status], path
