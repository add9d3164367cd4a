"""What the measurements run on: cores, databases, a token issuer and server processes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any, Final

import httpx
import psutil
import psycopg2.extensions
from fastapi import FastAPI
from sqlalchemy import make_url

from bench.load import CONNECTIONS, Outcome, Request, drive
from core.migrations import upgrade
from sandbox.issuer import Issuer
from sandbox.postgres import running_postgres
from sandbox.server import serving

# With `PROTOCOL`, the options that the README recommends for production.
UVICORN: Final = (sys.executable, "-m", "uvicorn", "--no-server-header", "--no-access-log")
PROTOCOL: Final = "core.http_protocol:LimitedHttpProtocol"
START_SECONDS: Final = 60

TASKS: Final = "/api/{user}/tasks"
TASK: Final = "/api/{user}/tasks/{task}"
NEW_TASK: Final = '{"title": "Buy milk", "description": "Two litres, the cold kind"}'
CHANGES: Final = '{"title": "Buy milk", "completed": true}'
REQUESTS: Final = {
    "list": ("GET", TASKS, ""),
    "get": ("GET", TASK, ""),
    "create": ("POST", TASKS, NEW_TASK),
    "patch": ("PATCH", TASK, CHANGES),
}

# The tasks of one user are far apart, as after years of use. Replicas check no foreign keys.
FILL: Final = """
SET session_replication_role = replica;
INSERT INTO users (email, password_hash)
    SELECT 'user' || n || '@example.com', '!' FROM generate_series(1, %(users)s) AS n;
INSERT INTO tasks (user_id, title, description, completed)
    SELECT n %% %(users)s + 1, 'Task ' || n, 'Two litres, the cold kind', n %% 2 = 0
    FROM generate_series(0, %(users)s::bigint * %(tasks)s - 1) AS n;
"""


@dataclass(frozen=True)
class Environment:
    """A PostgreSQL, a token issuer, and one core for the server under test."""

    postgres: str
    issuer: Issuer
    server_cores: list[int]


class Database:
    """A new database with the service's schema and `users` users, each with `tasks` tasks."""

    def __init__(
        self,
        env: Environment,
        name: str,
        users: int,
        tasks: int,
        prepare: Callable[["Database"], None] = lambda _: None,
    ) -> None:
        self.env = env
        self.users = users
        self.tasks = users * tasks
        _execute(env.postgres, f"CREATE DATABASE {name}")
        self._url = make_url(env.postgres).set(database=name)
        self.socket = Path(str(self._url.query["host"])) / f".s.PGSQL.{self._url.port or 5432}"
        upgrade(self.url())
        prepare(self)
        # Building the indexes afterwards takes a fraction of the time.
        indexes = self.drop_indexes()
        self.execute(FILL, users=users, tasks=tasks)
        self.execute(";".join(["SET maintenance_work_mem = '512MB'", *indexes]))
        self.reset()

    def url(self, port: int | None = None) -> str:
        """Return the URL, or one through a proxy whose sessions write statements to the log."""
        url = self._url
        if port:
            options = {"options": "--log_statement=all"}
            url = url.set(host="127.0.0.1", port=port, query=options)
        return url.render_as_string(hide_password=False)

    def execute(self, sql: str, **values: object) -> list[tuple[Any, ...]]:
        """Execute a statement in autocommit mode, and return its rows."""
        return _execute(self.url(), sql, values)

    def cursor(self) -> AbstractContextManager[psycopg2.extensions.cursor]:
        """Return a cursor of a connection in autocommit mode."""
        return _cursor(self.url())

    def drop_indexes(self) -> list[str]:
        """Drop the indexes of tasks but the primary key, and return their definitions."""
        indexes = self.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
            " WHERE indrelid = 'tasks'::regclass AND NOT indisprimary"
        )
        self.execute("".join(f"DROP INDEX {name};" for name, _ in indexes))
        # Of a partitioned table they are for itself ONLY, and not for its partitions.
        return [definition.replace(" ON ONLY ", " ON ") for _, definition in indexes]

    def reset(self) -> None:
        """Delete the tasks that were created since the database was filled."""
        self.execute("DELETE FROM tasks WHERE id > %(tasks)s", tasks=self.tasks)
        self.execute("VACUUM ANALYZE")

    def token(self, user: int) -> str:
        """Return a token of a user."""
        return self.env.issuer.token(user, f"user{user}@example.com")

    def requests(self, kind: str, users: Iterable[int] = range(1, 101)) -> list[Request]:
        """Return one request of each user, with new tokens."""
        method, path, body = REQUESTS[kind]
        return [
            Request(method, path.format(user=n, task=3 * self.users + n), self.token(n), body)
            for n in users
        ]

    @contextmanager
    def logged_statements(self) -> Iterator[list[str]]:
        """Yield a list that, after the block, has the statements that PostgreSQL logged in it."""
        statements: list[str] = []
        log = self.socket.with_name("log")
        start = log.stat().st_size
        yield statements
        # Further lines of a statement begin with a tab.
        lines = log.read_bytes()[start:].decode().replace("\n\t", " ").splitlines()
        statements += [line.partition("statement: ")[2] for line in lines if "statement: " in line]


def _execute(url: str, sql: str, values: dict[str, object] | None = None) -> list[tuple[Any, ...]]:
    with _cursor(url) as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def _cursor(url: str) -> Iterator[psycopg2.extensions.cursor]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor


@dataclass(frozen=True)
class Server:
    """A running server process."""

    url: str
    database: Database
    process: psutil.Process

    def drive(
        self, requests: list[Request], seconds: int, connections: int = CONNECTIONS
    ) -> Outcome:
        """Send the requests in a loop."""
        return drive(self.url, requests, seconds, connections)

    def cpu_seconds(self) -> float:
        """Return the processor time used so far."""
        times = self.process.cpu_times()
        return times.user + times.system

    def megabytes(self) -> float:
        """Return the resident memory."""
        return self.process.memory_info().rss / 1e6


@contextmanager
def running_server(
    database: Database, app: str = "main:app", *, http: str = PROTOCOL, database_url: str = ""
) -> Iterator[Server]:
    """Run an application in a process of its own, with the service's configuration.

    `http` is uvicorn's `--http`. The service's own protocol cancels a GET whose client has gone,
    which code that runs in threads is not made for.
    """
    env = database.env
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    variables = {
        "DATABASE_URL": database_url or database.url(),
        "JWKS_URL": f"{env.issuer.address}/api/auth/jwks",
        "JWT_ISSUER": env.issuer.address,
        "JWT_AUDIENCE": env.issuer.address,
        "AUTH_RATE_LIMIT": "1000000/minute",
        "DB_POOL_SIZE": str(CONNECTIONS),
        "MIGRATE_ON_START": "false",
    }
    with NamedTemporaryFile(prefix="bench-") as log:
        process = subprocess.Popen(
            (*UVICORN, "--http", http, app, "--port", str(port)),
            cwd=Path(__file__).parents[1],
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
        )
        _pin(process.pid, env.server_cores)
        url = f"http://127.0.0.1:{port}"
        try:
            if not _is_ready(f"{url}/health/ready", process):
                raise RuntimeError(f"{app} did not start: {Path(log.name).read_text()[-2000:]}")
            yield Server(url, database, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait()


def _is_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(url).is_success:
                return True
        time.sleep(0.05)
    return False


@contextmanager
def running_environment() -> Iterator[Environment]:
    """Start the parts; this process and PostgreSQL leave the first core to the server."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    _pin(os.getpid(), cores[1:])
    with (
        TemporaryDirectory(prefix="bench-") as folder,
        running_postgres(Path(folder) / "postgres", keep=False) as postgres,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        issuer = Issuer(address, Path(folder) / "signing-key")
        app = FastAPI()
        app.include_router(issuer.router)
        with serving(app, listener):
            yield Environment(postgres, issuer, cores[:1])


def _pin(pid: int, cores: list[int]) -> None:
    if cores:
        os.sched_setaffinity(pid, cores)
