"""Install the example front end's npm packages and compile its set-ups, each once."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from tests.support.programs import need

FOLDER = Path(__file__).parent
EXAMPLE = FOLDER.parents[1] / "examples" / "nextjs"
BIN = EXAMPLE / "node_modules" / ".bin"


def run(
    *command: str | Path, cwd: Path = EXAMPLE, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program to its end and return what it printed; fail with all of that."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}"
    return done.stdout


@contextmanager
def only_one(name: str) -> Iterator[None]:
    """Hold a lock on a file of the example, so that parallel workers wait for each other."""
    with (EXAMPLE / name).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build() -> None:
    """Install what package-lock.json names and compile the set-ups, where anything has changed."""
    need("npm", "install Node.js 20.9 or newer, with npm (https://nodejs.org/en/download)")
    with only_one("package.json"):
        lock = EXAMPLE / "package-lock.json"
        if _changed(EXAMPLE / "node_modules" / ".installed", lock):
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            _note(EXAMPLE / "node_modules" / ".installed", lock)
        # The compiled files and the misconfigurations find the example's packages here.
        link = FOLDER / "node_modules"
        if not link.is_symlink():
            link.symlink_to(EXAMPLE / "node_modules")
        sources = [
            *(lock, EXAMPLE / "tsconfig.json", FOLDER / "tsconfig.json"),
            *(EXAMPLE / "lib").glob("*.ts"),
            *FOLDER.glob("*.ts"),
            *FOLDER.glob("misconfigurations/*.ts"),
        ]
        if _changed(FOLDER / "build" / ".built", *sources):
            shutil.rmtree(FOLDER / "build", ignore_errors=True)
            run(BIN / "tsc", "--project", FOLDER / "tsconfig.json")
            _note(FOLDER / "build" / ".built", *sources)


def _changed(note: Path, *sources: Path) -> bool:
    return not note.exists() or note.read_text() != _digest(*sources)


def _note(note: Path, *sources: Path) -> None:
    note.write_text(_digest(*sources))


def _digest(*sources: Path) -> str:
    return sha256(b"\0".join(each.read_bytes() for each in sorted(sources))).hexdigest()
