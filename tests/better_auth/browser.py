"""Next.js, built and running, and a real browser in front of it."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.better_auth.toolchain import FOLDER
from tests.support.programs import await_port, run


@contextmanager
def running_next(app: Path, port: int, environment: Mapping[str, str]) -> Iterator[None]:
    """Start an application that was built, and wait until it listens."""
    command = ("start", "--hostname", "127.0.0.1", "--port", str(port))
    with subprocess.Popen(
        [app / "node_modules" / ".bin" / "next", *command],
        cwd=app,
        env={**os.environ, **environment},
    ) as process:
        try:
            await_port(port)
            yield
        finally:
            process.terminate()


def browse(origin: str, scenario: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run a scenario of browse.ts in Chromium.

    Its screenshots are left in SCREENSHOTS where that is set.
    """
    screenshots = Path(os.environ.get("SCREENSHOTS", folder / "screenshots"))
    screenshots.mkdir(exist_ok=True)
    script = FOLDER / "build" / "tests" / "better_auth" / "browse.js"
    arguments = (str(shutil.which("chromium")), folder / scenario, origin, scenario, screenshots)
    run("node", script, *arguments, env={**os.environ, **environment})
