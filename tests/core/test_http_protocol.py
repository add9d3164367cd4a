"""Tests of the HTTP protocol: slow and endless clients, pipelining, upgrades and shutdown.

uvicorn's own protocols keep most of these connections for ever, and 100 MB of a header.
"""

import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from core.http_protocol import MAX_HEADERS_SIZE, MIN_READING_RATE, LimitedHttpProtocol
from core.middleware import BODY_SECONDS
from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem
from tests.support.process import Server, production_options, running_server, variables
from tests.support.rows import insert_tasks
from tests.support.service import ORIGIN, Person, make_settings, running_service
from tests.support.tokens import SigningKey
from tests.support.wire import HEALTH, connect, read_response, read_to_the_end, request

GRACE_SECONDS = 8
"""How much later than it should a connection may end, on a busy machine."""
LAST = HEALTH.replace(b"Host", b"Connection: close\r\nHost")


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, key_server: KeyServer
) -> Iterator[Server]:
    """Run the service by the documented production command."""
    folder = tmp_path_factory.mktemp("production")
    environment = variables(database_url, key_server.url)
    with running_server(folder, environment, *production_options()) as server:
        yield server


@pytest.fixture
def client(server: Server) -> httpx.Client:
    return server.client


def head(person: Person, method: str, *lines: str) -> bytes:
    """Return the headers of a request about a person's tasks, with more lines."""
    more = (f"Origin: {ORIGIN}", "Content-Type: application/json", *lines, "", "")
    start = request(person.id, person.token, method).removesuffix(b"\r\n")
    return start + "\r\n".join(more).encode()


def send(server: Server, *segments: bytes) -> list[httpx.Response]:
    """Send segments one after another, and return the responses up to the connection's end."""
    responses = []
    with connect(server.url) as peer, peer.makefile("rb") as stream:
        for segment in segments:
            peer.sendall(segment)
            time.sleep(0.1)
        with suppress(EOFError, ConnectionResetError):
            while True:
                status, headers, body = read_response(stream)
                responses.append(httpx.Response(status, headers=headers, content=body))
    return responses


def statuses(server: Server, *segments: bytes) -> list[int]:
    return [each.status_code for each in send(server, *segments)]


# Slow senders


def drip(server: Server, start: bytes, piece: bytes) -> tuple[float, bytes]:
    """Send a start, then a piece a second; return when the connection ended, and all that came."""
    began = time.monotonic()
    received = b""
    limit = began + LimitedHttpProtocol.header_seconds + GRACE_SECONDS
    with connect(server.url) as peer, suppress(ConnectionError):
        peer.sendall(start)
        peer.settimeout(1)
        while True:
            assert time.monotonic() < limit, (start[:200], received)
            try:
                part = peer.recv(65_536)
            except TimeoutError:
                peer.sendall(piece)
            else:
                if not part:
                    break
                received += part
    return time.monotonic() - began, received


@pytest.mark.slow
def test_a_slow_or_silent_sender_is_disconnected_and_others_are_served_meanwhile(
    server: Server, client: httpx.Client, alice: Person
) -> None:
    unfinished = HEALTH.removesuffix(b"\r\n")
    unwanted = unfinished + b"Content-Length: 10000\r\n\r\n"
    post = head(alice, "POST", "Content-Length: 10000")
    chunked = head(alice, "POST", "Transfer-Encoding: chunked")
    over = head(alice, "POST", "Content-Length: 9999999") + b" " * 66_000
    # What is sent at once, what is sent every second, and the status of the response.
    cases = {
        "nothing": (b"", b"", None),
        "half a request line": (b"GET /hea", b"", None),
        "a byte of the path a second": (b"GET /", b"a", None),
        "a byte of a header a second": (unfinished + b"X: ", b"a", None),
        "a header a second": (unfinished, b"X: a\r\n", None),
        "blank lines": (b"", b"\r\n", None),
        "a byte of a body a second": (post, b" ", 400),
        "half a body": (post + b'{"title":', b"", 400),
        "no body": (post, b"", 400),
        "a chunk a second": (chunked, b"1\r\n \r\n", 400),
        "a chunk that never ends": (chunked + b"1000\r\n", b" ", 400),
        "a chunk extension, a byte a second": (chunked + b"5;", b"a", 400),
        "a slow second request": (HEALTH + b"GET /", b"a", 200),
        "blank lines after a response": (HEALTH, b"\r\n", 200),
        "a slow body that is not read": (unwanted, b"a", 200),
        "a slow rest of a body that is too large": (over, b"a", 413),
    }
    with ThreadPoolExecutor(len(cases)) as threads:
        dripping = {
            name: threads.submit(drip, server, start, piece)
            for name, (start, piece, _) in cases.items()
        }
        while not all(each.done() for each in dripping.values()):
            began = time.monotonic()
            assert client.get("/health").status_code == 200
            assert alice.tasks("GET").json() == []
            assert time.monotonic() - began < GRACE_SECONDS
            time.sleep(0.2)
    for name, future in dripping.items():
        seconds, received = future.result()
        status = cases[name][2]
        assert received[:13] == (b"HTTP/1.1 %d " % status if status else b""), name
        assert seconds > 4, name
        if status == 400:
            assert f"longer than {BODY_SECONDS} seconds to arrive".encode() in received, name
            assert b"content-type: application/problem+json" in received
            assert ORIGIN.encode() in received
            assert b"connection: close" in received.lower()
    assert alice.tasks("GET").json() == []


CHUNKED = (
    b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
)
FLOODS = {
    "one header": (HEALTH[:-2] + b"X: ", b"a" * 50_000),
    "many headers": (HEALTH[:-2], b"X: aaaaaaaaaa\r\n" * 4000),
    "a header's name": (HEALTH[:-2], b"X" * 50_000),
    "the path": (b"GET /", b"a" * 50_000),
    "the method": (b"", b"G" * 50_000),
    "blank lines": (b"", b"\r\n" * 25_000),
    "a second request": (HEALTH + b"GET /", b"a" * 50_000),
    "a trailer": (CHUNKED + b"X: ", b"a" * 50_000),
    "trailers": (CHUNKED, b"X: aaaaaaaaaa\r\n" * 4000),
}


@pytest.mark.slow
@pytest.mark.parametrize(("start", "more"), FLOODS.values(), ids=FLOODS)
def test_five_megabytes_of_headers_end_in_an_error(
    server: Server, client: httpx.Client, start: bytes, more: bytes
) -> None:
    began = time.monotonic()
    # What waits in the sockets' buffers counts as sent; the response may be lost with the rest.
    statuses = [b"400"]
    with connect(server.url) as peer, suppress(OSError):
        peer.sendall(start)
        for _ in range(5_000_000 // len(more)):
            peer.sendall(more)
        received = read_to_the_end(peer)
        statuses = re.findall(rb"^HTTP/1.1 (\d+) ", received, re.MULTILINE)
    assert statuses[-1] == b"400"
    assert time.monotonic() - began < GRACE_SECONDS
    assert client.get("/health").status_code == 200


def test_headers_have_64_kib_and_what_is_no_http_is_a_problem_document(
    server: Server, alice: Person
) -> None:
    padding = "a" * (MAX_HEADERS_SIZE - 2000)
    assert alice.tasks("GET", headers={"X-Padding": padding}).status_code == 200
    too_long = b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (MAX_HEADERS_SIZE + 1)
    for start in (too_long, b"not HTTP\r\n\r\n", b"GET / HTTP/1.1\r\na b: c\r\n\r\n"):
        (refused,) = send(server, start)
        assert_problem(refused, 400)
        assert refused.headers["Cache-Control"] == "no-store"
        assert refused.headers["Connection"] == "close"
        assert "Server" not in refused.headers


@pytest.mark.serial
def test_pipelined_requests_whose_responses_are_not_read_cost_little_memory_and_delay_others_little(
    server: Server, client: httpx.Client
) -> None:
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    with ExitStack() as opened:
        peers = [opened.enter_context(connect(server.url)) for _ in range(60)]
        for peer in peers:
            peer.setblocking(False)
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            for peer in peers:
                with suppress(OSError):
                    peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000)
            assert client.get("/health").elapsed.total_seconds() < GRACE_SECONDS
    assert process.memory_info().rss - before < 100_000_000


# Slow readers


class ImpatientProtocol(LimitedHttpProtocol):
    """Production's protocol with a shorter time."""

    reading_seconds = 3


def take(url: httpx.URL, sent: bytes, rate: float) -> int:
    """Read at a rate for three times the limit, then what is left; return how much came."""
    with connect(url, is_small=True) as peer, suppress(ConnectionResetError):
        peer.sendall(sent)
        taken = 0
        began = time.monotonic()
        while (seconds := time.monotonic() - began) < 3 * ImpatientProtocol.reading_seconds:
            if (due := int(seconds * rate) - taken) > 0:
                taken += len(peer.recv(due))
            time.sleep(0.02)
        while taken < 2_000_000 and (part := peer.recv(65_536)):
            taken += len(part)
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_takes_less_than_4_kib_a_second_is_disconnected_and_no_other(
    database_url: str, key_server: KeyServer, key: SigningKey, loop: str
) -> None:
    settings = make_settings(database_url, key_server.url)
    with (
        running_service(settings, http=ImpatientProtocol, loop=loop) as client,
        ThreadPoolExecutor() as threads,
    ):
        alice = Person(client, key)
        insert_tasks(database_url, alice.id, 1500, description=9_000)
        streamed = request(alice.id, alice.token, "GET")
        page = streamed.replace(b" HTTP", b"?limit=100 HTTP")
        last = page.replace(b"Host", b"Connection: close\r\nHost")
        taken = {
            (sent, rate): threads.submit(take, client.base_url, sent, rate * MIN_READING_RATE)
            for sent in (streamed, page, last, page * 100)
            for rate in (0, 0.5, 2)
        }
        for (sent, rate), future in taken.items():
            assert (future.result() > 800_000) is (rate > 1), (sent, rate)


# Requests


def test_a_connection_that_behaves_is_kept_and_used_again(server: Server, alice: Person) -> None:
    get = request(alice.id, alice.token, "GET")
    post = request(alice.id, alice.token, "POST", body={"title": "in two segments"})
    refused = head(alice, "POST", "Content-Length: 500000") + b" " * 500_000
    with connect(server.url) as peer, peer.makefile("rb") as responses:
        for _ in range(5):
            peer.sendall(get)
            assert read_response(responses)[::2] == (200, b"[]")
        peer.sendall(post[:-10])
        time.sleep(0.2)
        peer.sendall(post[-10:])
        assert read_response(responses)[0] == 201
        # Two at once.
        peer.sendall(get + get)
        assert [b"in two segments" in read_response(responses)[2] for _ in range(2)] == [True] * 2
        # The rest of a body that is refused is read, and the connection kept.
        peer.sendall(refused)
        assert read_response(responses)[0] == 413
        peer.sendall(get)
        assert read_response(responses)[0] == 200


def test_trailers_are_not_headers(server: Server, alice: Person) -> None:
    post = head(alice, "POST", "Connection: close", "Transfer-Encoding: chunked")
    anonymous = post.replace(b"Authorization", b"X-Authorization")
    trailers = f"Authorization: Bearer {alice.token}\r\n\r\n".encode()
    body = b'd\r\n{"title":"a"}\r\n0\r\n' + trailers
    # A second Authorization header would be 401, the only one 201.
    assert statuses(server, post + body) == [201]
    assert statuses(server, anonymous + body) == [401]
    assert len(alice.tasks("GET").json()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("before", [b"", HEALTH], ids=["first", "pipelined"])
def test_a_request_for_an_upgrade_is_handled_as_if_it_had_not_asked(
    server: Server, alice: Person, protocol: str, before: bytes
) -> None:
    """Its body is its own, also in a segment of its own, and is never taken for a request."""
    smuggled = request(alice.id, alice.token, "POST", body={"title": "smuggled"})
    for method, content, status in (
        ("GET", b'{"title": "mine"}', 200),
        ("POST", b'{"title": "mine"}', 201),
        ("GET", smuggled, 200),
        ("POST", smuggled, 400),
    ):
        length = f"Content-Length: {len(content)}"
        upgrade = ("Connection: keep-alive, Upgrade", f"Upgrade: {protocol}")
        asked = before + head(alice, method, length, *upgrade)
        for segments in ([asked, content + LAST], [asked + content, LAST]):
            expected = [200] * bool(before) + [status, 200]
            assert statuses(server, *segments) == expected, (method, segments)
    assert {task["title"] for task in alice.tasks("GET").json()} == {"mine"}


def test_what_is_no_http_is_refused_behind_the_responses_before_it_and_nothing_after_it_is_run(
    server: Server, alice: Person
) -> None:
    """Otherwise a client would take the refusal for the response to a POST that was carried out."""
    post = request(alice.id, alice.token, "POST", body={"title": "a"})
    targets = ("example.com:443", "/health", httpx.URL(server.url).netloc.decode())
    connecting = [f"CONNECT {each} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for each in targets]
    for refused in (b"nonsense\r\n\r\n", *connecting):
        for number in (0, 1, 3):
            sent = post * number + refused + post
            assert statuses(server, sent) == [201] * number + [400]
    assert len(alice.tasks("GET").json()) == 16


def test_a_response_to_http_1_0_is_not_chunked_and_ends_with_the_connection(
    server: Server, alice: Person, database_url: str
) -> None:
    insert_tasks(database_url, alice.id, 1500)
    for path, count in (("", 1500), ("?limit=1", 1)):
        asked = request(alice.id, alice.token, "GET").replace(b" HTTP/1.1", b"%s HTTP/1.0")
        with connect(server.url) as peer:
            peer.sendall(asked % path.encode())
            headers, _, body = read_to_the_end(peer).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in headers.lower()
        assert b"connection: close" in headers.lower()
        assert len(httpx.Response(200, content=body).json()) == count


@pytest.mark.slow
def test_at_sigterm_an_idle_connection_has_one_more_request_and_does_not_delay_the_end(
    tmp_path: Path, database_url: str, key_server: KeyServer
) -> None:
    with ExitStack() as opened:
        environment = variables(database_url, key_server.url)
        server = opened.enter_context(running_server(tmp_path, environment, *production_options()))
        peers = [opened.enter_context(connect(server.url)) for _ in range(5)]
        new, used, *silent = peers
        for peer in (used, silent[0]):
            peer.sendall(HEALTH)
            status, headers, _ = read_response(opened.enter_context(peer.makefile("rb")))
            assert (status, headers.get("connection")) == (200, None)
        silent[1].sendall(HEALTH[:20])
        began = time.monotonic()
        server.process.terminate()
        with suppress(ConnectionRefusedError):
            for _ in range(1_000):
                connect(server.url).close()
                time.sleep(0.01)
        for peer in (used, new):
            peer.sendall(HEALTH)
            received = read_to_the_end(peer)
            assert received.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in received
        assert server.process.wait(30) in (0, -signal.SIGTERM)
        seconds = time.monotonic() - began
        assert LimitedHttpProtocol.linger_seconds - 1 < seconds < LimitedHttpProtocol.header_seconds
        assert [read_to_the_end(peer) for peer in silent] == [b""] * 3
