"""Next.js, built and running, and a real browser in front of it."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.better_auth.toolchain import FOLDER, run


@contextmanager
def running_next(app: Path, port: int, log: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Start an application that was built, and wait until its Better Auth responds."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(app / "node_modules" / ".bin" / "next", "start"),
                *("--hostname", "127.0.0.1", "--port", str(port)),
            ],
            cwd=app,
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/api/auth/ok").is_success:
                    break
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def browse(origin: str, scenario: str, folder: Path, environment: Mapping[str, str]) -> Any:
    """Run a scenario of browse.ts in Chromium; return what it reports.

    Its screenshots are left in SCREENSHOTS where that is set.
    """
    screenshots = Path(os.environ.get("SCREENSHOTS", folder / "screenshots"))
    screenshots.mkdir(exist_ok=True)
    printed = run(
        *("node", FOLDER / "build" / "tests" / "better_auth" / "browse.js"),
        *(str(shutil.which("chromium")), folder / scenario, origin, scenario, screenshots),
        environment=environment,
    )
    return json.loads(printed.splitlines()[-1])
