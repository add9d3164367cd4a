"""Next.js, built and running, and a real browser in front of it."""

import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from tests.better_auth.toolchain import FOLDER
from tests.support.programs import run, running


def running_next(
    app: Path, port: int, environment: Mapping[str, str]
) -> AbstractContextManager[None]:
    """Run an application that was built."""
    program = app / "node_modules" / ".bin" / "next"
    command = (program, "start", "--hostname", "127.0.0.1", "--port", str(port))
    return running(*command, port=port, cwd=app, env={**os.environ, **environment})


def browse(origin: str, scenario: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run a scenario of browse.ts in Chromium.

    Its screenshots are left in SCREENSHOTS where that is set.
    """
    screenshots = Path(os.environ.get("SCREENSHOTS", folder / "screenshots"))
    screenshots.mkdir(exist_ok=True)
    script = FOLDER / "build" / "tests" / "better_auth" / "browse.js"
    arguments = (str(shutil.which("chromium")), folder / scenario, origin, scenario, screenshots)
    run("node", script, *arguments, env={**os.environ, **environment})
