"""What the front end is made with: npm's packages, compiled, and a browser; each made once."""

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
BIN = FOLDER / "node_modules" / ".bin"


def run(
    *command: str | Path, cwd: Path = FOLDER, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program to its end and give what it printed; fails with all of that."""
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
def only_one(purpose: str) -> Iterator[None]:
    """Let whoever else wants to touch this file's products wait."""
    with (FOLDER / purpose).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build() -> None:
    """Install what package-lock.json says and compile the set-ups, where anything has changed."""
    need("npm", "install Node.js 20.9 or newer, with npm (https://nodejs.org/en/download)")
    with only_one("package.json"):
        lock = FOLDER / "package-lock.json"
        if _changed(FOLDER / "node_modules" / ".installed", lock):
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            _note(FOLDER / "node_modules" / ".installed", lock)
        sources = [lock, *FOLDER.glob("*.ts"), *FOLDER.glob("*/*.ts"), *FOLDER.glob("ts*.json")]
        sources = [each for each in sources if each.name != "next-env.d.ts"]
        if _changed(FOLDER / "build" / ".built", *sources):
            shutil.rmtree(FOLDER / "build", ignore_errors=True)
            run(BIN / "tsc", "--project", "tsconfig.server.json")
            _note(FOLDER / "build" / ".built", *sources)


def _changed(note: Path, *sources: Path) -> bool:
    return not note.exists() or note.read_text() != _digest(*sources)


def _note(note: Path, *sources: Path) -> None:
    note.write_text(_digest(*sources))


def _digest(*sources: Path) -> str:
    return sha256(b"\0".join(each.read_bytes() for each in sorted(sources))).hexdigest()
