"""A real Redis, for limits that several processes share."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from tests.support.database import wait_until
from tests.support.programs import free_port, need_package

PASSWORD = "the-password-of-redis"


class RedisServer:
    """A Redis on a port of its own, which can be killed, hung and started again (empty)."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        self._command = [
            *("redis-server", "--port", str(port), "--bind", "127.0.0.1"),
            *("--requirepass", PASSWORD, "--save", "", "--dir", str(folder)),
        ]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it responds."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(self._is_ready, 20)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None
        with redis.Redis.from_url(self.url) as client, suppress(redis.RedisError):
            return bool(client.ping())
        return False

    def hang(self) -> None:
        """Stop it from responding, with every connection open."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it respond again."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def keys(self) -> list[str]:
        """Return the names of all that it holds."""
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            return list(client.scan_iter())


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """Run a Redis that keeps nothing."""
    need_package("redis-server")
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.kill()
