"""Logging: text or JSON lines on standard error, written without blocking the event loop."""

import logging
import logging.config
import os
import select
import threading
import time
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from typing import Final, Literal, override

MAX_QUEUED: Final = 10_000
"""How many lines may wait to be written; more are dropped and counted."""
WRITE_SECONDS: Final = 0.05
"""How often queued lines are written."""
WRITE_LINES: Final = 100
"""How many lines are written together at most."""
CLOSE_SECONDS: Final = 2
"""How long the end of the process waits for lines to be written."""

request_id_var: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that is being handled."""

logger = logging.getLogger(__name__)


def configure_logging(log_format: Literal["text", "json"]) -> None:
    """Send every log line of the process, uvicorn's too, to standard error in one format."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "text": {
                    "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"
                    " request=%(request_id)s"
                },
                "json": {
                    "()": "pythonjsonlogger.json.JsonFormatter",
                    "fmt": "{asctime}{levelname}{name}{message}{request_id}",
                    "style": "{",
                    "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                },
            },
            "handlers": {"stderr": {"class": StderrHandler, "formatter": log_format}},
            "root": {"handlers": ["stderr"], "level": "INFO"},
            "loggers": {
                "uvicorn": {"handlers": [], "propagate": True},
                # Our line says more, and uvicorn's has the raw path and query.
                "uvicorn.access": {"handlers": [], "propagate": False},
                "alembic": {"level": "WARNING"},
                # httpx would log each fetch of the key set.
                "httpx": {"level": "WARNING"},
            },
        }
    )


def flush_logs() -> None:
    """Write what is queued, in `CLOSE_SECONDS` at most; later lines are written at once."""
    if (handler := logging.getHandlerByName("stderr")) is not None:
        handler.close()


class StderrHandler(logging.Handler):
    """Write lines to standard error in a thread, because a full pipe would block the event loop.

    The thread writes all queued lines together, 20 times a second. With `QueueListener` and
    `StreamHandler`, which wake a thread and write for each line, a request takes 5 to 7 % longer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._deadline = float("inf")
        self._poller = select.poll()
        self._poller.register(2, select.POLLOUT)
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._write_repeatedly, name="logs", daemon=True)
        self._thread.start()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            record.request_id = request_id_var.get()
            if len(self._lines) >= MAX_QUEUED:
                self._dropped += 1
                return
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                logger.warning("%s log lines dropped: standard error was not read", dropped)
            self._lines.append(f"{self.format(record)}\n")
            if not self._thread.is_alive():
                self._write()
        except Exception:  # noqa: BLE001 - a handler must not raise: see `Handler.handleError`
            self.handleError(record)

    @override
    def close(self) -> None:
        if not self._is_closing.is_set():
            self._deadline = time.monotonic() + CLOSE_SECONDS
            self._is_closing.set()
            self._thread.join()
        super().close()

    def _write_repeatedly(self) -> None:
        while not self._is_closing.wait(WRITE_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        """Write the queued lines; drop them when nobody reads them by the deadline."""
        while self._lines:
            lines = [self._lines.popleft() for _ in range(min(WRITE_LINES, len(self._lines)))]
            text = "".join(lines).encode(errors="backslashreplace")
            for start in range(0, len(text), select.PIPE_BUF):
                # A blocked `write` could not be given up, and the process would not end.
                while not self._poller.poll(100):
                    if time.monotonic() > self._deadline:
                        self._lines.clear()
                        return
                with suppress(OSError):  # the reader has gone, and there is nowhere to report it
                    os.write(2, text[start : start + select.PIPE_BUF])
