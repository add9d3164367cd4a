"""A PostgreSQL of the tests of faults, which they may stop, kill, hang and start again."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from sandbox.postgres import Postgres, running_postgres
from tests.support.database import execute, wait_until


class OwnPostgres(Postgres):
    """A server with its data in a folder, always at the same address."""

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def end_backends(self) -> None:
        """End every session but those that this takes; they are gone when it returns."""
        ended = execute(
            self.url,
            "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        assert ended
        wait_until(lambda: not any(psutil.pid_exists(pid) for pid, _ in ended))

    def kill(self) -> None:
        """Kill the postmaster with -9, and start another one once its backends have noticed."""
        postmaster, *others = self._processes()
        postmaster.kill()
        _, left = psutil.wait_procs([postmaster, *others], timeout=20)
        assert not left
        self.start()

    def hang(self) -> None:
        """Suspend its processes, with every connection open."""
        # The postmaster first, so that it starts no others.
        self._processes()[0].suspend()
        for each in self._processes()[1:]:
            each.suspend()

    def go_on(self) -> None:
        """Resume them."""
        for each in self._processes():
            each.resume()

    def _processes(self) -> list[psutil.Process]:
        """Return the postmaster, and after it those that it started."""
        pid = (self.data / "postmaster.pid").read_text().splitlines()[0]
        postmaster = psutil.Process(int(pid))
        return [postmaster, *postmaster.children()]


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[OwnPostgres]:
    """Run a PostgreSQL that runs again whenever a test has ended."""
    # Not in pytest's own folder, which is closed to PostgreSQL's user.
    folder = Path(tempfile.gettempdir()) / f"todo-backend-{uuid4().hex}"
    with running_postgres(folder, keep=False):
        postgres = OwnPostgres(folder)
        yield postgres
        postgres.go_on()
