"""Tests of `Idempotency-Key`: a create that may be sent again."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import httpx
import pytest

from core.database import Session, make_engine
from models import task
from tests.conftest import Serve
from tests.support.problems import assert_problem
from tests.support.proxy import PostgresProxy
from tests.support.service import Person
from tests.support.tokens import SigningKey


def create(person: Person, key: str | bytes, **body: Any) -> httpx.Response:
    body = {"title": "a task", **body}
    return person.tasks("POST", json=body, headers={"Idempotency-Key": key})


def test_the_same_key_returns_the_same_task(alice: Person) -> None:
    key = uuid4().hex
    first, again = (create(alice, key, description="one") for _ in range(2))
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    for name in ("location", "etag"):
        assert again.headers[name] == first.headers[name]
    listed = alice.tasks("GET")
    assert listed.json() == [first.json()]
    assert key not in first.text + listed.text


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({}, {"title": " a task\n"}),
        ({}, {"completed": False, "description": None}),
        ({}, {"priority": "Medium", "due_date": "", "tags": None, "id": 5, "user_id": 5}),
        ({"priority": "HIGH"}, {"priority": "high"}),
        ({"due_date": "2026-12-31"}, {"due_date": "2026-12-31T01:00+01:00"}),
        ({"tags": ["a", "A"]}, {"tags": [" a "]}),
    ],
)
def test_bodies_are_compared_as_they_are_stored(
    alice: Person, one: dict[str, Any], two: dict[str, Any]
) -> None:
    key = uuid4().hex
    task = create(alice, key, **one).json()
    again = create(alice, key, **two)
    assert (again.status_code, again.json()) == (201, task)


@pytest.mark.parametrize(
    "body",
    [
        *({"title": "another"}, {"title": "A task"}, {"completed": True}, {"description": ""}),
        *({"due_date": "2026-12-31"}, {"priority": "high"}, {"tags": ["a"]}),
    ],
)
def test_another_body_with_the_same_key_is_409_and_makes_nothing(
    alice: Person, body: dict[str, Any]
) -> None:
    for one, two in (({}, body), (body, {})):
        key = uuid4().hex
        task = create(alice, key, **one).json()
        assert_problem(create(alice, key, **two), 409)
        assert alice.tasks("GET", task["id"]).json() == task
    assert len(alice.tasks("GET").json()) == 2


def test_the_body_is_compared_with_that_of_the_first_call_and_the_key_goes_with_the_task(
    alice: Person,
) -> None:
    key = uuid4().hex
    task = create(alice, key).json()
    changed = alice.tasks("PATCH", task["id"], json={"title": "changed"}).json()
    again = create(alice, key)
    assert (again.status_code, again.json()) == (201, changed)
    assert_problem(create(alice, key, title="changed"), 409)
    alice.tasks("DELETE", task["id"])
    second = create(alice, key, title="another")
    assert second.status_code == 201
    assert alice.tasks("GET").json() == [second.json()]
    assert second.json()["id"] != task["id"]


def test_two_users_may_use_the_same_key(alice: Person, bob: Person) -> None:
    key = uuid4().hex
    for person, title in ((alice, "hers"), (bob, "his")) * 2:
        response = create(person, key, title=title)
        assert response.status_code == 201
        assert person.tasks("GET").json() == [response.json()]


@pytest.mark.parametrize("text", ["x", "!", "~" * 255, "';+DROP+TABLE+tasks;+--"])
def test_a_key_is_1_to_255_visible_ascii_characters(alice: Person, text: str) -> None:
    assert [create(alice, text).status_code for _ in range(2)] == [201, 201]
    for refused in ("", "x" * 256, "a b", "é".encode("latin-1"), "é".encode(), "a\tb"):
        assert_problem(create(alice, refused), 400, "idempotency-key")
    assert len(alice.tasks("GET").json()) == 1


def test_of_concurrent_calls_one_makes_the_task_and_all_with_its_body_return_it(
    alice: Person,
) -> None:
    callers = 6
    barrier = Barrier(callers)

    def call(title: str) -> tuple[int, str]:
        barrier.wait()
        response = create(alice, key, title=title)
        return response.status_code, response.json().get("title")

    with ThreadPoolExecutor(callers) as threads:
        for n in range(1, 6):
            key = uuid4().hex
            assert list(threads.map(call, ["same"] * callers)) == [(201, "same")] * callers
            assert len(alice.tasks("GET").json()) == n
        key = uuid4().hex
        won, *lost = sorted(threads.map(call, "abcdef"))
    assert won[0] == 201
    assert {status for status, _ in lost} == {409}
    assert len(alice.tasks("GET").json()) == n + 1


def test_a_create_with_a_key_beside_others_and_deletions_always_has_a_task(
    alice: Person, database_url: str
) -> None:
    """It lost to another create, which a deletion removed, and then to a third one."""

    async def work() -> None:
        engine = make_engine(database_url, 10)
        values = {"title": "a task", "completed": False}

        async def create_many() -> None:
            for _ in range(30):
                async with Session(engine) as session:
                    assert await task.create_task(session, alice.id, values, key="one")

        async def delete_many() -> None:
            for _ in range(60):
                async with Session(engine) as session:
                    await task.delete_tasks(session, alice.id, {})

        await asyncio.gather(*(create_many() for _ in range(7)), *(delete_many() for _ in range(3)))
        await engine.dispose()

    asyncio.run(work())


def test_a_create_whose_acknowledgement_is_lost_is_sent_again_with_a_key_alone(
    proxy: PostgresProxy, serve: Serve, key: SigningKey
) -> None:
    carol = Person(serve(proxy.url), key)

    def inserts() -> int:
        return sum("INSERT INTO tasks" in statement for statement in proxy.statements)

    proxy.swallow = "INSERT INTO tasks"
    assert_problem(create(carol, "once"), 503)
    # The service itself has tried a second time.
    assert inserts() == 2
    assert_problem(carol.tasks("POST", json={"title": "no key"}), 503)
    assert inserts() == 3
    proxy.swallow = None
    again = create(carol, "once")
    assert again.status_code == 201
    keyless, task = carol.tasks("GET").json()
    assert (keyless["title"], task) == ("no key", again.json())
