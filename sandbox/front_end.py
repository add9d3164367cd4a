"""Run the example front end in `examples/nextjs`, with its users in the sandbox's PostgreSQL."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

import psycopg2
from pydantic import SecretStr
from sqlalchemy import make_url

from application import create_app
from core.logs import configure_logging
from core.settings import Settings
from sandbox.postgres import STOP_SIGNALS
from sandbox.server import serving

GREETING = """
Front end    {front_end}   (sign up and add a task)
Service      {service}   (documentation: {service}/docs)
PostgreSQL   {database}
Data         {folder}

The pages are in examples/nextjs: change a file there and the browser follows.
Ctrl-C stops everything; the data stays.
"""

EXAMPLE = Path(__file__).parents[1] / "examples" / "nextjs"

OLDEST_NODE = (20, 9)
"""As Next.js requires."""

START_SECONDS = 300
"""How long npm, or the first page, may take on a slow machine."""

STOP_SECONDS = 5
"""How long the front end may take to stop before it is killed."""


def check_node() -> None:
    """Exit with one line if Node.js is missing or too old."""
    oldest = ".".join(map(str, OLDEST_NODE))
    advice = f"install Node.js {oldest} or newer (https://nodejs.org/en/download)."
    if shutil.which("node") is None or shutil.which("npm") is None:
        sys.exit(f"--front-end needs Node.js with npm: {advice}")
    version = subprocess.run(
        ["node", "--version"],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_NODE:
        sys.exit(f"--front-end needs a newer Node.js than {version}: {advice}")


def run_front_end(listener: socket.socket, database: str, folder: Path, port: int) -> None:
    """Run the front end, and the service that accepts its tokens, until a stop signal.

    Exit with one line if the front end does not start. The caller has blocked STOP_SIGNALS.
    """
    service = f"http://localhost:{listener.getsockname()[1]}"
    front_end = f"http://localhost:{port}"
    settings = Settings(
        database_url=SecretStr(database),
        jwks_url=f"{front_end}/api/auth/jwks",
        jwt_issuer=front_end,
        jwt_audience=front_end,
        cors_origins=(front_end,),
    )
    environment = {
        **os.environ,
        "BETTER_AUTH_URL": front_end,
        "BETTER_AUTH_SECRET": _secret(folder / "front-end-secret"),
        "DATABASE_URL": _create_database(database, "front_end"),
        "BACKEND_URL": service,
        "NEXT_TELEMETRY_DISABLED": "1",
    }
    try:
        _install(environment)
        _check_port(port)
        print("Starting the front end …", flush=True)
        next_js = EXAMPLE / "node_modules" / "next" / "dist" / "bin" / "next"
        command = ("node", next_js, "dev", "--hostname", "127.0.0.1", "--port", str(port))
        with _running(environment, *command) as process:
            # The service fetches the key set at once, and the first page should not be waited for.
            for path in ("/api/auth/jwks", "/sign-in"):
                _wait(process, partial(_responds, port, path))
            configure_logging(settings.log_format)
            with serving(create_app(settings), listener):
                texts = {"front_end": front_end, "service": service, "database": database}
                print(GREETING.format(folder=folder, **texts), flush=True)
                threading.Thread(target=_watch, args=(process, port), daemon=True).start()
                signal.sigwait(STOP_SIGNALS)
    except _StoppedError:
        pass


class _StoppedError(Exception):
    """A stop signal arrived while the front end started."""


def _check_port(port: int) -> None:
    """Exit with a message if the port is taken."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        sys.exit(f"Port {port} cannot be used ({error}): choose another with --front-end-port.")


def _install(environment: Mapping[str, str]) -> None:
    """Install the packages that package-lock.json names, unless they are there."""
    digest = sha256((EXAMPLE / "package-lock.json").read_bytes()).hexdigest()
    note = EXAMPLE / "node_modules" / ".installed"
    if note.exists() and note.read_text() == digest:
        return
    print("Installing the front end's packages, this once …", flush=True)
    command = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--progress")
    with _running(environment, *command) as npm:
        _wait(npm, lambda: npm.poll() is not None)
        if npm.returncode != 0:
            sys.exit("npm could not install the packages; what it printed above says why.")
    note.write_text(digest)


@contextmanager
def _running(
    environment: Mapping[str, str], *command: str | Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the example's folder; end it and all that it started with the block."""
    process = subprocess.Popen(
        command,
        cwd=EXAMPLE,
        env=environment,
        stdin=subprocess.DEVNULL,
        # A group of its own: Ctrl-C reaches the sandbox alone, which ends the whole group.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> None:
    """Wait until a process is ready; exit if it fails."""
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        if not signal.sigpending().isdisjoint(STOP_SIGNALS):
            raise _StoppedError
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit("The front end did not start; what is printed above says why.")
        time.sleep(0.1)


def _responds(port: int, path: str) -> bool:
    """Return whether the front end responds to a GET request with 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(request.encode())
            return connection.recv(12).endswith(b" 200")
    except OSError:
        return False


def _watch(process: subprocess.Popen[bytes], port: int) -> None:
    """Have the other pages compiled before they are asked for; say so if the front end ends."""
    for path in ("/sign-up", "/", "/account"):
        _responds(port, path)
    if process.wait() > 0:
        print("The front end has stopped; Ctrl-C stops the rest.", flush=True)


def _secret(file: Path) -> str:
    """Return the secret in the file; create it the first time."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32))
    return file.read_text()


def _create_database(url: str, name: str) -> str:
    """Create a database unless it exists; return its address."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor, suppress(psycopg2.errors.DuplicateDatabase):
            cursor.execute(f'CREATE DATABASE "{name}"')
    finally:
        connection.close()
    return make_url(url).set(database=name).render_as_string(hide_password=False)
