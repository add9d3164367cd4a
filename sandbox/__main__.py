"""Run PostgreSQL, a token issuer and the service until Ctrl-C: `uv run python -m sandbox`."""

import argparse
import fcntl
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import make_url

from application import create_app
from core.logs import configure_logging
from core.settings import Settings
from sandbox.front_end import check_node, run_front_end
from sandbox.issuer import Issuer
from sandbox.postgres import PROGRAMS, STOP_SIGNALS, running_postgres
from sandbox.server import serving

FOLDER = Path(__file__).parents[1] / ".sandbox"

# The token goes to a file that curl reads a header from: a variable is set differently in bash and
# in fish.
GREETING = """
Service      {service}   (documentation: {service}/docs)
Key set      {service}/api/auth/jwks
PostgreSQL   {database}
Data         {folder}

Paste these lines into another terminal. They sign up, get a token, create a task and list it.

  curl -s -w '\\n' {service}/api/auth/signup -H 'Content-Type: application/json' \\
    -d '{{"email": "me@example.com", "password": "a long enough one"}}'

  curl -s {service}/api/auth/token -H 'Content-Type: application/json' \\
    -d '{{"email": "me@example.com", "password": "a long enough one"}}' \\
    | sed 's/.*"token":"\\([^"]*\\)".*/Authorization: Bearer \\1/' > {header}

  curl -s -w '\\n' {service}/api/me/tasks -H @{header} \\
    -H 'Content-Type: application/json' -d '{{"title": "Buy milk"}}'

  curl -s -w '\\n' {service}/api/me/tasks -H @{header}

{more}In the documentation, call POST /api/auth/token, then click Authorize and paste the token.
Ctrl-C stops everything; the data stays.
"""

MCP_GREETING = """These get a token for an assistant and add the tools to Claude Code. Other clients
take the address {service}/mcp and the header.

  curl -s {service}/api/auth/token -H 'Content-Type: application/json' \\
    -d '{{"email": "me@example.com", "password": "a long enough one",
          "resource": "{service}/mcp"}}' \\
    | sed 's/.*"token":"\\([^"]*\\)".*/Authorization: Bearer \\1/' > {mcp_header}

  claude mcp add --transport http todo {service}/mcp --header "$(cat {mcp_header})"

"""

POSTGRES_GREETING = """
PostgreSQL   {database}
Data         {folder}

The service's .env, with Better Auth on port 3000:

  DATABASE_URL={database}
  JWKS_URL=http://localhost:3000/api/auth/jwks
  JWT_ISSUER=http://localhost:3000
  JWT_AUDIENCE=http://localhost:3000

Better Auth needs a database of its own. Paste this line into another terminal, once:

  {psql} '{database}' -c 'CREATE DATABASE better_auth'

The front end's .env:

  DATABASE_URL={better_auth}

Ctrl-C stops it; the data stays.
"""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process, or exit with a message."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"A sandbox with its data in {folder} is already running: stop it first.")
        yield


def listen(port: int) -> socket.socket:
    """Return a listening socket on the loopback interface, or exit with a message."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        sys.exit(f"Port {port} cannot be used ({error}): choose another one with --port.")


def main() -> None:
    """Start the parts one after the other, wait for a signal, and stop them in reverse order."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="the service's port (8000)")
    parser.add_argument("--data", type=Path, default=FOLDER, help="the data's folder (.sandbox)")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--front-end", action="store_true", help="with examples/nextjs (Node.js)")
    parts.add_argument("--mcp", action="store_true", help="with tools for assistants at /mcp")
    parts.add_argument("--postgres", action="store_true", help="PostgreSQL alone")
    parser.add_argument("--front-end-port", type=int, default=3000, help="its port (3000)")
    options = parser.parse_args()
    if options.front_end:
        check_node()
    folder = options.data.absolute()
    # Signals wait until `sigwait` asks for them: one that arrived earlier, or a second one later,
    # would leave a server running.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    with (
        locked(folder),
        nullcontext() if options.postgres else listen(options.port) as listener,
    ):
        print("Starting PostgreSQL …", flush=True)
        with running_postgres(folder / "postgres") as database:
            if listener is None:
                wait(database, folder)
            elif options.front_end:
                run_front_end(listener, database, folder, options.front_end_port)
            else:
                run_service(listener, database, folder, with_mcp=options.mcp)
    print("Stopped.")


def wait(database: str, folder: Path) -> None:
    """Print how to use the PostgreSQL, and wait for a stop signal."""
    better_auth = make_url(database).set(database="better_auth")
    greeting = POSTGRES_GREETING.format(
        database=database,
        better_auth=better_auth.render_as_string(hide_password=False),
        psql=shlex.quote(str(PROGRAMS / "psql")),
        folder=folder,
    )
    print(greeting, flush=True)
    signal.sigwait(STOP_SIGNALS)


def run_service(listener: socket.socket, database: str, folder: Path, *, with_mcp: bool) -> None:
    """Serve the application, and the issuer's routes beside its own, until a stop signal."""
    address = f"http://localhost:{listener.getsockname()[1]}"
    issuer = Issuer(address, folder / "signing-key")
    settings = Settings(
        database_url=SecretStr(database),
        jwks_url=f"{address}/api/auth/jwks",
        jwt_issuer=address,
        jwt_audience=f"{address},{address}/mcp" if with_mcp else address,
    )
    configure_logging(settings.log_format)
    if with_mcp:
        from examples.mcp.service import create_mcp_app  # noqa: PLC0415 - it takes a second

        app = create_mcp_app(settings)
    else:
        app = create_app(settings)
    app.include_router(issuer.router)
    app.openapi_tags = [
        *(app.openapi_tags or ()),
        {
            "name": "sandbox",
            "description": "What Better Auth does elsewhere: tokens, and its keys.",
        },
    ]
    with serving(app, listener):
        texts = {
            "service": address,
            "database": database,
            "folder": folder,
            "header": shlex.quote(str(folder / "authorization-header")),
            "mcp_header": shlex.quote(str(folder / "mcp-header")),
        }
        more = MCP_GREETING.format(**texts) if with_mcp else ""
        print(GREETING.format(**texts, more=more), flush=True)
        signal.sigwait(STOP_SIGNALS)


if __name__ == "__main__":
    main()
