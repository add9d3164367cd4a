"""Test of what docs/operations.md promises about rolling back."""

from tests.conftest import Serve
from tests.support.database import execute
from tests.support.service import Person, quick_hashes
from tests.support.tokens import SigningKey


def test_the_release_before_runs_on_a_newer_schema(
    own_database: str, serve: Serve, key: SigningKey
) -> None:
    """The newer one has added a table and columns, as migrations do."""
    for statement in (
        "CREATE TABLE labels (id bigint PRIMARY KEY)",
        "ALTER TABLE tasks ADD COLUMN colour text",
        "ALTER TABLE users ADD COLUMN locale text DEFAULT 'en' NOT NULL",
        "UPDATE todo_backend_version SET version_num = '9999'",
    ):
        execute(own_database, statement)
    client = serve(own_database, adapt=quick_hashes, migrate_on_start=False)
    account = {"email": "me@example.com", "password": "a long enough one"}
    assert client.post("/api/auth/signup", json=account).status_code == 201
    person = Person(client, key)
    task = person.create(title="Buy milk")
    assert person.tasks("PATCH", f"{task['id']}/complete").status_code == 200
    assert [each["id"] for each in person.tasks("GET").json()] == [task["id"]]
    assert client.get("/health").status_code == 200
    assert client.get("/health/ready").status_code == 503
