"""Logs: to standard error, in text or JSON, without blocking the event loop on a full pipe."""

import atexit
import logging
import logging.config
import os
import queue
import select
import time
from contextvars import ContextVar
from logging.handlers import QueueHandler, QueueListener
from typing import Final, Literal, override

MAX_QUEUED: Final = 10_000
"""How many lines wait for standard error at most; those beyond are dropped and counted."""
WRITE_SECONDS: Final = 0.05
"""How often queued lines are written."""
WRITE_LINES: Final = 100
"""How many lines are written together at most."""
CLOSE_SECONDS: Final = 2
"""How long the end of the process waits for lines to be written."""

request_id_var: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that is being handled."""


logger = logging.getLogger(__name__)


class StartupError(Exception):
    """The service cannot start; the message is one line for the operator."""


def configure_logging(log_format: Literal["text", "json"]) -> None:
    """Send every log line of the process, uvicorn's own too, to standard error in one format.

    A thread of its own writes them, so that a full pipe does not stop the event loop.
    """
    # Fields that no format here shows need not be collected ("Optimization" in the manual).
    logging._srcfile = None  # noqa: SLF001 - it is the manual's own way
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined] # typeshed does not know it
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
            "handlers": {"stderr": {"()": _StderrHandler, "formatter": log_format}},
            "root": {"handlers": ["stderr"], "level": "INFO"},
            "loggers": {
                "uvicorn": {"handlers": [], "propagate": True},
                # Our line says more: uvicorn's has the raw address, query and all.
                "uvicorn.access": {"handlers": [], "propagate": False},
                "alembic": {"level": "WARNING"},
                # httpx would log each fetch of the key set.
                "httpx": {"level": "WARNING"},
            },
        }
    )
    root = logging.getLogger()
    (stderr,) = root.handlers
    assert isinstance(stderr, _StderrHandler)  # noqa: S101 - for mypy: see above
    root.removeHandler(stderr)
    root.addHandler(_QueueHandler(stderr))


def flush_logs() -> None:
    """Write what is queued, in `CLOSE_SECONDS` at most; lines from now on are written at once."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, _QueueHandler):
            handler.stop()


class _StderrHandler(logging.Handler):
    """Writes to standard error as soon as it takes something, and gives up at `deadline`.

    A blocked `write` could not be given up: the process would not end. Lines are written together
    by `flush`: each system call hands the interpreter's lock over, and costs requests their time.
    """

    deadline = float("inf")

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._poller = select.poll()
        self._poller.register(2, select.POLLOUT)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))

    @override
    def flush(self) -> None:
        lines, self._lines = self._lines, []
        text = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
        for start in range(0, len(text), select.PIPE_BUF):
            if not self._is_writable():
                return
            try:
                os.write(2, text[start : start + select.PIPE_BUF])
            except OSError:
                # The reader has gone, and there is no other place to report it.
                return

    def _is_writable(self) -> bool:
        """Wait until standard error takes something. Return False if it does not by `deadline`."""
        while time.monotonic() < self.deadline:
            if self._poller.poll(100):
                return True
        return bool(self._poller.poll(0))


class _Listener(QueueListener):
    """Looks at the queue every `WRITE_SECONDS`: to be woken for each line costs a request more."""

    def __init__(
        self, lines: queue.SimpleQueue[logging.LogRecord], handler: logging.Handler
    ) -> None:
        super().__init__(lines, handler)
        self._lines = lines
        self._handler = handler
        self._count = 0

    @override
    def dequeue(self, block: bool) -> logging.LogRecord:
        while True:
            try:
                record = self._lines.get_nowait()
            except queue.Empty:
                self._handler.flush()
                time.sleep(WRITE_SECONDS)
            else:
                self._count += 1
                if self._count % WRITE_LINES == 0:
                    self._handler.flush()
                return record


class _QueueHandler(QueueHandler):
    """Hands lines to a thread that writes them; drops and counts those beyond `MAX_QUEUED`."""

    def __init__(self, stderr: _StderrHandler) -> None:
        self._lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        super().__init__(self._lines)
        self._stderr = stderr
        self._dropped = 0
        self._listener: QueueListener | None = _Listener(self._lines, stderr)
        self._listener.start()
        atexit.register(self.stop)

    @override
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Complete the message, and add the id of the request that is being handled."""
        record.msg, record.args = record.getMessage(), None
        record.request_id = request_id_var.get()
        return record

    @override
    def enqueue(self, record: logging.LogRecord) -> None:
        if self._listener is None:
            self._stderr.handle(record)
            self._stderr.flush()
        elif self._lines.qsize() >= MAX_QUEUED:
            self._dropped += 1
        else:
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                logger.warning("%s log lines dropped: standard error was not read", dropped)
            self._lines.put(record)

    def stop(self) -> None:
        """Write what is queued, in `CLOSE_SECONDS` at most, and then each line as it comes."""
        if self._listener is not None:
            self._stderr.deadline = time.monotonic() + CLOSE_SECONDS
            listener, self._listener = self._listener, None
            listener.stop()
            self._stderr.flush()
