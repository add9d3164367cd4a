"""The load generator: wrk, on one thread."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, NamedTuple

CONNECTIONS: Final = 16
MAX_SECONDS: Final = 60


class Request(NamedTuple):
    """One request; without a token or a body where they are empty."""

    method: str
    path: str
    token: str = ""
    body: str = ""


class Outcome(NamedTuple):
    """The successful requests of a load, and the latency in seconds."""

    requests: int
    per_second: float
    median: float
    p99: float


def exit_without_wrk() -> None:
    """Exit with installation instructions if wrk is not installed."""
    if not shutil.which("wrk"):
        sys.exit(
            "The benchmark needs wrk: apt-get install wrk, brew install wrk,"
            " or https://github.com/wg/wrk"
        )


def drive(
    url: str, requests: list[Request], seconds: int, connections: int = CONNECTIONS
) -> Outcome:
    """Send the requests in a loop; each connection waits for its response.

    Raises RuntimeError when a request failed: failures are faster and would improve the figures.
    """
    options = (f"--connections={connections}", f"--duration={seconds}s", "--timeout=60s")
    script = f"--script={Path(__file__).with_name('wrk.lua')}"
    with NamedTemporaryFile("w", prefix="bench-") as file:
        file.writelines("\t".join(request) + "\n" for request in requests)
        file.flush()
        command = ("wrk", "--threads=1", *options, script, url, "--", file.name)
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    counts = json.loads(run.stdout.splitlines()[-1])
    if counts["failed"] or seconds > MAX_SECONDS:
        raise RuntimeError(f"not all requests to {url} succeeded: {counts}")
    if not counts["requests"]:
        # A busy machine: the first responses take long. The requests may have been executed.
        others = requests[connections:] + requests[:connections]
        return drive(url, others, 2 * seconds, connections)
    per_second = counts["requests"] / counts["seconds"]
    return Outcome(counts["requests"], per_second, counts["median"], counts["p99"])
