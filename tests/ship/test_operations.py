"""Tests that docs/operations.md says what is so, and of its promise about rolling back."""

import logging
import re
from pathlib import Path

import httpx
import pytest
from uvicorn import Config

from core import database, driver, middleware
from core.http_protocol import MAX_HEADERS_SIZE, LimitedHttpProtocol
from core.migrations import upgrade
from models.accounts import REMEMBERED_SECONDS
from tests.conftest import MakeDatabase
from tests.support.database import execute
from tests.support.keyserver import KeyServer
from tests.support.process import ROOT, failed_start, running_process, variables
from tests.support.service import Person
from tests.support.tokens import SigningKey

PATH = ROOT / "docs" / "operations.md"
TEXT = PATH.read_text()
SAID = " ".join(TEXT.split())


def test_the_limits_are_those_of_the_code() -> None:
    protocol = LimitedHttpProtocol
    for promise in (
        f"within {protocol.header_seconds} seconds and have at most {MAX_HEADERS_SIZE // 1024} KiB",
        f"for {protocol.unread_seconds} to {2 * protocol.unread_seconds} seconds is disconnected",
        f"body has {middleware.BODY_SECONDS} seconds and {middleware.MAX_BODY_SIZE // 1024} KiB",
        f"for {protocol.linger_seconds} seconds more",
        (
            f"(after {Config('main:app').timeout_keep_alive} seconds, and"
            f" {protocol.linger_seconds} seconds after SIGTERM)"
        ),
        f"up to {driver.CONNECT_SECONDS} seconds to connect",
        f"waits up to {database.WAIT_SECONDS} seconds for a connection of the pool",
        f"a statement has {driver.STATEMENT_SECONDS} seconds",
        f"within {REMEMBERED_SECONDS} seconds which account",
    ):
        assert promise in SAID, promise


def test_nginx_is_configured_as_it_says() -> None:
    nginx = (ROOT / "docs" / "nginx.conf").read_text()
    ((idle,), (running,)) = (
        re.findall(pattern, nginx)
        for pattern in (r"\skeepalive_timeout (\d+)s;", r"\slimit_conn \w+ (\d+);")
    )
    assert f"end after {idle} seconds" in SAID
    assert f"at most {running} requests" in SAID
    assert int(idle) < LimitedHttpProtocol.linger_seconds < Config("main:app").timeout_keep_alive


def test_its_figures_are_those_of_the_benchmark() -> None:
    table = (ROOT / "bench" / "results" / "table.md").read_text()
    (measured,) = re.findall(r"^\| this service \| (.*) \|$", table, re.MULTILINE)
    _, _, after = TEXT.partition("<!-- bench: ")
    here, _, _ = after.partition("<!-- /bench -->")
    assert re.findall(r"\| ([\d,]+) \|", here) == measured.split(" | ")


def test_the_lines_to_watch_for_are_logged() -> None:
    (lines,) = re.findall(r"count these lines of the log:\* (.*?)\. \*Two", SAID)
    sources = "".join(
        each.read_text()
        for folder in ("core", "dependencies", "utils")
        for each in (ROOT / folder).glob("*.py")
    )
    for line in re.findall(r"`(.*?)`", lines):
        assert line in sources, line


def test_a_request_is_logged_with_its_fields(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    fields = re.findall(r"`(\w+)`", TEXT.partition("| field | meaning |")[2].partition("\n\n")[0])
    with caplog.at_level(logging.INFO):
        client.get("/health")
    (record,) = [each for each in caplog.records if hasattr(each, "route")]
    renamed = {"time", "level", "logger", "message", "request_id"}
    assert {name for name in fields if name not in renamed} == {
        "method", "route", "status", "milliseconds", "user_id",
    }  # fmt: skip
    assert all(hasattr(record, name) for name in fields if name not in renamed)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", TEXT):
        assert (PATH.parent / target).exists(), target


@pytest.mark.slow
def test_the_release_before_runs_on_a_newer_schema(
    make_database: MakeDatabase, key_server: KeyServer, key: SigningKey, tmp_path: Path
) -> None:
    """The newer one has added a table and columns, as migrations do."""
    url = make_database()
    upgrade(url)
    for statement in (
        "CREATE TABLE labels (id bigint PRIMARY KEY)",
        "ALTER TABLE tasks ADD COLUMN priority text",
        "ALTER TABLE users ADD COLUMN locale text DEFAULT 'en' NOT NULL",
        "UPDATE todo_backend_version SET version_num = '9999'",
    ):
        execute(url, statement)
    environment = variables(url, key_server.url)

    status, said = failed_start(tmp_path, environment)
    assert status == 3
    assert "the database's schema is of another release" in said

    rolled_back = {**environment, "MIGRATE_ON_START": "false"}
    with running_process(tmp_path, rolled_back) as (client, _):
        account = {"email": "me@example.com", "password": "a long enough one"}
        assert client.post("/api/auth/signup", json=account).status_code == 201
        person = Person(client, key)
        task = person.create(title="Buy milk")
        assert person.tasks("PATCH", f"{task['id']}/complete").status_code == 200
        assert [each["id"] for each in person.tasks("GET").json()] == [task["id"]]
        assert client.get("/health").status_code == 200
        assert client.get("/health/ready").status_code == 503
