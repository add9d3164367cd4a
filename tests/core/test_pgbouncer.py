"""Tests through a real PgBouncer in transaction mode, which is what Neon's pooled host is."""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import make_url
from sqlmodel import func, select

from core.database import Session
from tests.conftest import MakeDatabase, Serve
from tests.support.database import run_in_session
from tests.support.keyserver import KeyServer
from tests.support.pgbouncer import running_pgbouncer
from tests.support.problems import assert_problem
from tests.support.process import failed_start, running_server, variables
from tests.support.service import Person
from tests.support.tokens import SigningKey

pytestmark = pytest.mark.slow


@pytest.fixture
def direct(make_database: MakeDatabase) -> str:
    return make_database()


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
        with running_server(tmp_path, {**address("localhost"), **trusting}) as server:
            assert server.client.get("/health/ready").status_code == 200
        for environment, cause in (
            (address("localhost"), "certificate verify failed"),
            ({**address("127.0.0.1"), **trusting}, "does not match host name"),
        ):
            status, output = failed_start(tmp_path, environment)
            assert status == 3
            assert re.search(f"DATABASE_URL: .*{cause}", output)
            assert "Traceback" not in output


def test_a_statement_longer_than_the_socket_takes_at_once_is_sent_whole_also_through_tls(
    direct: str, tmp_path: Path
) -> None:
    async def length_of_5_megabytes(session: Session) -> int:
        length: int = (await session.exec(select(func.length("x" * 5_000_000)))).one()
        return length

    with running_pgbouncer(direct, tmp_path) as (pooled, _):
        with closing(psycopg2.connect(pooled)) as connection:
            assert connection.info.ssl_in_use
        for url in (direct, pooled):
            assert run_in_session(url, length_of_5_megabytes) == 5_000_000


def test_every_task_endpoint_works_though_each_statement_may_have_another_connection(
    direct: str, tmp_path: Path, serve: Serve, key: SigningKey
) -> None:
    """The service knows the pooled host alone, which is killed and started again in the end."""

    def live(person: Person) -> None:
        for _ in range(5):
            task = person.create(title="a task")
            assert person.tasks("GET", task["id"]).json() == task
            assert person.tasks("PUT", task["id"], json={"title": "new"}).status_code == 200
            assert person.tasks("PATCH", task["id"], json={"completed": True}).status_code == 200
            assert person.tasks("PATCH", f"{task['id']}/complete").json()["completed"] is False
            assert person.tasks("DELETE", task["id"]).status_code == 204
        person.create()

    with running_pgbouncer(direct, tmp_path) as (url, process):
        client = serve(url, migrate_on_start=True)
        people = [Person(client, key) for _ in range(4)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(live, people * 2))
        process.kill()
        process.wait()
        for method, options in (("GET", {}), ("POST", {"json": {"title": "lost"}})):
            assert_problem(people[0].tasks(method, **options), 503)
    with running_pgbouncer(direct, tmp_path, make_url(url).port):
        assert [len(person.tasks("GET").json()) for person in people] == [2] * 4
        people[0].create()
