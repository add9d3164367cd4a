"""A real key server that rotates its keys, fails, hangs and sends invalid responses on request."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.server import Silent, running_server
from tests.support.tokens import SigningKey


class KeyServer:
    """Serves the public halves of `keys`, or whatever it is told to answer with."""

    def __init__(self, url: str, *keys: SigningKey) -> None:
        self.url = url
        self.keys = list(keys)
        self.fetches = 0
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: bytes | None = None
        """What to answer instead of the key set."""
        self.raw: bytes | None = None
        """What to send instead of HTTP."""
        self.delay = 0.0
        """Seconds before an answer, which says what held when it was asked for."""
        self.trickle = 0.0
        """Seconds between two bytes of the body."""
        self.endless = False
        """Whether to go on responding for as long as the client reads."""
        self.sent = 0
        """How many bytes of endless answers were sent."""

    def publish(self, *jwks: Any) -> None:
        """Answer with these entries, whatever they are."""
        self.body = json.dumps({"keys": list(jwks)}).encode()

    def answer(self) -> bytes:
        """Return the body of the next answer."""
        if self.body is not None:
            return self.body
        return json.dumps({"keys": [key.jwk for key in self.keys]}).encode()


@contextmanager
def running_key_server(*keys: SigningKey, port: int = 0) -> Iterator[KeyServer]:
    """Run a key server on a port of its own, or on the one that is given."""

    class Handler(Silent, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = server.answer()
            server.fetches += 1
            time.sleep(server.delay)
            try:
                if server.raw is not None:
                    self.close_connection = True
                    self.wfile.write(server.raw)
                    return
                self.send_response(server.status)
                if server.endless:
                    self.send_header("Transfer-Encoding", "chunked")
                else:
                    self.send_header("Content-Length", str(len(body)))
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                while server.endless:
                    server.sent += self.wfile.write(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
                if server.trickle:
                    for each in body:
                        self.wfile.write(bytes([each]))
                        time.sleep(server.trickle)
                else:
                    self.wfile.write(body)
            except OSError:
                self.close_connection = True

    with running_server(Handler, port) as origin:
        server = KeyServer(f"{origin}/api/auth/jwks", *keys)
        yield server


class Clock:
    """Seconds that pass when they are told to, and a microsecond at each look."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now
