"""A PostgreSQL of a test's own, which can be stopped, killed, hung and started again."""

from pathlib import Path

import psutil

from sandbox.postgres import Postgres
from tests.support.database import execute, wait_until


class OwnPostgres(Postgres):
    """A server with its data in a folder, always at the same address."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._hung: list[psutil.Process] = []

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
        postmaster, *_ = self._processes()
        # The first one, so that it starts no others.
        postmaster.suspend()
        self._hung = [postmaster]
        for each in postmaster.children():
            each.suspend()
            self._hung.append(each)

    def go_on(self) -> None:
        """Resume them."""
        while self._hung:
            self._hung.pop().resume()

    def _processes(self) -> list[psutil.Process]:
        """Return the postmaster, and after it those that it started."""
        pid = (self.data / "postmaster.pid").read_text().splitlines()[0]
        postmaster = psutil.Process(int(pid))
        return [postmaster, *postmaster.children()]
