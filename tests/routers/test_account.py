"""Tests of leaving: deletion of an account, its export, and tokens that are left over."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import httpx

from models.accounts import AccountResolver
from tests.conftest import Serve, SignIn
from tests.support.database import Activity, execute, wait_until
from tests.support.problems import assert_problem
from tests.support.rows import insert_tasks
from tests.support.service import Person, replacing
from tests.support.tokens import SigningKey


def delete(person: Person) -> None:
    response = person.call("DELETE", "/api/auth/me")
    assert (response.status_code, response.content) == (204, b"")


def me(client: httpx.Client, token: str) -> httpx.Response:
    return client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})


# Deletion


def test_deletion_takes_the_account_and_all_its_tasks_and_nothing_of_anybody_else(
    alice: Person, bob: Person, database_url: str
) -> None:
    alice.create()
    task = bob.create()
    delete(alice)
    for table, column in (("users", "id"), ("tasks", "user_id")):
        statement = f"SELECT FROM {table} WHERE {column} = %s"
        assert execute(database_url, statement, alice.id) == []
    assert bob.tasks("GET").json() == [task]


def test_after_a_deletion_the_remaining_tokens_are_of_no_use(
    sign_in: SignIn, key: SigningKey, database_url: str
) -> None:
    subject = uuid4().hex
    carol = sign_in(sub=subject)
    now = int(time.time())
    # Up to ten seconds later, too: clocks differ, and a deletion takes its time.
    others = [key.token(sub=subject, iat=iat) for iat in (None, now - 100, now, now + 9)]
    others.append(key.token(sub=subject, iat=now - 5, email="another@example.com"))
    delete(carol)
    for token in (carol.token, *others):
        for _ in range(2):
            assert_problem(me(carol.client, token), 401)
    assert_problem(carol.tasks("POST", json={"title": "a task"}), 401)
    assert_problem(carol.call("DELETE", "/api/auth/me"), 401)
    assert execute(database_url, "SELECT 1 FROM users WHERE auth_subject = %s", subject) == []


def test_a_later_token_makes_a_new_and_empty_account(sign_in: SignIn, database_url: str) -> None:
    claims = {"sub": uuid4().hex, "email": f"{uuid4().hex}@example.com"}
    carol = sign_in(**claims)
    carol.create()
    delete(carol)
    execute(database_url, "UPDATE deleted_subjects SET deleted_at = deleted_at - interval '12 s'")
    again = sign_in(**claims, iat=int(time.time()))
    assert again.id != carol.id
    assert again.tasks("GET").json() == []
    assert again.account()["email"] == claims["email"]


def test_an_older_token_does_not_take_over_a_later_sign_up(sign_in: SignIn) -> None:
    email = f"{uuid4().hex}@example.com"
    carol = sign_in(email=email, emailVerified=True)
    delete(carol)
    credentials = {"email": email, "password": "correct horse battery"}
    assert carol.client.post("/api/auth/signup", json=credentials).status_code == 201
    assert_problem(carol.call("GET", "/api/auth/me"), 401)
    assert carol.client.post("/api/auth/login", json=credentials).status_code == 200


def test_the_mark_is_of_the_end_of_the_deletion(
    own_database: str, serve: Serve, key: SigningKey
) -> None:
    carol = Person(serve(own_database), key)
    carol.create()
    with (
        closing(Activity(own_database)) as activity,
        ThreadPoolExecutor(1) as thread,
        activity.locking("SELECT FROM tasks FOR UPDATE"),
    ):
        deletion = thread.submit(delete, carol)
        activity.await_waiting(1)
        released_at = execute(own_database, "SELECT clock_timestamp()")[0][0]
        activity.unlock()
        deletion.result()
    assert execute(
        own_database, "SELECT 1 FROM deleted_subjects WHERE deleted_at > %s", released_at
    )


def test_an_account_of_sign_up_is_gone_with_its_number_and_password(
    client: httpx.Client, key: SigningKey
) -> None:
    credentials = {"email": f"{uuid4().hex}@example.com", "password": "correct horse battery"}
    account = client.post("/api/auth/signup", json=credentials).json()
    carol = Person(client, key, sub=str(account["id"]), email=credentials["email"])
    delete(carol)
    assert_problem(carol.call("GET", "/api/auth/me"), 404)
    assert_problem(client.post("/api/auth/login", json=credentials), 401)
    assert client.post("/api/auth/signup", json=credentials).json()["id"] != account["id"]


def test_a_replica_that_remembers_the_account_shows_nothing_and_soon_refuses_the_token(
    alice: Person, serve: Serve
) -> None:
    replica = serve(adapt=replacing(resolver=lambda: AccountResolver(remembered_seconds=0.5)))
    alice.create()
    assert me(replica, alice.token).status_code == 200
    delete(alice)
    path = f"/api/{alice.id}/tasks"
    for method in ("GET", "POST"):
        response = replica.request(method, path, json={"title": "a task"}, headers=alice.headers)
        assert response.status_code in {401, 404}
    wait_until(lambda: me(replica, alice.token).status_code == 401, 3)
    assert_problem(replica.get(path, headers=alice.headers), 401)


def test_the_mark_of_a_deletion_names_no_user_and_goes_after_30_days(
    sign_in: SignIn, database_url: str
) -> None:
    marks = "SELECT * FROM deleted_subjects"
    execute(database_url, "DELETE FROM deleted_subjects")
    subject = uuid4().hex
    delete(sign_in(sub=subject, email="carol-who-leaves@example.com"))
    ((digest, _),) = execute(database_url, marks)
    assert subject not in str(digest)
    assert "carol" not in str(execute(database_url, marks))
    execute(database_url, "UPDATE deleted_subjects SET deleted_at = now() - interval '31 days'")
    delete(sign_in())
    ((left, _),) = execute(database_url, marks)
    assert left != digest


# Export


def test_the_export_is_a_file_with_all_that_is_stored_but_the_hash(
    sign_in: SignIn, bob: Person, database_url: str
) -> None:
    subject = f"auth|{uuid4().hex}"
    alice = sign_in(sub=subject)
    bob.create(title="of bob")
    tasks = [alice.create(title="one", description="é", completed=True)]
    key = uuid4().hex
    headers = {"Idempotency-Key": key}
    tasks.append(alice.tasks("POST", json={"title": "two"}, headers=headers).json())
    response = alice.call("GET", "/api/auth/me/export")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-disposition"].startswith("attachment")
    export = alice.export()
    assert export["account"] == {**alice.account(), "auth_subject": subject}
    assert [{name: task[name] for name in tasks[0]} for task in export["tasks"]] == tasks
    assert [task["idempotency_key"] for task in export["tasks"]] == [None, key]
    # Every column is there, the hash excepted; tests/models/test_columns.py has those of tasks.
    statement = "SELECT column_name FROM information_schema.columns WHERE table_name = 'users'"
    columns = {name for (name,) in execute(database_url, statement)}
    assert set(export["account"]) == columns - {"password_hash"}


def test_a_long_export_is_streamed(alice: Person, database_url: str) -> None:
    insert_tasks(database_url, alice.id, 2500)
    response = alice.call("GET", "/api/auth/me/export")
    assert response.headers["transfer-encoding"] == "chunked"
    assert [task["id"] for task in response.json()["tasks"]] == [
        task["id"] for task in alice.tasks("GET", params={"order": "asc"}).json()
    ]
