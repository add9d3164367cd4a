"""A real PgBouncer in transaction mode, behind TLS: what Neon's pooled host is."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
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
client_tls_sslmode = require
client_tls_key_file = {certificate}
client_tls_cert_file = {certificate}
"""


@contextmanager
def running_pgbouncer(
    database_url: str, folder: Path, port: int | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a PgBouncer with three connections to a database; yield the pooled address."""
    need_package("pgbouncer")
    url = make_url(database_url)
    port = port or free_port()
    parameters = {
        "host": url.query.get("host", url.host or "127.0.0.1"),
        "port": url.port or 5432,
        "user": url.username or "postgres",
        "password": url.password,
    }
    upstream = " ".join(f"{name}='{value}'" for name, value in parameters.items() if value)
    configuration = folder / "pgbouncer.ini"
    certificate = folder / "certificate.pem"
    certificate.write_bytes(make_certificate())
    configuration.write_text(
        _CONFIGURATION.format(upstream=upstream, port=port, certificate=certificate)
    )
    # PgBouncer refuses to run as root; PostgreSQL's own user may use its socket.
    host = str(parameters["host"])
    user = Path(host).owner() if host.startswith("/") else "nobody"
    command = ["pgbouncer", "--quiet", *(["--user", user] if os.geteuid() == 0 else [])]
    with subprocess.Popen([*command, str(configuration)], stderr=subprocess.DEVNULL) as process:
        try:
            await_port(port)
            pooled = url.set(host="127.0.0.1", port=port, query={"sslmode": "require"})
            yield pooled.render_as_string(hide_password=False), process
        finally:
            process.kill()


def make_certificate() -> bytes:
    """Return a new key and a self-signed certificate for localhost."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, None)
    )
    encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return encoded + certificate.public_bytes(Encoding.PEM)
