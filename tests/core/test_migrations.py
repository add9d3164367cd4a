"""Tests of the schema's revisions, on databases of their own."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import make_url

from core.migrations import find_fault, upgrade
from core.settings import StartupError
from tests.conftest import MakeDatabase
from tests.support.database import execute, run_in_session, wait_until
from tests.support.keyserver import KeyServer
from tests.support.pgbouncer import running_pgbouncer
from tests.support.problems import assert_problem
from tests.support.process import ROOT, start, variables
from tests.support.service import make_settings, running_service

RELEASE_1 = "0002"
"""The newest revision of release 1.0."""

INDEX = "tasks_user_id_id"
NEW_USER = "INSERT INTO users (email, password_hash) VALUES ('a@example.com', 'x')"
NEW_TASK = "INSERT INTO tasks (user_id, title, completed) VALUES (1, %s, false)"
Route = Callable[[str], str]


@pytest.fixture(params=["direct", "PgBouncer"])
def route(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Route]:
    """Return what leads to a database: its own address, or that of a new PgBouncer."""
    with ExitStack() as running:

        def lead(url: str) -> str:
            if request.param == "direct":
                return url
            folder = tmp_path / uuid4().hex
            folder.mkdir(mode=0o755)
            return running.enter_context(running_pgbouncer(url, folder))[0]

        yield lead


def configure(url: str, folder: Path = ROOT) -> Config:
    """Return what the commands of Alembic need to run the revisions in a folder."""
    return Config(toml_file=folder / "pyproject.toml", attributes={"url": url})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of what a developer changes to change the schema."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "migrations", folder / "migrations")
    shutil.copytree(ROOT / "models", folder / "models")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def add_revision(project: Path, *lines: str) -> None:
    """Write revision 9998, with the lines of its `upgrade`."""
    head = ScriptDirectory.from_config(configure("", project)).get_current_head()
    body = "".join(f"    {line}\n" for line in lines)
    (project / "migrations" / "versions" / "9998_another.py").write_text(
        f"from alembic import op\n\nrevision = '9998'\ndown_revision = '{head}'\n\n\n"
        f"def upgrade():\n{body}"
    )


def alembic(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Alembic's command in a process of its own, as a developer does."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        check=False,
        cwd=folder,
        env={"DATABASE_URL": url, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def newest(url: str) -> bool:
    return run_in_session(url, find_fault) is None


def assert_stopped(url: str, *named: str) -> None:
    """Check that the start is stopped with one line that names this."""
    with pytest.raises(StartupError) as raised:
        upgrade(url)
    assert "\n" not in str(raised.value)
    assert all(each in str(raised.value) for each in named)


def tables(url: str) -> set[str]:
    found = execute(url, "SELECT schemaname || '.' || tablename FROM pg_tables")
    return {name for (name,) in found if not name.startswith(("pg_catalog", "information_schema"))}


@pytest.mark.parametrize(
    ("wanted", "lock"),
    [
        ("another process", "SELECT pg_advisory_xact_lock(500085059378)"),
        ("a lock on tasks", "SELECT FROM tasks"),
    ],
)
@pytest.mark.slow
def test_a_start_that_waits_says_what_for_and_ends_by_sigterm(
    make_database: MakeDatabase, tmp_path: Path, wanted: str, lock: str
) -> None:
    url = make_database()
    command.upgrade(configure(url), "0001")
    log = tmp_path / "log"
    with closing(psycopg2.connect(url)) as holder, log.open("w") as writing:
        holder.cursor().execute(lock)
        environment = variables(url, "http://localhost:1/jwks")
        with start(tmp_path, environment, log=writing) as process:
            try:
                wait_until(lambda: f"waiting for {wanted}" in log.read_text(), 60)
                process.send_signal(signal.SIGTERM)
                began = time.monotonic()
                assert process.wait(30) != 0
                assert time.monotonic() - began < 5
            finally:
                process.kill()
    assert "Traceback" not in log.read_text()
    assert not newest(url)


@pytest.mark.slow
def test_requests_are_served_while_a_revision_waits_for_a_long_transaction(
    make_database: MakeDatabase, route: Route, caplog: pytest.LogCaptureFixture
) -> None:
    url = make_database()
    command.upgrade(configure(url), "0001")
    execute(url, NEW_USER)
    with ThreadPoolExecutor(1) as threads, closing(psycopg2.connect(url)) as holder:
        pid = holder.info.backend_pid
        holder.cursor().execute("SELECT FROM tasks")
        migration = threads.submit(upgrade, route(url))
        longest = 0.0
        began = time.monotonic()
        while time.monotonic() - began < 5:
            asked = time.monotonic()
            execute(url, NEW_TASK, "served")
            longest = max(longest, time.monotonic() - asked)
            time.sleep(0.05)
        assert not migration.done()
        holder.rollback()
        migration.result(30)
    # Behind the revision, and not for as long as it waits.
    assert 1 < longest < 3
    assert f"a lock on tasks that process {pid} " in caplog.text
    assert newest(url)


@pytest.mark.slow
def test_a_half_built_index_is_built_anew_and_several_processes_may_try(
    make_database: MakeDatabase, route: Route, project: Path
) -> None:
    url = make_database()
    upgrade(url)
    execute(url, f"DROP INDEX {INDEX}")
    add_revision(
        project,
        "with op.get_context().autocommit_block():",
        f"    op.create_index('{INDEX}', 'tasks', ['title'], if_not_exists=True,",
        "        postgresql_concurrently=True)",
    )
    routed = route(url)

    def run() -> int:
        return alembic(project, routed, "upgrade", "head").returncode

    def index() -> list[tuple[bool]]:
        return execute(
            url, "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", INDEX
        )

    with ThreadPoolExecutor(3) as threads, closing(psycopg2.connect(url)) as holder:
        # A write that has not ended holds up a concurrent index, which does not hold up others.
        holder.cursor().execute("LOCK TABLE tasks IN ROW EXCLUSIVE MODE")
        killed = threads.submit(run)
        wait_until(lambda: index() == [(False,)], 60)
        execute(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'CREATE INDEX%%'",
        )
        assert killed.result(60) != 0
        assert index() == [(False,)]
        several = [threads.submit(run) for _ in range(3)]
        time.sleep(3)
        execute(url, "UPDATE tasks SET title = title")
        holder.rollback()
        assert [each.result(60) for each in several] == [0, 0, 0]
    assert index() == [(True,)]
    assert execute(url, "SELECT version_num FROM todo_backend_version") == [("9998",)]


BETTER_AUTH = "CREATE TABLE users (id text PRIMARY KEY, email text, name text)"
COURSE_PROJECT = """
CREATE TABLE users (id serial PRIMARY KEY, email varchar, password_hash varchar);
CREATE TABLE tasks (id serial PRIMARY KEY, user_id int, title varchar);
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0002')
"""
# The revision before has made its tables when this one is met.
VIEW = "CREATE VIEW deleted_subjects AS SELECT 1 AS id"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statements", "named"),
    [(BETTER_AUTH, '"users"'), (COURSE_PROJECT, '"users"'), (VIEW, '"deleted_subjects"')],
    ids=["Better Auth", "course project", "view"],
)
def test_a_foreign_table_of_the_same_name_stops_the_start_and_another_schema_is_the_way_out(
    make_database: MakeDatabase,
    route: Route,
    key_server: KeyServer,
    statements: str,
    named: str,
) -> None:
    url = make_database()
    execute(url, statements)
    before = tables(url)
    assert_stopped(route(url), named, "search_path")
    assert tables(url) == before

    execute(url, "CREATE SCHEMA todo")
    if (own := route(url)) == url:
        own += f"{'&' if '?' in url else '?'}options=-csearch_path%3Dtodo"
    else:
        role, database = make_url(url).username, make_url(url).database
        execute(url, f"ALTER ROLE {role} IN DATABASE {database} SET search_path = todo")
    with running_service(make_settings(own, key_server.url, migrate_on_start=True)) as client:
        assert client.get("/health/ready").status_code == 200
        account = {"email": "me@example.com", "password": "a long enough one"}
        assert client.post("/api/auth/signup", json=account).status_code == 201
    assert before < tables(url)
    assert all(name.startswith("todo.") for name in tables(url) - before)


def test_a_database_of_release_1_is_taken_over_and_one_of_a_newer_release_stops_the_start(
    make_database: MakeDatabase,
) -> None:
    url = make_database()
    command.upgrade(configure(url), RELEASE_1)
    execute(url, "ALTER TABLE todo_backend_version RENAME TO alembic_version")
    execute(url, "ALTER INDEX todo_backend_version_pkc RENAME TO alembic_version_pkc")
    execute(url, NEW_USER)
    execute(url, "INSERT INTO tasks (user_id, title, completed) SELECT id, 'a', true FROM users")
    assert not newest(url)
    for _ in range(2):
        upgrade(url)
        assert newest(url)
        assert execute(url, "SELECT version_num FROM alembic_version") == [(RELEASE_1,)]
    assert execute(
        url, "SELECT email, title, priority::text, due_date, tags FROM users, tasks"
    ) == [("a@example.com", "a", "medium", None, [])]
    execute(url, "UPDATE todo_backend_version SET version_num = '9999'")
    assert_stopped(url, "another release")
    assert not newest(url)


@pytest.mark.slow
def test_a_database_that_is_not_utf8_stops_the_start_with_one_line_and_serves_nothing_without_it(
    postgres: str, key_server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise some texts would be stored, and others be 500."""
    name = f"test_{uuid4().hex}"
    latin = "ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    execute(postgres, f"CREATE DATABASE {name} {latin}")
    try:
        for changed in (
            make_url(postgres).set(database=name),
            make_url(postgres).update_query_dict({"client_encoding": "latin1"}),
        ):
            url = changed.render_as_string(hide_password=False)
            assert_stopped(url, "DATABASE_URL: ", "UTF8")
            with running_service(make_settings(url, key_server.url)) as client:
                assert_problem(client.get("/health/ready"), 503)
            assert "UTF8" in caplog.text
            caplog.clear()
    finally:
        execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def test_what_a_revision_meets_is_not_blamed_on_the_address_and_quotes_no_row(
    make_database: MakeDatabase, project: Path
) -> None:
    url = make_database()
    upgrade(url)
    execute(url, NEW_USER)
    for _ in range(2):
        execute(url, NEW_TASK, "private")
    add_revision(project, 'op.create_index("tasks_title", "tasks", ["title"], unique=True)')
    with pytest.raises(CommandError, match="tasks_title") as raised:
        command.upgrade(configure(url, project), "head")
    assert "DATABASE_URL" not in str(raised.value)
    assert "private" not in str(raised.value)


def test_a_role_that_may_not_make_tables_stops_the_start_with_one_line(
    make_database: MakeDatabase,
) -> None:
    url = make_database()
    name = f"reader_{time.monotonic_ns()}"
    # The password stays that of the address: not every PostgreSQL trusts local connections.
    execute(url, f"CREATE ROLE {name} LOGIN PASSWORD %s", make_url(url).password or "")
    try:
        reader = make_url(url).set(username=name).render_as_string(hide_password=False)
        assert_stopped(reader, "permission denied")
    finally:
        execute(url, f"DROP ROLE {name}")


@pytest.mark.slow
def test_the_revisions_make_the_schema_of_the_models_and_a_new_model_is_found(
    make_database: MakeDatabase, project: Path
) -> None:
    """Its revision has a number and passes ruff; tables and revisions of others do not matter."""
    url = make_database()
    execute(
        url,
        """
        CREATE TABLE "user" (id text PRIMARY KEY);
        CREATE SCHEMA neon_auth;
        CREATE TABLE neon_auth.users (id text PRIMARY KEY);
        CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
        INSERT INTO alembic_version VALUES ('0002')
        """,
    )
    upgrade(url)
    command.downgrade(configure(url), "base")
    upgrade(url)
    assert newest(url)
    command.check(configure(url))
    (project / "models" / "label.py").write_text(
        "from sqlmodel import Field, SQLModel\n\n\n"
        "class Label(SQLModel, table=True):\n"
        "    id: int = Field(primary_key=True)\n"
    )
    numbers = [int(path.name[:4]) for path in (project / "migrations" / "versions").glob("0*.py")]
    name = f"{max(numbers) + 1:04}_tasks_have_labels.py"
    done = alembic(project, url, "revision", "--autogenerate", "-m", "tasks have labels")
    assert done.returncode == 0, done.stderr
    command.upgrade(configure(url, project), "head")
    revision = project / "migrations" / "versions" / name
    assert "create_table" in revision.read_text()
    assert '"user"' not in revision.read_text()
    subprocess.run([sys.executable, "-m", "ruff", "check", str(revision)], check=True)
    assert execute(url, "SELECT version_num FROM alembic_version") == [("0002",)]
