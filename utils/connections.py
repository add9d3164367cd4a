"""Connections that end when a head is too slow or too long or an answer is not read, and no sooner.

uvicorn has none of these limits: its `httptools` protocol waits for a head for ever and keeps all
of it, and `h11` only bounds its length; both wait for ever for an answer to be read. When the
server is told to end, both close a connection that has just been answered under the client's next
request. In production it is started with `--http utils.connections:BoundedProtocol`.
"""

from asyncio import BaseTransport, TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from utils.logs import log_answer, new_request_id, safe_headers
from utils.problems import FieldError, problem_response

HEAD_SECONDS: Final = 10
"""How long a request line and its headers may take to arrive."""
MAX_HEAD_SIZE: Final = 64 * 1024
"""How many bytes of them are kept, and one piece from the socket beyond."""
UNREAD_SECONDS: Final = 30
"""How far apart the looks are between which a client has to take something of what waits for it."""
LINGER_SECONDS: Final = 3
"""How long an idle connection is kept when the process is to end; a proxy keeps its own shorter."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's own HTTP/1.1, with limits to what comes before the application is asked."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as uvicorn's
        super().__init__(*args, **kwargs)
        self._timer: TimerHandle | None = None
        self._watch: TimerHandle
        self._head_size = 0
        self._is_in_body = False
        self._is_ending = False

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to wait for the first head, and to watch that answers are read."""
        super().connection_made(transport)  # type: ignore[arg-type] # it is for TCP
        self._expect_head()
        self._look_for_unread(0)

    def data_received(self, data: bytes) -> None:
        """Read on. What comes after an answer has to become a head in time as well.

        That may be the rest of a body that nobody wanted, or blank lines: each piece of it has
        just stopped uvicorn's own clock for idle connections.
        """
        self._head_size += len(data)
        super().data_received(data)
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()
        is_too_long = self._head_size > MAX_HEAD_SIZE and not self._is_in_body
        if is_too_long and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; uvicorn would take the trailers of a chunked body for headers too.

        What a proxy put into the head would be overwritten by what its client sent behind the body
        (RFC 9110 §6.5.1).
        """
        if not self._is_in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop waiting: there is a head."""
        self._stop_waiting()
        self._is_in_body = True
        super().on_headers_complete()
        if self._is_ending:
            # Its answer says that it is the connection's last.
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Count what comes from now on as the next head."""
        self._is_in_body = False
        self._head_size = 0
        super().on_message_complete()

    def shutdown(self) -> None:
        """Take one more request at most before the process ends, and say so in its answer.

        It may be on its way already, from a client that was told nothing, and that could not tell
        whether a POST was taken (RFC 9112 §9.6). uvicorn's own way is for a connection on which
        nobody may send: one whose answer has yet to begin.
        """
        self._is_ending = True
        if self.cycle is None or self.cycle.response_started:
            self.loop.call_later(LINGER_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP as everything else is refused: a problem, with an id, in the log.

        Whose page has sent it cannot be told, so it carries no CORS headers.
        """
        request_id = new_request_id()
        response = problem_response(400, msg, errors=[FieldError(field="request", message=msg)])
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            *safe_headers(request_id),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[400] + head + b"\r\n" + bytes(response.body))
        self.transport.close()
        log_answer(
            method="(none)",
            route="(none)",
            status=400,
            milliseconds=0,
            user_id=None,
            request_id=request_id,
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting: there is nobody left."""
        self._stop_waiting()
        self._watch.cancel()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_for_unread(self, unread_before: int) -> None:
        """Cut off who took nothing since the last look; to close would be to wait for them."""
        unread = self.transport.get_write_buffer_size()
        if unread and unread == unread_before:
            self.transport.abort()
        else:
            self._watch = self.loop.call_later(UNREAD_SECONDS, self._look_for_unread, unread)
