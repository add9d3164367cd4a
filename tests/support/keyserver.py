"""A real key server that rotates its keys, fails, hangs and talks rubbish as it is told."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
        self.delay = 0.0
        """Seconds before an answer."""
        self.trickle = 0.0
        """Seconds between two bytes of the body."""

    def publish(self, *jwks: Any) -> None:
        """Answer with these entries, whatever they are."""
        self.body = json.dumps({"keys": list(jwks)}).encode()

    def answer(self) -> bytes:
        """Give the body of the next answer."""
        if self.body is not None:
            return self.body
        return json.dumps({"keys": [key.jwk for key in self.keys]}).encode()


@contextmanager
def running_key_server(*keys: SigningKey) -> Iterator[KeyServer]:
    """Run a key server on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.fetches += 1
            time.sleep(server.delay)
            body = server.answer()
            try:
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if server.trickle:
                    for each in body:
                        self.wfile.write(bytes([each]))
                        time.sleep(server.trickle)
                else:
                    self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = KeyServer(f"http://127.0.0.1:{listener.server_port}/api/auth/jwks", *keys)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
