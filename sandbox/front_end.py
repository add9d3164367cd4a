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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import psycopg2
from sqlalchemy import make_url

EXAMPLE = Path(__file__).parents[1] / "examples" / "nextjs"

OLDEST_NODE = 20

START_SECONDS = 120
"""How long the first page may take on a slow machine."""

STOP_SECONDS = 5


def check_node() -> None:
    """Exit with one line if Node.js is missing or too old."""
    advice = f"install Node.js {OLDEST_NODE} or newer (https://nodejs.org/en/download)."
    if shutil.which("node") is None or shutil.which("npm") is None:
        sys.exit(f"The front end needs Node.js with npm, which is not installed: {advice}")
    version = subprocess.run(  # noqa: S607
        ["node", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = re.match(r"v(\d+)\.", version)
    if found is None or int(found[1]) < OLDEST_NODE:
        sys.exit(f"The front end needs a newer Node.js than {version}: {advice}")


@contextmanager
def running_front_end(database: str, folder: Path, port: int, service: str) -> Iterator[str]:
    """Run the front end until the block ends; its address is the issuer and the audience.

    `database` is any database of the PostgreSQL that Better Auth's own is created in, `service` the
    address of the to-do service. Stops with CalledProcessError if npm or Node.js fails.
    """
    address = f"http://localhost:{port}"
    _install()
    environment = {
        **os.environ,
        "BETTER_AUTH_URL": address,
        "BETTER_AUTH_SECRET": _secret(folder / "front-end-secret"),
        "DATABASE_URL": _create_database(database, "front_end"),
        "BACKEND_URL": service,
        "NEXT_TELEMETRY_DISABLED": "1",
        # The driver in the front end has nobody's password file to read.
        "PGPASSFILE": os.devnull,
    }
    print("Starting the front end …", flush=True)
    process = subprocess.Popen(
        [
            *("node", EXAMPLE / "node_modules" / "next" / "dist" / "bin" / "next", "dev"),
            *("--hostname", "127.0.0.1", "--port", str(port)),
        ],
        cwd=EXAMPLE,
        env=environment,
        stdin=subprocess.DEVNULL,
        # Its own group: Ctrl-C in the terminal reaches the sandbox only, which stops all of it.
        start_new_session=True,
    )
    is_stopping = threading.Event()
    try:
        _await_first_page(process, port)
        threading.Thread(target=_watch, args=(process, is_stopping), daemon=True).start()
        yield address
    finally:
        is_stopping.set()
        _stop(process)


def _install() -> None:
    """Install the packages that package-lock.json names, unless they are there."""
    digest = sha256((EXAMPLE / "package-lock.json").read_bytes()).hexdigest()
    note = EXAMPLE / "node_modules" / ".installed"
    if note.exists() and note.read_text() == digest:
        return
    print("Installing the front end's packages (npm ci), once …", flush=True)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],  # noqa: S607
        cwd=EXAMPLE,
        check=True,
    )
    note.write_text(digest)


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


def _await_first_page(process: subprocess.Popen[bytes], port: int) -> None:
    """Ask for the key set and the first page until both are there, so that nobody waits for them."""
    deadline = time.monotonic() + START_SECONDS
    for path in ("/api/auth/jwks", "/sign-in"):
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise subprocess.CalledProcessError(process.returncode or 1, "next dev")
            if not signal.sigpending().isdisjoint((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
                # Ctrl-C, which the sandbox holds back while it starts.
                raise subprocess.CalledProcessError(1, "next dev")
            with suppress(OSError):
                if _status(port, path) == b"200":
                    break
            time.sleep(0.1)


def _status(port: int, path: str) -> bytes:
    """Return the status code of a GET request."""
    with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        return connection.recv(12)[9:]


def _watch(process: subprocess.Popen[bytes], is_stopping: threading.Event) -> None:
    """Say so if the front end ends before the sandbox does."""
    process.wait()
    if not is_stopping.is_set():
        print("The front end has stopped by itself. Ctrl-C stops the rest.", flush=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
