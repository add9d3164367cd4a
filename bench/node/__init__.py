"""What a Node developer would write instead: Fastify, pg and jose."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent
COMMAND: Final = ("node", str(_FOLDER / "server.js"))


def install() -> bool:
    """Install its packages where they are not; False where there is no Node."""
    if not shutil.which("node") or not shutil.which("npm"):
        return False
    if not (_FOLDER / "node_modules").is_dir():
        subprocess.run(("npm", "ci", "--silent"), cwd=_FOLDER, check=True)
    return True
