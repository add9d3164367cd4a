"""HTTP/1.1 as it goes over the wire, for clients that look at their connection itself."""

import json
import socket
from contextlib import suppress
from io import BufferedReader

import httpx

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def request(user: object, token: str, method: str, path: object = "", body: object = None) -> bytes:
    """Spell a request about a user's tasks; `user` is an id or the token's `sub`."""
    suffix = f"/{path}" if path != "" else ""
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} /api/{user}/tasks{suffix} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {token}",
        *(["Content-Type: application/json", f"Content-Length: {len(content)}"] if content else []),
    )
    return "\r\n".join((*head, "", "")).encode() + content


def connect(url: str | httpx.URL, source: str = "", *, is_small: bool = False) -> socket.socket:
    """Open a connection, perhaps from another address of this machine.

    Where it is small, most of a response waits in the service.
    """
    address = httpx.URL(url)
    peer = socket.socket()
    if is_small:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.settimeout(30)
    peer.bind((source, 0))
    try:
        peer.connect((address.host, address.port or 80))
    except OSError:
        peer.close()
        raise
    return peer


def read_to_the_end(peer: socket.socket) -> bytes:
    """Read until the connection ends, or the last chunk of a response has come."""
    received = b""
    with suppress(ConnectionResetError):
        while not received.endswith(b"0\r\n\r\n") and (part := peer.recv(1_000_000)):
            received += part
    return received


def read_response(stream: BufferedReader) -> tuple[int, dict[str, str], bytes]:
    """Read one response. Raises EOFError where the connection ends before it does."""
    line = stream.readline()
    headers = {}
    while (header := stream.readline()) not in (b"\r\n", b""):
        name, _, value = header.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    if header == b"" or len(body) < int(headers.get("content-length", 0)):
        raise EOFError(line)
    return int(line.split()[1]), headers, body
