"""HTTP protocol with limits on header size, header time, pipelining and unread responses.

uvicorn has none of these limits: its `httptools` protocol waits for headers for ever and keeps all
of them, reads on while its pipeline is full, and waits for ever for a response to be read. It also
ignores the body of a request that asks for an upgrade. When the server is told to end, it closes a
connection that has just been answered under the client's next request. In production uvicorn is
started with `--http core.http_protocol:LimitedHttpProtocol`.

It builds on parts of uvicorn that are not public: hence the upper bound in `pyproject.toml`, and
tests/core/test_http_protocol.py.
"""

import asyncio
from asyncio import BaseTransport, TimerHandle
from typing import Any, ClassVar, Final, override

import httptools
from starlette.types import Receive, Scope, Send
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from core.logs import request_id_var
from core.middleware import log_request, new_request_id, safe_headers
from core.problems import FieldError, problem_response

MAX_HEADERS_SIZE: Final = 64 * 1024
"""How many bytes of a request line and its headers are kept, and one read of the socket beyond."""
MAX_PIPELINED: Final = 8
"""How many requests of one connection wait for those before them …"""
PIECE_SIZE: Final = 1024
"""… and those that end in one piece of this many bytes; the rest is not parsed yet."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's own HTTP/1.1, with limits on what a client may do before and after a request."""

    header_seconds: ClassVar[float] = 10
    """How long a request line and its headers may take to arrive."""
    unread_seconds: ClassVar[float] = 30
    """A client that takes nothing of its response is disconnected after once to twice as long."""
    linger_seconds: ClassVar[float] = 3
    """How long an idle connection is kept at shutdown; a proxy keeps its own for less."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as uvicorn's
        super().__init__(*args, **kwargs)
        self._application = self.app
        self.app = self._run
        self._timer: TimerHandle | None = None
        self._watch: TimerHandle
        self._headers_size = 0
        self._unparsed = b""
        self._is_parsing = False
        self._is_in_body = False
        self._is_upgrade = False
        self._is_ending = False
        self._refusal: str | None = None
        self._running: RequestResponseCycle | None = None
        self._reading: asyncio.Task[Any] | None = None
        self._has_drained = False

    @override
    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # it is for TCP
        self._expect_headers()
        self._watch_unread(0)

    @override
    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        self._unparsed += data
        self._parse()

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_upgrade = False

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; uvicorn would take the trailers of a chunked body for headers too.

        What a proxy put into the headers would be overwritten by what its client sent behind the
        body (RFC 9110 §6.5.1).
        """
        if not self._is_in_body:
            super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._is_upgrade = True
            return
        self._stop_waiting()
        self._is_in_body = True
        super().on_headers_complete()
        if self._is_ending:
            # Its response says that it is the connection's last.
            self.cycle.keep_alive = False

    @override
    def on_body(self, body: bytes) -> None:
        """Take a part of the body; what is around it, such as trailers, has the headers' limit."""
        self._headers_size = 0
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if self._is_upgrade:
            return
        self._is_in_body = False
        self._headers_size = 0
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        """Start the next request of the pipeline, and read on once it is empty."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._running is not self.cycle:
            # Not the last one of the pipeline.
            self.flow.pause_reading()
        elif self._refusal is not None:
            self.send_400_response(self._refusal)
        else:
            self._parse()

    @override
    def shutdown(self) -> None:
        """Take one more request at most before the process ends, and say so in its response.

        It may be on its way already, from a client that was told nothing, and that could not tell
        whether a POST was taken (RFC 9112 §9.6). uvicorn's own way is for a connection on which
        nobody may send: one whose response has yet to begin.
        """
        self._is_ending = True
        if self.cycle is None or self.cycle.response_started:
            self.loop.call_later(self.linger_seconds, super().shutdown)
        else:
            super().shutdown()

    @override
    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP like everything else: with a problem, an id, and a log line.

        The origin of the page that has sent it is not known, so it carries no CORS headers. The
        requests before it are answered first: the client could take this for their response.
        """
        if self._is_behind_others:
            self._refusal = msg
            self._unparsed = b""
            return
        request_id = new_request_id()
        response = problem_response(400, msg, errors=[FieldError(field="request", message=msg)])
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            *safe_headers(request_id),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[400] + lines + b"\r\n" + bytes(response.body))
        self.transport.close()
        token = request_id_var.set(request_id)
        log_request(method="(none)", route="(none)", status=400, milliseconds=0, user_id=None)
        request_id_var.reset(token)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting, and give up a read whose client has gone; a write is carried out."""
        self._stop_waiting()
        self._watch.cancel()
        super().connection_lost(exc)
        if self._running is not None:
            # uvicorn tells the last request of the pipeline, which may be another one.
            self._running.disconnected = True
            self._running.message_event.set()
        if self._reading is not None:
            self._reading.cancel()

    @override
    def resume_writing(self) -> None:
        self._has_drained = True
        super().resume_writing()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    @property
    def _is_behind_others(self) -> bool:
        """Whether requests that were read completely still wait for their response."""
        if self.cycle is None or self.cycle.response_complete:
            return False
        is_first = self._running is self.cycle and not self.cycle.response_started
        return not (is_first and self._is_in_body)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; a request that only reads may be cancelled by `connection_lost`."""
        if scope["method"] not in ("GET", "HEAD"):
            await self._application(scope, receive, send)
            return
        task = self._reading = asyncio.current_task()
        try:
            await self._application(scope, receive, send)
        except asyncio.CancelledError:
            if not self.transport.is_closing():
                raise
        finally:
            # The next one of the pipeline may have begun when this one's response was complete.
            if self._reading is task:
                self._reading = None

    def _parse(self) -> None:
        """Parse what has arrived, until enough requests wait in the pipeline."""
        if self._is_parsing:
            return
        self._is_parsing = True
        while self._unparsed and len(self.pipeline) < MAX_PIPELINED:
            piece, self._unparsed = self._unparsed[:PIECE_SIZE], self._unparsed[PIECE_SIZE:]
            self._parse_piece(piece)
            if self.transport.is_closing():
                self._unparsed = b""
        self._is_parsing = False
        if self._unparsed:
            self.flow.pause_reading()

    def _parse_piece(self, piece: bytes) -> None:
        """Parse a piece. What comes after a response has to become headers in time as well.

        That may be the rest of a body that was not read, or blank lines: each piece of it has
        just stopped uvicorn's own clock for idle connections.
        """
        self._headers_size += len(piece)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            if self.parser.get_method() == b"CONNECT":
                self.send_400_response("This is no proxy.")
                return
            self._decline_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_headers()
        if self._headers_size > MAX_HEADERS_SIZE and not self.transport.is_closing():
            self.send_400_response("The request's headers are too long.")

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse the request again as if it had not asked for an upgrade (RFC 9110 §7.8).

        The parser takes everything behind such headers for another protocol.
        """
        lines = [
            b"%s %s HTTP/%s"
            % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        ]
        for name, value in self.headers:
            if name == b"connection":
                options = (option.strip() for option in value.split(b","))
                kept = [each for each in options if each.lower() != b"upgrade"]
                lines += [b"connection: %s" % b", ".join(kept)] if kept else []
            elif name != b"upgrade":
                lines.append(b"%s: %s" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self._headers_size = 0
        self._unparsed = b"\r\n".join([*lines, b"", b""]) + rest + self._unparsed

    def _expect_headers(self) -> None:
        self._timer = self.loop.call_later(self.header_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch_unread(self, unread_before: int) -> None:
        """Abort clients that stopped reading: `close()` would wait for the write buffer."""
        unread = self.transport.get_write_buffer_size()
        if unread and unread == unread_before and not self._has_drained:
            self.transport.abort()
        else:
            self._has_drained = False
            self._watch = self.loop.call_later(self.unread_seconds, self._watch_unread, unread)
