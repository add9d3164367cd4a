"""Senders that are slow or endless, and who does not read: none of them holds a connection.

uvicorn's own protocols hold each of these connections for ever (both), and keep 100 MB of a header
(httptools, which then is busy for most of a minute).
"""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPResponse
from io import BufferedReader

import httpx
import psutil
import pytest

from core.http_protocol import MAX_HEADERS_SIZE, LimitedHttpProtocol
from core.middleware import BODY_SECONDS
from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem
from tests.support.process import production_options, running_process, variables
from tests.support.service import ORIGIN, Person, make_settings, running_service
from tests.support.tokens import SigningKey
from tests.support.wire import request

GRACE_SECONDS = 8
"""How much later than it should a connection may end, on a busy machine."""


@pytest.fixture(scope="module")
def production(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, key_server: KeyServer
) -> Iterator[httpx.Client]:
    """Run the service as the README's production command does."""
    environment = variables(database_url, key_server.url)
    folder = tmp_path_factory.mktemp("production")
    with running_process(folder, environment, *production_options()) as (client, _):
        yield client


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), 30)


def drip(client: httpx.Client, start: bytes, piece: bytes) -> tuple[float, bytes]:
    """Send a start, then a piece a second; return when the connection ended, and all that came."""
    began = time.monotonic()
    answer = b""
    limit = began + LimitedHttpProtocol.header_seconds + GRACE_SECONDS
    with connect(client) as peer:
        peer.sendall(start)
        peer.settimeout(1)
        while time.monotonic() < limit:
            try:
                part = peer.recv(65_536)
                if not part:
                    break
                answer += part
            except TimeoutError:
                try:
                    peer.sendall(piece)
                except OSError:
                    break
            except OSError:
                break
        else:
            pytest.fail(f"held for {limit - began} seconds: {start[:200]!r} {answer!r}")
    return time.monotonic() - began, answer


def head(client: httpx.Client, person: Person, line: str, *lines: str) -> bytes:
    return "\r\n".join(
        (
            f"{line} HTTP/1.1",
            f"Host: {client.base_url.host}",
            f"Origin: {ORIGIN}",
            f"Authorization: Bearer {person.token}",
            "Content-Type: application/json",
            *lines,
            "",
            "",
        )
    ).encode()


@pytest.mark.slow
def test_a_slow_or_silent_sender_is_cut_off_and_others_are_served_meanwhile(
    production: httpx.Client, key: SigningKey
) -> None:
    alice = Person(production, key)
    unfinished = b"GET /health HTTP/1.1\r\nHost: x\r\n"
    post = head(production, alice, f"POST /api/{alice.id}/tasks", "Content-Length: 10000")
    chunked = head(production, alice, f"POST /api/{alice.id}/tasks", "Transfer-Encoding: chunked")
    whole = unfinished + b"\r\n"
    unwanted = unfinished + b"Content-Length: 10000\r\n\r\n"
    over = (
        b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"
        + b" " * 66_000
    )
    # What is sent at once, what is sent every second, and what is answered before the end.
    cases = {
        "nothing": (b"", b"", b""),
        "half a request line": (b"GET /hea", b"", b""),
        "a byte of the address a second": (b"GET /", b"a", b""),
        "a byte of a header a second": (unfinished + b"X: ", b"a", b""),
        "a header a second": (unfinished, b"X: a\r\n", b""),
        "blank lines": (b"", b"\r\n", b""),
        "a byte of a body a second": (post, b" ", b"HTTP/1.1 400 "),
        "half a body": (post + b'{"title":', b"", b"HTTP/1.1 400 "),
        "no body": (post, b"", b"HTTP/1.1 400 "),
        "a chunk a second": (chunked, b"1\r\n \r\n", b"HTTP/1.1 400 "),
        "a chunk that never ends": (chunked + b"1000\r\n", b" ", b"HTTP/1.1 400 "),
        "a chunk's extension, a byte a second": (chunked + b"5;", b"a", b"HTTP/1.1 400 "),
        "a slow second request": (whole + b"GET /", b"a", b"HTTP/1.1 200 "),
        "blank lines after an answer": (whole, b"\r\n", b"HTTP/1.1 200 "),
        "a slow body that nobody reads": (unwanted, b"a", b"HTTP/1.1 200 "),
        "a slow rest of a body that is too long": (over, b"a", b"HTTP/1.1 413 "),
    }  # fmt: skip
    with ThreadPoolExecutor(len(cases)) as threads:
        dripping = {
            name: threads.submit(drip, production, start, piece)
            for name, (start, piece, _) in cases.items()
        }
        while not all(each.done() for each in dripping.values()):
            asked_at = time.monotonic()
            assert production.get("/health").status_code == 200
            assert alice.tasks("GET").json() == []
            assert time.monotonic() - asked_at < GRACE_SECONDS
            time.sleep(0.2)
    for name, future in dripping.items():
        seconds, answer = future.result()
        expected = cases[name][2]
        assert answer.startswith(expected), (name, answer)
        assert bool(answer) is bool(expected), (name, answer)
        # An attack that ends at once would be none.
        assert seconds > 4, name
        if b" 400 " in answer:
            assert f"longer than {BODY_SECONDS} seconds to arrive".encode() in answer, name
            assert b"content-type: application/problem+json" in answer
            assert b'"field":"body"' in answer
            assert ORIGIN.encode() in answer
            assert b"connection: close" in answer.lower()
    assert alice.tasks("GET").json() == []


def status_and_body(answers: BufferedReader) -> tuple[int, bytes]:
    """Read one answer of a connection that is kept."""
    status = int(answers.readline().split(b" ")[1])
    length = 0
    while (line := answers.readline().lower()) != b"\r\n":
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return status, answers.read(length)


FLOODS = {
    "one-header": (b"GET /health HTTP/1.1\r\nHost: x\r\nX: ", b"a" * 50_000),
    "many-headers": (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"X: aaaaaaaaaa\r\n" * 4000),
    "a-header-name": (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"X" * 50_000),
    "the-address": (b"GET /", b"a" * 50_000),
    "the-method": (b"", b"G" * 50_000),
    "blank-lines": (b"", b"\r\n" * 25_000),
    "a-second-request": (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /", b"a" * 50_000),
}


@pytest.mark.slow
@pytest.mark.parametrize(("start", "more"), FLOODS.values(), ids=FLOODS)
def test_five_megabytes_of_a_head_end_in_an_error_and_are_not_kept(
    production: httpx.Client, start: bytes, more: bytes
) -> None:
    began = time.monotonic()
    sent = 0
    answer = b""
    cut_off = False
    with connect(production) as peer:
        try:
            peer.sendall(start)
            while sent < 5_000_000:
                peer.sendall(more)
                sent += len(more)
            while part := peer.recv(65_536):
                answer += part
        except OSError:
            cut_off = True
    assert time.monotonic() - began < GRACE_SECONDS
    # What lies in the sockets' own buffers counts as sent, the answer may be lost with the rest.
    answers = [line for line in answer.splitlines() if line.startswith(b"HTTP/1.1 ")]
    refusals = answers[start.count(b"\r\n\r\n") :]
    assert cut_off or refusals
    assert all(b" 400 " in line for line in refusals)
    assert production.get("/health").status_code == 200


def test_a_head_is_kept_up_to_its_limit_and_no_further(
    production: httpx.Client, key: SigningKey
) -> None:
    alice = Person(production, key)
    padding = MAX_HEADERS_SIZE - 2000
    answer = alice.tasks("GET", headers={"X-Padding": "a" * padding})
    assert (answer.status_code, answer.json()) == (200, [])
    too_long = b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (MAX_HEADERS_SIZE + 1)
    refused = refusal(production, too_long)
    assert_problem(refused, 400)
    assert refused.json()["detail"] == "The request's headers are too long."


@pytest.mark.parametrize(
    "start", [b"not HTTP\r\n\r\n", b"GET / HTTP/1.1\r\na b: c\r\n\r\n"], ids=["line", "header"]
)
def test_what_is_no_http_is_refused_as_everything_else_is(
    production: httpx.Client, start: bytes
) -> None:
    refused = refusal(production, start)
    assert_problem(refused, 400)
    assert refused.headers["Cache-Control"] == "no-store"
    assert refused.headers["Connection"] == "close"
    assert "Server" not in refused.headers


class ImpatientProtocol(LimitedHttpProtocol):
    """Production's protocol, with less patience."""

    unread_seconds = 2


@pytest.fixture
def impatient(database_url: str, key_server: KeyServer) -> Iterator[httpx.Client]:
    """Run the service with production's protocol, which waits two seconds for a reader."""
    settings = make_settings(database_url, key_server.url)
    with running_service(settings, http=ImpatientProtocol) as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("reading", [True, False], ids=["slowly", "not"])
def test_clients_that_do_not_read_are_disconnected_and_slow_readers_are_not(
    impatient: httpx.Client, key: SigningKey, *, reading: bool
) -> None:
    alice = Person(impatient, key)
    for _ in range(60):
        alice.create(description="y" * 9_000)
    size = len(alice.tasks("GET").content)
    answers = 20
    received = 0
    with socket.socket() as peer:
        # So little room that most of what is answered waits in the service.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect((impatient.base_url.host, impatient.base_url.port or 80))
        peer.settimeout(20)
        peer.sendall(request(alice.id, alice.token, "GET") * answers)
        if not reading:
            time.sleep(2 * ImpatientProtocol.unread_seconds + 1)
        with suppress(ConnectionResetError):
            while part := peer.recv(262_144):
                received += len(part)
                time.sleep(len(part) / 2_000_000 if reading else 0)
                if received > answers * size:
                    break
    assert (received > answers * size) is reading


def refusal(production: httpx.Client, sent: bytes) -> httpx.Response:
    with connect(production) as peer, HTTPResponse(peer) as answer:
        peer.sendall(sent)
        answer.begin()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())


def test_what_follows_a_body_is_no_header(production: httpx.Client, key: SigningKey) -> None:
    alice = Person(production, key)
    post = head(production, alice, f"POST /api/{alice.id}/tasks", "Transfer-Encoding: chunked")
    anonymous = post.replace(b"Authorization", b"X-Authorization")
    chunks = b'd\r\n{"title":"a"}\r\n0\r\n'
    trailers = f"Authorization: Bearer {alice.token}\r\n".encode()
    with connect(production) as peer, peer.makefile("rb") as answers:
        # A second Authorization header would be 401, the only one 201.
        for start, status in ((post, 201), (anonymous, 401)):
            peer.sendall(start + chunks + trailers + b"\r\n")
            assert status_and_body(answers)[0] == status
    assert len(alice.tasks("GET").json()) == 1


@pytest.fixture
def process(production: httpx.Client) -> psutil.Process:
    """Return the process of the service."""
    (process,) = [
        each
        for each in psutil.Process().children()
        if str(production.base_url.port) in {str(c.laddr.port) for c in each.net_connections()}
    ]
    return process


def flood(client: httpx.Client, start: bytes, more: bytes, seconds: float) -> float:
    """Send on 60 connections, without reading, and return how long /health took at most."""
    longest = 0.0
    peers = [connect(client) for _ in range(60)]
    for peer in peers:
        peer.setblocking(False)
        peer.send(start)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for peer in peers:
            with suppress(OSError):
                peer.send(more)
        began = time.monotonic()
        assert client.get("/health").status_code == 200
        longest = max(longest, time.monotonic() - began)
    for peer in peers:
        peer.close()
    return longest


CHUNKED = (
    b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
UNREAD = {
    "pipelined requests": (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000),
    "an address": (b"GET /", b"a" * 100_000),
    "a trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nX: ", b"a" * 100_000),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: aaaaaaaaaaaa\r\n" * 6_000),
}


@pytest.mark.serial
@pytest.mark.parametrize(("start", "more"), UNREAD.values(), ids=UNREAD)
def test_floods_whose_responses_are_not_read_cost_little_memory_and_delay_others_little(
    production: httpx.Client, process: psutil.Process, start: bytes, more: bytes
) -> None:
    before = process.memory_info().rss
    longest = flood(production, start, more, 2.5)
    grown = process.memory_info().rss - before
    # For the figures: pytest -s.
    print(f"{longest:.2f} s for /health, {grown / 1e6:.0f} MB more")  # noqa: T201 - shown with -s
    assert longest < 2
    assert grown < 100_000_000


def test_a_connection_that_behaves_is_kept_and_used_again(
    production: httpx.Client, key: SigningKey
) -> None:
    alice = Person(production, key)
    request = head(production, alice, f"GET /api/{alice.id}/tasks")
    body = b'{"title": "in two pieces"}'
    post = head(production, alice, f"POST /api/{alice.id}/tasks", f"Content-Length: {len(body)}")
    refused = (
        head(production, alice, f"POST /api/{alice.id}/tasks", "Content-Length: 500000")
        + b" " * 500_000
    )
    with connect(production) as peer, peer.makefile("rb") as answers:
        for _ in range(5):
            peer.sendall(request)
            assert status_and_body(answers) == (200, b"[]")
        peer.sendall(post + body[:10])
        time.sleep(0.2)
        peer.sendall(body[10:])
        assert status_and_body(answers)[0] == 201
        # Two at once.
        peer.sendall(request + request)
        assert [b"in two pieces" in status_and_body(answers)[1] for _ in range(2)] == [True, True]
        # A body that is refused is read to its end all the same, and the connection is kept.
        peer.sendall(refused)
        assert status_and_body(answers)[0] == 413
        peer.sendall(request)
        assert status_and_body(answers)[0] == 200
