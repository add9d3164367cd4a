"""Build the image with buildah, without a daemon, and run it as a container engine would.

The base image is a stand-in, because a registry of images cannot be reached from everywhere: a
Debian of the same release by debootstrap, with a copy of the Python that runs the tests. Making it
takes half a minute, so it is kept in `~/.cache/todo-backend`.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.process import ROOT
from tests.support.programs import need_package, run

CACHE = Path.home() / ".cache" / "todo-backend"
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
# What the modules of the copied Python are linked with, and what the real image has besides.
PACKAGES = (
    "ca-certificates netbase tzdata"
    " libbz2-1.0 libffi8 liblzma5 libreadline8t64 libsqlite3-0 libssl3t64 zlib1g"
)
# A container gets these of its engine; everything else below `/` is read-only.
ISOLATED = """
set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount --rbind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
mount -o remount,bind,ro "$ROOT"
exec chroot --userspec="$OWNER" --groups= "$ROOT" env -i -C "$FOLDER" "$@"
"""


class Store:
    """A folder of buildah's own, with the stand-in in it."""

    def __init__(self, folder: Path) -> None:
        self._options = ("--root", folder / "images", "--runroot", folder / "run")

    def buildah(self, *arguments: str | Path) -> str:
        """Run buildah on this store."""
        return run("buildah", *self._options, *arguments).strip()

    @contextmanager
    def container(self, image: str) -> Iterator[tuple[str, Path]]:
        """Make a container of an image, and yield its name and its root file system."""
        name = self.buildah("from", "--pull-never", image)
        try:
            yield name, Path(self.buildah("mount", name))
        finally:
            self.buildah("rm", name)


@contextmanager
def store_with_base_image() -> Iterator[Store]:
    """Return a store that has the stand-in, and make that first where it is missing."""
    if os.geteuid() != 0 or Path(sys.base_prefix) == Path("/usr"):
        unavailable = pytest.fail if "CI" in os.environ else pytest.skip
        unavailable("the image is built by root, with a Python outside of /usr (uv's, pyenv's)")
    for program in ("buildah", "debootstrap"):
        need_package(program)
    (base,) = set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    made_by = [Path(__file__), "/" / CERTIFICATES]
    digest = sha256(b"\0".join(each.read_bytes() for each in made_by if each.exists()))
    digest.update(f"{base} {sys.version} {sys.base_prefix}".encode())
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / f"image-{digest.hexdigest()[:16]}"
    complete = folder / "complete"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            for old in CACHE.glob("image-*"):
                shutil.rmtree(old)
        store = Store(folder)
        if not complete.exists():
            _make_base_image(store, base)
            complete.touch()
        yield store


def _make_base_image(store: Store, name: str) -> None:
    """Make an image of Debian and Python, by the name that `python:3.12-slim-…` has."""
    suite = name.rpartition("-")[2]
    with store.container("scratch") as (container, root):
        packages = ",".join(PACKAGES.split())
        run("debootstrap", "--variant=minbase", f"--include={packages}", suite, root)
        for each in ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt"):
            shutil.rmtree(root / each)
        for lists in (root / "var/lib/apt/lists").glob("*_*"):
            lists.unlink()
        _copy_python(root / "usr/local")
        settings = []
        if ("/" / CERTIFICATES).exists():
            # Of a machine that reaches package indexes through a proxy, for instance.
            shutil.copyfile("/" / CERTIFICATES, root / CERTIFICATES)
            for variable in ("PIP_CERT", "SSL_CERT_FILE"):
                settings += ["--env", f"{variable}=/{CERTIFICATES}"]
        run("chroot", root, "ldconfig")
        run("chroot", root, "python3", "-m", "ensurepip", "--default-pip")
        path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        store.buildah("config", "--env", f"PATH={path}", *settings, container)
        store.buildah("commit", "--quiet", container, f"docker.io/library/{name}")


def _copy_python(folder: Path) -> None:
    """Copy the Python that runs the tests: it finds its modules from where its program is."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    source = Path(sys.base_prefix)
    shutil.copytree(
        source / "lib" / version,
        folder / "lib" / version,
        ignore=shutil.ignore_patterns(
            *("test", "idlelib", "tkinter", "_tkinter*", "config-*", "lib2to3", "pydoc_data"),
            *("site-packages", "EXTERNALLY-MANAGED", "__pycache__"),
        ),
        dirs_exist_ok=True,
    )
    (folder / "lib" / version / "site-packages").mkdir()
    for library in (source / "lib").glob("libpython*.so*"):
        shutil.copy2(library, folder / "lib", follow_symlinks=False)
    shutil.copy2(source / "bin" / version, folder / "bin")
    for name in ("python3", "python"):
        (folder / "bin" / name).symlink_to(version)


class Image:
    """The built image: what its configuration says, and a container's root file system."""

    def __init__(self, root: Path, config: Mapping[str, Any]) -> None:
        self.root = root
        self.config = config
        self.folder = root / config["WorkingDir"].lstrip("/")

    def start(
        self, *command: str, variables: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a command in a container with a read-only root file system, as process 1 there.

        The network is this machine's. Without a command it is the image's own.
        """
        environment = [*self.config["Env"], *(f"{name}={at}" for name, at in variables.items())]
        with log.open("w") as stderr:
            return subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                    *("sh", "-c", ISOLATED, "sh"),
                    *(*environment, *(command or self.config["Cmd"])),
                ],
                env={
                    **os.environ,
                    "ROOT": str(self.root),
                    "OWNER": self.config["User"],
                    "FOLDER": self.config["WorkingDir"],
                },
                stdout=stderr,
                stderr=stderr,
            )

    def run(self, *command: str, log: Path, **variables: str) -> tuple[int, str]:
        """Run a command to its end; returns its status and its output."""
        with self.start(*command, variables=variables, log=log) as process:
            status = process.wait(60)
        return status, log.read_text()


def main_process(container: subprocess.Popen[bytes]) -> psutil.Process:
    """Return the process that is number 1 in a container."""
    (process,) = psutil.Process(container.pid).children()
    return process


@contextmanager
def built_image() -> Iterator[Image]:
    """Build the Dockerfile's image, and delete it at the end."""
    with store_with_base_image() as store:
        name = "localhost/todo-backend"
        store.buildah("build", "--isolation=chroot", "--format=docker", "-t", name, ROOT)
        try:
            described = json.loads(store.buildah("inspect", "--type=image", name))
            with store.container(name) as (_, root):
                yield Image(root, described["Docker"]["config"])
        finally:
            store.buildah("rmi", name)
