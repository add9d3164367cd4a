"""Tests of the guides for production: their links, and the promise about rolling back."""

import re
from pathlib import Path

import pytest

from core.migrations import upgrade
from tests.conftest import MakeDatabase
from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.process import ROOT, failed_start, running_server, variables
from tests.support.service import Person
from tests.support.tokens import SigningKey


@pytest.mark.parametrize("name", ["operations.md", "deploy.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    guide = ROOT / "docs" / name
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", guide.read_text()):
        assert (guide.parent / target).exists(), target


@pytest.mark.slow
def test_the_release_before_runs_on_a_newer_schema(
    make_database: MakeDatabase, key_server: KeyServer, key: SigningKey, tmp_path: Path
) -> None:
    """The newer one has added a table and columns, as migrations do."""
    url = make_database()
    upgrade(url)
    for statement in (
        "CREATE TABLE labels (id bigint PRIMARY KEY)",
        "ALTER TABLE tasks ADD COLUMN colour text",
        "ALTER TABLE users ADD COLUMN locale text DEFAULT 'en' NOT NULL",
        "UPDATE todo_backend_version SET version_num = '9999'",
    ):
        execute(url, statement)
    environment = variables(url, key_server.url)

    status, said = failed_start(tmp_path, environment)
    assert status == 3
    assert "the database's schema is of another release" in said

    rolled_back = {**environment, "MIGRATE_ON_START": "false"}
    with running_server(tmp_path, rolled_back) as server:
        client = server.client
        account = {"email": "me@example.com", "password": "a long enough one"}
        assert client.post("/api/auth/signup", json=account).status_code == 201
        person = Person(client, key)
        task = person.create(title="Buy milk")
        assert person.tasks("PATCH", f"{task['id']}/complete").status_code == 200
        assert [each["id"] for each in person.tasks("GET").json()] == [task["id"]]
        assert client.get("/health").status_code == 200
        assert client.get("/health/ready").status_code == 503
