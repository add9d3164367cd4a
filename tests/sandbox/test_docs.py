"""The documentation in a real browser, with the sandbox's token."""

import json
import shutil
from pathlib import Path

import pytest

from tests.better_auth.toolchain import FOLDER, build, run
from tests.sandbox.test_sandbox import Sandbox
from tests.support.programs import need_package

pytestmark = pytest.mark.slow


def test_every_operation_works_at_the_first_click(folder: Path) -> None:
    need_package("chromium")
    build()
    script = FOLDER / "build" / "tests" / "better_auth" / "docs.js"
    with Sandbox(folder / "data").running() as greeting:
        service = next(word for word in greeting.split() if word.startswith("http://"))
        printed = run("node", script, str(shutil.which("chromium")), service)
    report = json.loads(printed.splitlines()[-1])
    refused = {name: status for name, status in report["results"].items() if status >= "300"}
    assert (refused, report["errors"]) == ({}, [])
    assert len(report["results"]) > 15
    assert report["preselected"]["delete_tasks"] == "completed"
