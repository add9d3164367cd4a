"""A gate between the front end's server and the service, which can be shut or lose responses."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import httpx

from tests.support.server import Silent, running_server


class Gate:
    """Pass requests on to `service`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.service: httpx.Client
        self.is_shut = False
        """Close each connection at once, as if the service were down."""
        self.loses_responses = False
        """Let requests through, and hang up instead of passing the response on."""


@contextmanager
def running_gate() -> Iterator[Gate]:
    """Run a gate on a port of its own; its service is set later."""

    class Handler(Silent, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if gate.is_shut:
                return
            body = self.rfile.read(int(self.headers["Content-Length"]))
            response = gate.service.post(
                self.path, content=body, headers={"Content-Type": self.headers["Content-Type"]}
            )
            if gate.loses_responses:
                return
            self.send_response(response.status_code)
            self.send_header("Content-Type", response.headers["Content-Type"])
            self.send_header("Content-Length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

    with running_server(Handler) as origin:
        gate = Gate(origin)
        yield gate
