"""Tests through a real PgBouncer in transaction mode, which is what Neon's pooled host is."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import psycopg2
import pytest
from sqlalchemy import make_url

from core.migrations import upgrade
from tests.conftest import MakeDatabase, Serve
from tests.core.test_session import length_of_5_megabytes
from tests.support.database import execute, run_in_session
from tests.support.keyserver import KeyServer
from tests.support.pgbouncer import running_pgbouncer
from tests.support.problems import assert_problem
from tests.support.process import failed_start, running_process, variables
from tests.support.service import Person
from tests.support.tokens import SigningKey


@pytest.fixture
def direct(make_database: MakeDatabase) -> str:
    return make_database()


@pytest.fixture
def pooled(direct: str, tmp_path: Path) -> Iterator[str]:
    with running_pgbouncer(direct, tmp_path) as (url, _):
        yield url


@pytest.fixture
def client(pooled: str, serve: Serve) -> httpx.Client:
    """Run a service that brings the schema up and serves through the pooled host alone."""
    return serve(pooled, migrate_on_start=True)


def test_it_refuses_what_neons_pooled_host_refuses(pooled: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="unsupported startup parameter"):
        psycopg2.connect(pooled, options="-c statement_timeout=10s")


@pytest.mark.slow
def test_a_server_is_verified_with_the_certificates_of_the_system(
    direct: str, tmp_path: Path, key_server: KeyServer
) -> None:
    """`SSL_CERT_FILE` says where they are; here they are PgBouncer's own, for localhost."""
    trusting = {"SSL_CERT_FILE": str(tmp_path / "certificate.pem")}

    def address(host: str) -> dict[str, str]:
        verified = {"sslmode": "verify-full", "sslrootcert": "system"}
        return variables(
            make_url(url).set(host=host, query=verified).render_as_string(hide_password=False),
            key_server.url,
        )

    with running_pgbouncer(direct, tmp_path) as (url, _):
        with running_process(tmp_path, {**address("localhost"), **trusting}) as (client, _):
            assert client.get("/health/ready").status_code == 200
        for environment, cause in (
            (address("localhost"), "certificate verify failed"),
            ({**address("127.0.0.1"), **trusting}, "does not match host name"),
        ):
            status, output = failed_start(tmp_path, environment)
            assert status == 3
            assert re.search(f"DATABASE_URL: .*{cause}", output)
            assert "Traceback" not in output


def test_a_statement_longer_than_the_socket_takes_at_once_is_sent_whole_through_tls(
    pooled: str,
) -> None:
    with closing(psycopg2.connect(pooled)) as connection:
        assert connection.info.ssl_in_use

    assert run_in_session(pooled, length_of_5_megabytes) == 5_000_000


def test_every_task_endpoint_works_though_each_statement_may_have_another_connection(
    client: httpx.Client, key: SigningKey
) -> None:
    people = [Person(client, key) for _ in range(4)]

    def live(person: Person) -> None:
        for _ in range(5):
            task = person.create(title="a task")
            assert person.tasks("GET", task["id"]).json() == task
            assert person.tasks("PUT", task["id"], json={"title": "new"}).status_code == 200
            assert person.tasks("PATCH", task["id"], json={"completed": True}).status_code == 200
            assert person.tasks("PATCH", f"{task['id']}/complete").json()["completed"] is False
            assert person.tasks("DELETE", task["id"]).status_code == 204
        person.create()

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(live, person) for person in people * 2]:
            done.result()
    for person in people:
        assert len(person.tasks("GET").json()) == 2


def test_every_backend_ended_at_once_costs_503s_at_most_and_no_row(
    client: httpx.Client, direct: str, key: SigningKey
) -> None:
    person = Person(client, key)
    statuses = []
    for number in range(30):
        if number % 10 == 5:
            execute(
                direct,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
        statuses.append(person.tasks("POST", json={"title": str(number)}).status_code)
    assert set(statuses) <= {201, 503}
    assert statuses.count(201) >= 20
    listed = person.tasks("GET")
    assert listed.status_code == 200
    titles = [task["title"] for task in listed.json()]
    assert len(titles) == len(set(titles))
    assert {str(number) for number, code in enumerate(statuses) if code == 201} <= set(titles)


def test_pgbouncer_killed_is_503_and_started_again_is_over(
    direct: str, tmp_path: Path, serve: Serve, key: SigningKey
) -> None:
    upgrade(direct)
    with running_pgbouncer(direct, tmp_path) as (url, process):
        person = Person(serve(url), key)
        person.create()
        process.kill()
        process.wait()
        for method, options in (("GET", {}), ("POST", {"json": {"title": "lost"}})):
            assert_problem(person.tasks(method, **options), 503)
        with running_pgbouncer(direct, tmp_path, make_url(url).port):
            assert len(person.tasks("GET").json()) == 1
            person.create()
