"""A rolling upgrade from the release before, under load, and the way back."""

import io
import signal
import subprocess
import tarfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import MakeDatabase
from tests.replicas.load import load
from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.nginx import running_nginx
from tests.support.process import ROOT, variables
from tests.support.replicas import Replica, replicas
from tests.support.tokens import SigningKey

pytestmark = pytest.mark.serial

RELEASE_BEFORE = "6a50950"
REVISION_BEFORE, REVISION = "0001", "0002"
ENDED = (0, -signal.SIGTERM)


@pytest.fixture(scope="module")
def release_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the code of the release before, from this repository's history."""
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", RELEASE_BEFORE], check=True, capture_output=True
    ).stdout
    folder = tmp_path_factory.mktemp("release") / "before"
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def options(release_before: Path) -> tuple[str, ...]:
    """Return the options of uvicorn that run the release before."""
    return ("--app-dir", str(release_before), "--http", "utils.connections:BoundedProtocol")


def revision(database_url: str) -> str:
    ((name,),) = execute(database_url, "SELECT version_num FROM alembic_version")
    return str(name)


def test_a_rolling_upgrade_and_the_way_back_under_load_fail_no_request_and_lose_nothing(
    release_before: Path,
    make_database: MakeDatabase,
    key_server: KeyServer,
    key: SigningKey,
    tmp_path: Path,
) -> None:
    """The new release migrates while two processes of the one before serve.

    The release before does not know the newer revision: started again on it, it must not migrate,
    and its /health/ready stays 503, so that /health tells when it serves.
    """
    database_url = make_database()
    environment = variables(database_url, key_server.url)
    before = options(release_before)

    def restart(replica: Replica, *, is_new: bool) -> None:
        assert replica.end() in ENDED
        replica.options = () if is_new else before
        replica.environment = (
            environment if is_new else {**environment, "MIGRATE_ON_START": "false"}
        )
        replica.start()
        replica.await_ready("/health/ready" if is_new else "/health")

    with ExitStack() as running:
        three = running.enter_context(replicas(tmp_path, environment))
        url = running.enter_context(running_nginx(tmp_path, [each.port for each in three]))
        for each in three:
            each.options = before
            each.start()
        for each in three:
            each.await_ready()
        assert revision(database_url) == REVISION_BEFORE
        for is_new in (True, False):
            with load(url, key, database_url) as answers:
                time.sleep(0.5)
                for each in three:
                    restart(each, is_new=is_new)
                    time.sleep(0.5)
            assert {status for _, status in answers()} == {200, 201, 204}
            assert revision(database_url) == REVISION


def test_the_release_before_refuses_to_migrate_a_newer_schema(
    release_before: Path, database_url: str, key_server: KeyServer, tmp_path: Path
) -> None:
    """It ends with one line, before it serves: a roll-back needs MIGRATE_ON_START=false."""
    environment = variables(database_url, key_server.url)
    with replicas(tmp_path, environment, 1) as (replica,):
        replica.options = options(release_before)
        replica.start()
        assert replica.await_end() == 3, replica.log()
        assert "schema is of another release" in replica.log()
        assert "Traceback" not in replica.log()
    assert revision(database_url) == REVISION
