"""A small HTTP server on a real socket, in a thread of the tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any


class Silent:
    """A handler of requests that writes no log."""

    # Headers and body are sent one after the other: the body would wait 40 ms for the client's
    # acknowledgement of the headers.
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def running_server(
    handler: type[BaseHTTPRequestHandler], port: int = 0, context: SSLContext | None = None
) -> Iterator[str]:
    """Run a server on a port of its own, or on the one that is given; yield its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    # By default the sixth of connections at once would wait for a second.
    server.socket.listen(128)
    # A response that is still being sent when the test ends is given up.
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
