"""The load: wrk, from one core, with the requests of a file."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Final

from bench.stage import CONNECTIONS

_NOTHING: Final = {"requests": 0, "refused": 0, "broken": 0}
LONGEST_SECONDS: Final = 60
SCRIPT: Final = Path(__file__).with_name("wrk.lua")
MISSING: Final = (
    "The load comes from wrk, which is not installed: apt-get install wrk, brew install wrk,"
    " or https://github.com/wg/wrk"
)


@dataclass(frozen=True)
class Request:
    """One request; `token` and `body` may be empty."""

    method: str
    path: str
    token: str = ""
    body: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a load."""

    requests: int
    per_second: float
    median: float
    """Seconds that half of the requests took at most."""
    p99: float


def is_installed() -> bool:
    """Tell whether there is a wrk."""
    return shutil.which("wrk") is not None


def write_requests(file: Path, requests: Iterable[Request]) -> Path:
    """Write the requests to where `drive` finds them."""
    file.write_text(
        "".join(f"{each.method}\t{each.path}\t{each.token}\t{each.body}\n" for each in requests)
    )
    return file


def drive(
    url: str, requests: Path, seconds: float, connections: int = CONNECTIONS, first: int = 0
) -> Outcome:
    """Send the requests over and over, from the `first`; each connection waits for its answer.

    Raises RuntimeError when one of them failed: errors are answered faster than questions.
    """
    command = (
        "wrk",
        "--threads=1",
        f"--connections={connections}",
        "--duration=1h",
        "--timeout=1m",
        f"--script={SCRIPT}",
        url,
        "--",
        str(requests),
        str(first),
    )
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.stderr is not None  # noqa: S101 - for mypy: it is a pipe
        try:
            process.stderr.readline()
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate()
        except BaseException:
            process.kill()
            raise
    # On a busy machine it may be interrupted before it listens for that, and says nothing.
    counts = json.loads(output.splitlines()[-1]) if output else _NOTHING
    if counts["refused"] or counts["broken"] or seconds > LONGEST_SECONDS:
        raise RuntimeError(f"{requests.name} at {url}: not all requests succeeded: {counts}")
    if not counts["requests"]:
        # The first answers of a busy machine take their time. What was asked may have been done.
        return drive(url, requests, seconds * 2, connections, first + connections)
    return Outcome(
        counts["requests"],
        counts["requests"] / counts["microseconds"] * 1e6,
        counts["median"] / 1e6,
        counts["p99"] / 1e6,
    )
