"""A real Redis, for limits that several processes share."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from tests.support.programs import free_port, need_package

PASSWORD = "the-password-of-redis"


class RedisServer:
    """A Redis on a port of its own, which can be killed, hung and started again (empty)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, and wait until it responds."""
        self._process = subprocess.Popen(
            [
                *("redis-server", "--port", str(self._port), "--bind", "127.0.0.1"),
                *("--requirepass", PASSWORD, "--save", "", "--dir", self._folder),
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        with redis.Redis.from_url(self.url) as client:
            while True:
                with suppress(redis.RedisError):
                    client.ping()
                    return
                assert self._process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def hang(self) -> None:
        """Suspend it, with every connection open."""
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Resume it."""
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def keys(self) -> list[str]:
        """Return the names of all that it holds."""
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            return list(client.scan_iter())


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """Run a Redis that keeps nothing."""
    need_package("redis-server")
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
