"""Connections that are closed when a request's head is too slow or too long, and else not too soon.

uvicorn has neither limit: its `httptools` protocol waits for a head for ever and keeps all of it,
and `h11` only bounds its length. When it is to end it closes idle connections at once, also those
on which a proxy has just sent a request. In production it is started with
`--http utils.connections:BoundedProtocol`.
"""

from asyncio import BaseTransport, TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS: Final = 10
"""How long a request line and its headers may take to arrive."""
MAX_HEAD_SIZE: Final = 64 * 1024
"""How many bytes of them are kept, and one piece from the socket beyond."""
LINGER_SECONDS: Final = 3
"""How long an idle connection is kept when the process is to end; a proxy keeps its own shorter."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's own HTTP/1.1, with limits to what comes before the application is asked."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as uvicorn's
        super().__init__(*args, **kwargs)
        self._timer: TimerHandle | None = None
        self._head_size = 0
        self._is_in_body = False
        self._is_ending = False

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)  # type: ignore[arg-type] # it is for TCP
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Read on. What comes after an answer has to become a head in time as well.

        That may be the rest of a body that nobody wanted, or blank lines: each piece of it has
        just stopped uvicorn's own clock for idle connections.
        """
        if self._timer is None and self._is_idle():
            self._expect_head()
        self._head_size += len(data)
        super().data_received(data)
        is_too_long = self._head_size > MAX_HEAD_SIZE and not self._is_in_body
        if is_too_long and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")

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
        """Answer one more request before the process ends.

        It may be on its way: whoever sent it could not tell whether it was taken when the
        connection closes, and so may not send a POST again.
        """
        self._is_ending = True
        if self._is_idle():
            self.loop.call_later(LINGER_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting: there is nobody left."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _expect_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
