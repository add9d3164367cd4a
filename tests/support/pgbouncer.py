"""A real PgBouncer in transaction mode: what Neon's pooled host is."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from tests.support.programs import await_port, free_port, need_package

_CONFIGURATION = """
[databases]
* = {upstream}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_login_retry = 1
"""


@contextmanager
def running_pgbouncer(
    database_url: str, folder: Path, port: int | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a PgBouncer with three connections to a database; gives the pooled address."""
    need_package("pgbouncer")
    url = make_url(database_url)
    port = port or free_port()
    members = {
        "host": url.query.get("host", url.host or "127.0.0.1"),
        "port": url.port or 5432,
        "user": url.username or "postgres",
        "password": url.password,
    }
    upstream = " ".join(f"{name}='{value}'" for name, value in members.items() if value)
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(_CONFIGURATION.format(upstream=upstream, port=port))
    # It will not be root; whoever runs PostgreSQL may use its socket.
    host = str(members["host"])
    user = Path(host).owner() if host.startswith("/") else "nobody"
    command = ["pgbouncer", "--quiet", *(["--user", user] if os.geteuid() == 0 else [])]
    with subprocess.Popen([*command, str(configuration)], stderr=subprocess.DEVNULL) as process:
        try:
            await_port(port)
            pooled = url.set(host="127.0.0.1", port=port, query={"sslmode": "disable"})
            yield pooled.render_as_string(hide_password=False), process
        finally:
            process.kill()
