"""A real TCP connection between the service and PostgreSQL that can be watched and disturbed."""

import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import URL, make_url

_STARTUP = 196608
"""The version number that opens the one startup message that is followed by typed ones."""
_FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"
_FATAL = struct.pack("!ci", b"E", 4 + len(_FIELDS)) + _FIELDS
"""What a server sends before it closes a connection."""


class PostgresProxy:
    """Passes bytes on, and notes each statement that passes."""

    def __init__(self, database_url: str) -> None:
        self._upstream = make_url(database_url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._open = threading.Event()
        self._open.set()
        self.statements: list[str] = []
        self.connections = 0
        self.swallow: str | None = None
        """Pass on a statement that has this in it, but cut instead of passing its result back."""
        self.swallows_once = False
        """Do that for one statement only, the first one."""
        self.terminate: str | None = None
        """Respond to a statement that has this in it as a server that is shut down does."""

    @property
    def url(self) -> str:
        """The database's address through this proxy."""
        return (
            self._upstream.set(host="127.0.0.1", port=self._listener.getsockname()[1], query={})
            .update_query_dict({"gssencmode": "disable", "sslmode": "disable"})
            .render_as_string(hide_password=False)
        )

    def hang(self) -> None:
        """Pass nothing on, in either direction, and leave every connection open."""
        self._open.clear()

    def go_on(self) -> None:
        """Pass on what has come in the meantime."""
        self._open.set()

    def cut(self) -> None:
        """Close every connection that is open now."""
        for pair in list(self._pairs):
            for each in pair:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                downstream, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                pair = downstream, _connect(self._upstream)
            except OSError:
                downstream.close()
                continue
            threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def close(self) -> None:
        """Stop taking connections and close those that are open."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.go_on()
        self.cut()

    def _pass_on(self, downstream: socket.socket, upstream: socket.socket) -> None:
        self._pairs.add((downstream, upstream))
        messages = _Messages()
        swallowing = False
        with downstream, upstream, suppress(OSError):
            while True:
                ready, _, _ = select.select([downstream, upstream], [], [])
                for source in ready:
                    received = source.recv(65536)
                    self._open.wait()
                    if source is downstream:
                        statements = messages.read(received)
                        self.statements += statements
                        if self.swallow and self.swallow in " ".join(statements):
                            swallowing = True
                            self.swallow = None if self.swallows_once else self.swallow
                        if self.terminate and self.terminate in " ".join(statements):
                            downstream.sendall(_FATAL)
                            # Closed with a reset: what the client still sends meets an error.
                            linger = struct.pack("ii", 1, 0)
                            downstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                            return
                    if not received or (source is upstream and swallowing):
                        return
                    (upstream if source is downstream else downstream).sendall(received)


class _Messages:
    """Reads what a client says (PostgreSQL's protocol 3.0, chapter "Message Flow")."""

    def __init__(self) -> None:
        # In place of the type that the first message does not have.
        self._buffer = b"?"

    def read(self, received: bytes) -> list[str]:
        """Return the statements that end in these bytes."""
        self._buffer += received
        statements: list[str] = []
        while len(self._buffer) >= 5:
            end = 1 + struct.unpack_from("!i", self._buffer, 1)[0]
            if len(self._buffer) < end:
                break
            message, self._buffer = self._buffer[:end], self._buffer[end:]
            if message[:1] == b"Q":
                statements.append(message[5:-1].decode())
            elif message[:1] == b"?" and struct.unpack_from("!i", message, 5)[0] != _STARTUP:
                # A request for TLS, after which it starts again.
                self._buffer = b"?" + self._buffer
        return statements


def _connect(url: URL) -> socket.socket:
    host = url.query.get("host", url.host or "127.0.0.1")
    assert isinstance(host, str)
    port = url.port or 5432
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    upstream = socket.socket(socket.AF_UNIX)
    upstream.connect(f"{host}/.s.PGSQL.{port}")
    return upstream


@contextmanager
def running_proxy(database_url: str) -> Iterator[PostgresProxy]:
    """Run a proxy before a database."""
    proxy = PostgresProxy(database_url)
    thread = threading.Thread(target=proxy.serve)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
