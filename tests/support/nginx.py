"""A real nginx before several replicas, configured as the documentation shows."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import ROOT
from tests.support.programs import free_port, need_package, running

DOCUMENTED = ROOT / "docs" / "nginx.conf"

_MAIN = """
daemon off;
{user}
worker_processes 2;
pid nginx.pid;
error_log error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include site.conf;
}}
"""


def site(port: int, upstreams: Sequence[int]) -> str:
    """Return the documented configuration with nothing but its addresses changed."""
    ports = iter(upstreams)
    second_turn = free_port()
    text, servers = re.subn(
        r"\b10\.0\.0\.\d+:8000\b", lambda _: f"127.0.0.1:{next(ports)}", DOCUMENTED.read_text()
    )
    text, listeners = re.subn(r"\blisten 80;", f"listen 127.0.0.1:{port};", text)
    text, turns = re.subn(r"\b127\.0\.0\.1:8001;", f"127.0.0.1:{second_turn};", text)
    assert (servers, listeners, turns) == (len(upstreams), 1, 2)
    return text


@contextmanager
def running_nginx(folder: Path, upstreams: Sequence[int], directives: str = "") -> Iterator[str]:
    """Run an nginx before services on these ports of this machine; yield its address.

    `directives` are more ones for its `http` block.
    """
    port = free_port()
    with running_site(folder, f"{directives}\n{site(port, upstreams)}", port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running_site(folder: Path, text: str, port: int) -> Iterator[None]:
    """Run an nginx with this configuration, which listens on a port of this machine."""
    need_package("nginx")
    (folder / "site.conf").write_text(text)
    main = folder / "nginx.conf"
    # Its workers would otherwise run as a user who may not read this folder.
    main.write_text(_MAIN.format(user="user root;" if os.geteuid() == 0 else ""))
    command = ("nginx", "-e", "error.log", "-p", folder, "-c", main)
    with running(*command, port=port, cwd=folder):
        yield
