"""Replicas of the service: processes started as in production, killed, ended and started again."""

import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.support.database import wait_until
from tests.support.process import production_options, start
from tests.support.programs import free_port


class Replica:
    """One process of the service, on a port that it keeps."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._environment = environment
        self.options: Sequence[str] = ()
        """Options of uvicorn that replace or follow those of production."""
        self._log = folder / "log"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and do not wait."""
        # The proxy's address; this machine has all of 127.0.0.0/8 for its clients.
        options = production_options(port=str(self.port), forwarded_allow_ips="127.0.0.1")
        with self._log.open("a") as log:
            self._process = start(self._folder, self._environment, *options, *self.options, log=log)

    def await_ready(self) -> None:
        """Wait until it says that it can serve."""
        with httpx.Client(base_url=self.url) as client:

            def is_ready() -> bool:
                assert self._process
                assert self._process.poll() is None, self.log()
                with suppress(httpx.TransportError):
                    return client.get("/health/ready").is_success
                return False

            wait_until(is_ready, 180)

    def end(self) -> int:
        """Ask it to end, wait, and return its exit status."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=30)

    def kill(self) -> None:
        """End it at once."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """Return what it has logged so far, in all its lives."""
        return self._log.read_text()


@contextmanager
def replicas(
    folder: Path, environment: Mapping[str, str], count: int = 3
) -> Iterator[list[Replica]]:
    """Return replicas that are not started yet, and kill what runs of them in the end."""
    made = [Replica(folder / f"replica-{number}", environment) for number in range(count)]
    try:
        yield made
    finally:
        for each in made:
            each.kill()
