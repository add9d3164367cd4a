"""Tests of scripts/rename, in a copy of the project: its own tests pass afterwards."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
    # The environment of this run, as it is.
    "UV_PROJECT_ENVIRONMENT": sys.prefix,
    "UV_NO_SYNC": "1",
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a repository with what is tracked here."""
    tracked = subprocess.check_output(["git", "ls-files"], cwd=PROJECT, text=True).splitlines()
    for name in tracked:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def run(copy: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=copy, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


@pytest.mark.serial
@pytest.mark.timeout(1200)
def test_the_renamed_project_passes_its_own_tests(copy: Path) -> None:
    renamed = run(copy, "scripts/rename", "note", "notes")
    assert renamed.returncode == 0, renamed.stderr
    assert (copy / "models" / "note.py").exists()
    assert list(copy.rglob("*task*.py")) == []
    grep = ("git", "grep", "-hi", "task", "--", "*.py", ":!tests/test_rename.py")
    left = subprocess.check_output(grep, cwd=copy, text=True)
    library = r"asyncio\.|TaskGroup|(loop|group)\.create_task|_asgi_task"
    assert [line for line in left.splitlines() if not re.search(library, line)] == []
    # Those that are about the resource; the whole suite would take this one's time again.
    tests = ("tests/models", "tests/routers/test_notes.py", "tests/routers/test_lists.py")
    for command in (("ruff", "check"), ("mypy", "."), ("pytest", "-q", "-n", "2", *tests)):
        done = run(copy, sys.executable, "-m", *command)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("names", [("class", "classes"), ("Note", "notes"), ("user", "users"), ()])
def test_a_name_that_cannot_be_is_refused(copy: Path, names: tuple[str, ...]) -> None:
    refused = run(copy, "scripts/rename", *names)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert (copy / "models" / "task.py").exists()
