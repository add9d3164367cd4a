"""What the measurements stand on: cores, PostgreSQL with people in it, a key server, servers."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx
import psutil
import psycopg2
import uvicorn
from sqlalchemy import make_url

from core.migrations import upgrade
from sandbox.issuer import Issuer, issuer_app

ROOT: Final = Path(__file__).parents[1]
CONNECTIONS: Final = 16
UVICORN: Final = (
    sys.executable,
    *("-m", "uvicorn", "--no-server-header", "--no-access-log"),
    *("--http", "core.http_protocol:LimitedHttpProtocol"),
)
"""What the README runs the service with in production, and every other server here too."""
START_SECONDS: Final = 120

# A user's tasks lie apart, as they would after years of use. Replicas check no foreign keys.
_FILL: Final = """
SET session_replication_role = replica;
INSERT INTO users (email, password_hash)
    SELECT 'user' || each || '@example.com', '!' FROM generate_series(1, %(users)s) AS each;
INSERT INTO tasks (user_id, title, description, completed)
    SELECT each %% %(users)s + 1, 'Task ' || each, 'Two litres, the cold kind', each %% 2 = 0
    FROM generate_series(0, %(users)s::bigint * %(tasks)s - 1) AS each;
"""


@dataclass(frozen=True)
class Cores:
    """The server gets one core, and what it talks to the others."""

    server: frozenset[int]
    others: frozenset[int]

    @classmethod
    def split(cls) -> Self:
        """Give the server the first core; where there is only one, or no way to choose, none."""
        every = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        return cls(frozenset(every[:1] if every[1:] else ()), frozenset(every[1:]))

    def keep_off(self) -> None:
        """Keep this process, and those that it starts, off the server's core."""
        _keep_on(self.others)

    @property
    def every(self) -> frozenset[int]:
        """All of them."""
        return self.server | self.others


def _keep_on(cores: frozenset[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)


class Database:
    """One database of the run: `users` people with `tasks` tasks each."""

    def __init__(self, postgres: str, name: str, users: int, tasks: int) -> None:
        self.users = users
        self.tasks = tasks
        with _executing(postgres) as execute:
            execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            execute(f"CREATE DATABASE {name}")
        address = make_url(postgres)
        self.socket = Path(str(address.query["host"])) / f".s.PGSQL.{address.port or 5432}"
        self.url = address.set(database=name).render_as_string(hide_password=False)
        upgrade(self.url)
        with _executing(self.url) as execute:
            execute(_FILL, {"users": users, "tasks": tasks})
        self.tidy()

    def tidy(self) -> None:
        """Take out what was made since the database was filled."""
        with _executing(self.url) as execute:
            execute("DELETE FROM tasks WHERE id > %s", (self.users * self.tasks,))
            execute("VACUUM ANALYZE")

    def task_of(self, user: int, number: int) -> int:
        """Give the id of one of a user's tasks, which are numbered from 0."""
        return number * self.users + user

    def through(self, port: int) -> str:
        """Give its address by way of a port of this machine."""
        address = make_url(self.url).difference_update_query(["host"])
        return address.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    def logged(self, calls: Mapping[str, Callable[[], None]]) -> dict[str, list[str]]:
        """Give the statements that PostgreSQL logs while each of the calls is made."""
        log = self.socket.parent / "log"
        statements = {}
        with _executing(self.url) as execute:
            execute("ALTER SYSTEM SET log_statement = 'all'")
            execute("SELECT pg_reload_conf()")
            try:
                _await_in_log(log, execute)
                for name, call in calls.items():
                    begun_at = log.stat().st_size
                    call()
                    lines = log.read_bytes()[begun_at:].decode().splitlines()
                    statements[name] = [
                        line.partition("statement: ")[2] for line in lines if "statement: " in line
                    ]
            finally:
                execute("ALTER SYSTEM RESET log_statement")
                execute("SELECT pg_reload_conf()")
        return statements


def _await_in_log(log: Path, execute: Callable[[str], object]) -> None:
    """Wait until sessions hear of the setting, which they do before their next statement."""
    mark = f"SELECT 'mark {time.time_ns()}'"
    while mark not in log.read_text(errors="replace"):
        time.sleep(0.05)
        execute(mark)
    time.sleep(0.2)


@contextmanager
def _executing(url: str) -> Iterator[Callable[..., object]]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            yield cursor.execute
    finally:
        connection.close()


def free_port() -> int:
    """Give a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_issuer(folder: Path) -> Iterator[Issuer]:
    """Run the key server, and give what signs tokens."""
    port = free_port()
    issuer = Issuer(f"http://127.0.0.1:{port}", folder / "signing-key")
    server = uvicorn.Server(
        uvicorn.Config(issuer_app(issuer, service=""), port=port, log_config=None)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield issuer
    finally:
        server.should_exit = True
        thread.join()


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    url: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Give the time that it has spent on a core so far."""
        times = self.process.cpu_times()
        return times.user + times.system

    def megabytes(self) -> float:
        """Give the memory that it holds now (RSS)."""
        return self.process.memory_info().rss / 1e6


@contextmanager
def running(
    command: tuple[str, ...],
    ready: str,
    environment: Mapping[str, str],
    cores: frozenset[int],
) -> Iterator[Server]:
    """Run a server on a port of its own until the block ends; `ready` is the path to ask it on."""
    port = free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            (*command, "--port", str(port)),
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            preexec_fn=lambda: _keep_on(cores),  # noqa: PLW1509 - a system call, and no lock
        )
        try:
            url = f"http://127.0.0.1:{port}"
            if not _answers(f"{url}{ready}", process):
                log.seek(0)
                raise RuntimeError(f"{command} did not start:\n{log.read().decode()}")
            yield Server(url, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait()


def _answers(url: str, process: "subprocess.Popen[Any]") -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url).is_success:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    return False
