"""Install the example front end's npm packages and compile its set-ups."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from tests.support.programs import need, run

FOLDER = Path(__file__).parent
EXAMPLE = FOLDER.parents[1] / "examples" / "nextjs"
BIN = EXAMPLE / "node_modules" / ".bin"


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
        digest = sha256((EXAMPLE / "package-lock.json").read_bytes()).hexdigest()
        note = EXAMPLE / "node_modules" / ".installed"
        if not note.exists() or note.read_text() != digest:
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=EXAMPLE)
            note.write_text(digest)
        # The compiled files and their sources find the example's packages here.
        link = FOLDER / "node_modules"
        if not link.is_symlink():
            link.symlink_to(EXAMPLE / "node_modules")
        run(BIN / "tsc", "--build", FOLDER / "tsconfig.json")
