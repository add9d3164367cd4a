"""A rolling upgrade from the release before, under load, and the way back."""

import io
import signal
import subprocess
import tarfile
import time
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.conftest import MakeDatabase
from tests.replicas.load import load
from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.nginx import running_nginx
from tests.support.process import ROOT, variables
from tests.support.replicas import replicas
from tests.support.service import Person
from tests.support.tokens import SigningKey

pytestmark = pytest.mark.serial

RELEASE_1 = "e09f22c"
"""The commit of release 1.0."""


def test_a_rolling_upgrade_and_the_way_back_under_load_fail_no_request_and_lose_nothing(
    make_database: MakeDatabase, key_server: KeyServer, key: SigningKey, tmp_path: Path
) -> None:
    """The new release migrates while two processes of release 1.0 serve."""
    # From this repository's history.
    archive = subprocess.check_output(["git", "-C", str(ROOT), "archive", RELEASE_1])
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(tmp_path / "1.0", filter="data")
    release_1 = ("--app-dir", str(tmp_path / "1.0"))
    database_url = make_database()
    with ExitStack() as running:
        three = running.enter_context(replicas(tmp_path, variables(database_url, key_server.url)))
        url = running.enter_context(running_nginx(tmp_path, [each.port for each in three]))
        for each in three:
            each.options = release_1
            each.start()
            each.await_ready()
        person = Person(running.enter_context(httpx.Client(base_url=url, timeout=30)), key)
        once = {"json": {"title": "Buy milk"}, "headers": {"Idempotency-Key": uuid4().hex}}
        created = person.tasks("POST", **once)
        for options in ((), release_1):
            with load(url, key, database_url) as responses:
                time.sleep(0.5)
                for each in three:
                    assert each.end() in (0, -signal.SIGTERM)
                    each.options = options
                    each.start()
                    each.await_ready()
                    time.sleep(0.5)
            assert {status for _, status in responses()} == {200, 201, 204}
            repeated = person.tasks("POST", **once)
            assert (repeated.status_code, repeated.json()["id"]) == (201, created.json()["id"])
    assert execute(database_url, "SELECT version_num FROM alembic_version") == [("0002",)]
    assert execute(database_url, "SELECT count(*) FROM todo_backend_version") == [(1,)]
