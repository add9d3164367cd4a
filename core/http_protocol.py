"""HTTP protocol with limits on header size, header time, pipelining and slow readers.

uvicorn's `httptools` protocol has no limit on the time or the size of headers, keeps reading while
its pipeline is full, and waits for ever for a response to be read. It sends chunked responses to
HTTP/1.0 clients and ignores the body of a request that asks for an upgrade. At shutdown it closes
idle connections at once, when the client may just be sending its next request. In production
uvicorn is started with `--http core.http_protocol:LimitedHttpProtocol`.

It builds on parts of uvicorn that are not public: hence the upper bound in `pyproject.toml`, and
tests/core/test_http_protocol.py.
"""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from asyncio import BaseTransport, TimerHandle
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final, override

import httptools
from starlette.types import Message, Receive, Scope, Send
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
"""The largest request line with headers, in bytes."""
MAX_PIPELINED: Final = 8
"""How many requests of a connection may wait for those before them, until parsing stops."""
PIECE_SIZE: Final = 1024
"""How many bytes are parsed at once: requests that end in one piece may exceed MAX_PIPELINED."""
MAX_UNSENT: Final = 64 * 1024
"""How many bytes of a response the kernel holds beside those on their way to the client."""
MIN_READING_RATE: Final = 4096
"""The least that a client has to take of its responses, in bytes a second."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with limits on what a client may do before and after a request."""

    header_seconds: ClassVar[float] = 10
    """How long a request line and its headers may take to arrive."""
    reading_seconds: ClassVar[float] = 30
    """For how long a client may take less than MIN_READING_RATE."""
    linger_seconds: ClassVar[float] = 3
    """How long an idle connection is kept at shutdown; a proxy keeps its own for less."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as uvicorn's
        super().__init__(*args, **kwargs)
        self._application = self.app
        self.app = self._run
        self._header_timer: TimerHandle | None = None
        self._reading_timer: TimerHandle | None = None
        self._headers_size = 0
        self._unparsed = b""
        self._is_parsing = False
        self._is_in_body = False
        self._is_upgrade = False
        self._is_ending = False
        self._refusal: str | None = None
        self._running: RequestResponseCycle | None = None
        self._reading: asyncio.Task[Any] | None = None

    @override
    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # it is for TCP
        self._socket = transport.get_extra_info("socket")
        # pause_writing is called when more waits than a client may leave, and resume_writing when
        # it has taken all of it.
        high = int(MIN_READING_RATE * self.reading_seconds)
        self.transport.set_write_buffer_limits(high=high, low=0)
        # The kernel would take megabytes, and deliver them after the end of the connection.
        with suppress(OSError):  # a Unix socket
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT)
        self._expect_headers()

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
        """Add a header, but no trailer of a chunked body, as uvicorn does (RFC 9110 §6.5.1).

        A client's trailers would overwrite the headers that a proxy has set.
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
            # Its response has `Connection: close`.
            self.cycle.keep_alive = False

    @override
    def on_body(self, body: bytes) -> None:
        """Add a part of the body; chunk extensions and trailers count as headers."""
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
            self._watch_reader()
        elif self._running is not self.cycle:
            # The pipeline has more.
            self.flow.pause_reading()
        elif self._refusal is not None:
            self.send_400_response(self._refusal)
        else:
            self._parse()

    @override
    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_reader()

    @override
    def shutdown(self) -> None:
        """Accept one more request before the process ends, with `Connection: close`.

        The client of an idle connection may be sending one already, and could not tell whether a
        POST was carried out (RFC 9112 §9.6). Where a response has yet to begin, it can have the
        header itself, as uvicorn does it.
        """
        self._is_ending = True
        if self.cycle is None or self.cycle.response_started:
            self.loop.call_later(self.linger_seconds, super().shutdown)
        else:
            super().shutdown()

    @override
    def send_400_response(self, msg: str) -> None:
        """Answer malformed HTTP with a 400 problem document, and log it.

        It has no CORS headers, because the origin is not known. Requests before it are answered
        first: the client could take this for their response.
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
        self._close()
        token = request_id_var.set(request_id)
        log_request(method="(none)", route="(none)", status=400, milliseconds=0, user_id=None)
        request_id_var.reset(token)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel a GET whose client has gone; a write is carried out."""
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)
        if self._running is not None:
            # uvicorn marks the last request of the pipeline, which may be another one.
            self._running.disconnected = True
            self._running.message_event.set()
        if self._reading is not None:
            self._reading.cancel()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    @property
    def _is_behind_others(self) -> bool:
        """Whether requests that arrived completely still wait for their response."""
        if self.cycle is None or self.cycle.response_complete:
            return False
        is_first = self._running is self.cycle and not self.cycle.response_started
        return not (is_first and self._is_in_body)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; `connection_lost` may cancel it when the request only reads."""
        cycle = self._running
        assert cycle is not None  # noqa: S101 - uvicorn has just started it
        if scope["http_version"] == "1.0":
            send = partial(self._send_unchunked, cycle, send)
        task = asyncio.current_task()
        if scope["method"] in ("GET", "HEAD"):
            self._reading = task
        try:
            await self._application(scope, receive, send)
            if cycle.response_started and not (cycle.response_complete or cycle.disconnected):
                self._reset()
                # Otherwise uvicorn would log what the application has logged already.
                cycle.disconnected = True
        except asyncio.CancelledError:
            if not self.transport.is_closing():
                raise
        finally:
            # The next request of the pipeline may have begun when this response was complete.
            if self._reading is task:
                self._reading = None

    @staticmethod
    async def _send_unchunked(cycle: RequestResponseCycle, send: Send, message: Message) -> None:
        """Send to an HTTP/1.0 client; the response ends with the connection (RFC 9112 §7.1)."""
        cycle.chunked_encoding = False
        cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    def _parse(self) -> None:
        """Parse what has arrived, until the pipeline is full."""
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
        """Parse a piece. After a response, the headers of the next request have a time limit.

        Blank lines, or the rest of a body that was not read, stop uvicorn's keep-alive timer.
        """
        self._headers_size += len(piece)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            if self.parser.get_method() == b"CONNECT":
                self.send_400_response("This server is not a proxy.")
                return
            self._decline_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._header_timer is None and (self.cycle is None or self.cycle.response_complete):
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
        self._header_timer = self.loop.call_later(self.header_seconds, self._close)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _close(self) -> None:
        self.transport.close()
        self._watch_reader()

    def _reset(self) -> None:
        """Reset the connection, with all that still waits to be sent.

        Any client sees that the response is cut: to an HTTP/1.0 client an orderly end would mean
        that it is complete. The kernel would keep megabytes for a client that does not read.
        """
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _watch_reader(self) -> None:
        """Reset the connection in time unless the client takes enough; `close()` would wait."""
        self._stop_watching()
        if self.transport.get_write_buffer_size():
            self._reading_timer = self.loop.call_later(
                self.reading_seconds, self._check_reader, self._unread_size()
            )

    def _check_reader(self, unread_before: int) -> None:
        if unread_before - self._unread_size() < MIN_READING_RATE * self.reading_seconds:
            self._reset()
        else:
            self._watch_reader()

    def _stop_watching(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _unread_size(self) -> int:
        """Return how many bytes the client has not acknowledged, in the kernel's buffer too."""
        unacknowledged = b""
        with suppress(OSError):  # Linux alone knows
            unacknowledged = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(
            unacknowledged, sys.byteorder
        )
