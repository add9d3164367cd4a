"""Tests of three replicas behind nginx, on one database and one Redis, killed and restarted."""

import signal
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg2
import pytest

from tests.conftest import MakeDatabase
from tests.replicas.load import CLIENTS, CUT, load
from tests.support.database import execute, wait_until
from tests.support.keyserver import KeyServer
from tests.support.nginx import running_nginx
from tests.support.problems import assert_problem
from tests.support.process import variables
from tests.support.redis import running_redis
from tests.support.replicas import Replica, replicas
from tests.support.service import Person
from tests.support.tokens import SigningKey

pytestmark = pytest.mark.serial

ATTEMPTS = 15
"""How many sign-ups and log-ins a client address has in a minute: more than may fail."""
PASSWORD = "correct horse battery staple"


@dataclass
class Stack:
    """Three replicas, and what is before and behind them."""

    url: str
    replicas: list[Replica]
    database_url: str


def environment(database_url: str, key_server: KeyServer, **more: str) -> dict[str, str]:
    return {**variables(database_url, key_server.url), **more}


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, key_server: KeyServer
) -> Iterator[Stack]:
    """Run three replicas, which every test leaves running."""
    folder = tmp_path_factory.mktemp("replicas")
    with ExitStack() as running:
        redis = running.enter_context(running_redis(folder))
        three = running.enter_context(
            replicas(
                folder,
                environment(
                    database_url,
                    key_server,
                    AUTH_RATE_LIMIT=f"{ATTEMPTS}/minute",
                    RATE_LIMIT_STORAGE_URL=redis.url,
                ),
            )
        )
        url = running.enter_context(running_nginx(folder, [each.port for each in three]))
        for each in three:
            each.start()
        for each in three:
            each.await_ready()
        yield Stack(url, three, database_url)


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30) as client:
        yield client


def await_locks(database_url: str, count: int) -> None:
    """Wait until that many statements wait for a lock."""
    deadline = time.monotonic() + 20
    while True:
        ((waiting,),) = execute(
            database_url,
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        if waiting >= count:
            return
        assert time.monotonic() < deadline, f"{waiting} of {count} statements wait"
        time.sleep(0.01)


def test_three_at_once_bring_an_empty_database_up_and_are_ready(
    make_database: MakeDatabase, key_server: KeyServer, tmp_path: Path
) -> None:
    url = make_database()
    blocker = psycopg2.connect(url)
    with replicas(tmp_path, environment(url, key_server)) as three:
        with blocker, blocker.cursor() as cursor:
            # To create this table the first one has to wait, and the others wait for that one.
            cursor.execute("CREATE TABLE todo_backend_version (version_num text)")
            for each in three:
                each.start()
            await_locks(url, 1)
            blocker.rollback()
        blocker.close()
        for each in three:
            each.await_ready()
            assert "ERROR" not in each.log()
    assert execute(url, "SELECT count(*) FROM todo_backend_version") == [(1,)]


def test_one_sees_at_once_what_another_has_written(
    stack: Stack, client: httpx.Client, key: SigningKey
) -> None:
    person = Person(client, key)
    with ExitStack() as clients:
        each_of_them = [
            clients.enter_context(httpx.Client(base_url=each.url, headers=person.headers))
            for each in stack.replicas
        ]
        path = f"/api/{person.id}/tasks"
        for number in range(12):
            made = person.create(title=str(number))
            for one in each_of_them:
                assert one.get(path).json()[-1] == made
            changed = person.tasks("PATCH", f"{made['id']}/complete").json()
            for one in each_of_them:
                assert one.get(f"{path}/{made['id']}").json() == changed
            if number % 2:
                assert person.tasks("DELETE", made["id"]).status_code == 204
                for one in each_of_them:
                    assert one.get(f"{path}/{made['id']}").status_code == 404


def test_the_first_requests_of_a_user_at_all_of_them_at_once_make_one_account(
    stack: Stack, client: httpx.Client, key: SigningKey
) -> None:
    for _ in range(5):
        subject = uuid4().hex
        headers = {"Authorization": f"Bearer {key.token(sub=subject)}"}
        with ThreadPoolExecutor(9) as threads:
            asked = [threads.submit(client.get, "/api/auth/me", headers=headers) for _ in range(9)]
        answers = [each.result() for each in asked]
        assert [each.status_code for each in answers] == [200] * 9
        assert len({each.json()["id"] for each in answers}) == 1
        assert execute(
            stack.database_url, "SELECT count(*) FROM users WHERE auth_subject = %s", subject
        ) == [(1,)]


# One is killed


def test_of_what_a_killed_one_was_doing_reads_are_done_again_and_writes_are_not(
    stack: Stack, client: httpx.Client, key: SigningKey
) -> None:
    person = Person(client, key)
    patched, replaced, deleted = (
        [person.create(title=f"{kind} {n}")["id"] for n in range(3)]
        for kind in ("patched", "replaced", "deleted")
    )
    requests: list[tuple[str, object, dict[str, Any]]] = [
        *(("POST", "", {"json": {"title": f"made {n}"}}) for n in range(3)),
        *(("PATCH", f"{each}/complete", {}) for each in patched),
        *(("PUT", each, {"json": {"title": f"new {each}"}}) for each in replaced),
        *(("DELETE", each, {}) for each in deleted),
        *(("GET", "", {}) for _ in range(3)),
    ]
    victim = stack.replicas[1]
    asked: list[tuple[str, Future[httpx.Response]]] = []
    blocker = psycopg2.connect(stack.database_url)
    with ThreadPoolExecutor(len(requests)) as threads, blocker, blocker.cursor() as cursor:
        cursor.execute("LOCK TABLE tasks")
        for sent, (method, path, options) in enumerate(requests):
            future = threads.submit(person.tasks, method, path, **options)
            asked.append((method, future))
            # nginx takes turns: one of each three is the victim's.
            await_locks(stack.database_url, sent + 1)
        victim.kill()
        # The statements of the victim, which PostgreSQL does not miss, and a read done again.
        await_locks(stack.database_url, len(requests) + 1)
        blocker.rollback()
    blocker.close()
    victim.start()
    answers = {
        method: sorted(each.result().status_code for kind, each in asked if kind == method)
        for method, _ in asked
    }
    assert answers == {
        "POST": [201, 201, 502],
        "PATCH": [200, 200, 502],
        "PUT": [200, 200, 502],
        "DELETE": [204, 204, 502],
        "GET": [200, 200, 200],
    }
    victim.await_ready()
    tasks = {task["id"]: task for task in person.tasks("GET").json()}
    made = [task["title"] for task in tasks.values() if task["title"].startswith("made")]
    assert sorted(made) == ["made 0", "made 1", "made 2"]
    assert all(tasks[each]["completed"] for each in patched)
    assert all(tasks[each]["title"] == f"new {each}" for each in replaced)
    assert tasks.keys().isdisjoint(deleted)


def test_one_after_another_killed_under_load_loses_and_doubles_nothing(
    stack: Stack, key: SigningKey
) -> None:
    with load(stack.url, key, stack.database_url) as answers:
        time.sleep(0.5)
        for each in stack.replicas:
            each.kill()
            # The others serve.
            enough = answers()["GET", 200] + 20
            deadline = time.monotonic() + 20
            while answers()["GET", 200] < enough:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            each.start()
            each.await_ready()
    seen: defaultdict[str, set[int]] = defaultdict(set)
    for method, status in answers():
        seen[method].add(status)
    # An answer that has begun cannot be begun again.
    assert seen["GET"] <= {200, CUT}
    assert seen["POST"] <= {201, 502, CUT}
    assert seen["PUT"] | seen["PATCH"] <= {200, 502, CUT}
    assert seen["DELETE"] <= {204, 502, CUT}
    # Only what was on its way to one that was killed.
    failures = sum(count for (_, status), count in answers().items() if status in (502, CUT))
    assert failures <= CLIENTS * len(stack.replicas)


def test_a_replica_whose_machine_is_gone_costs_a_request_a_second_and_fails_none(
    stack: Stack, client: httpx.Client, key: SigningKey
) -> None:
    person = Person(client, key)
    victim = stack.replicas[2]
    victim.kill()
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", victim.port))
        listener.listen(0)
        # With nobody to take them, one connection fills its queue, and the next has no answer.
        opened.enter_context(socket.create_connection(("127.0.0.1", victim.port)))
        began = time.monotonic()
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(lambda title: person.create(title=title), "abcdef"))
        assert 0.9 < time.monotonic() - began < 10
    victim.start()
    assert sorted(task["title"] for task in person.tasks("GET").json()) == [*"abcdef"]
    victim.await_ready()


def test_a_rolling_restart_under_load_fails_no_request(stack: Stack, key: SigningKey) -> None:
    with load(stack.url, key, stack.database_url) as answers:
        time.sleep(0.5)
        for each in stack.replicas:
            assert each.end() in (0, -signal.SIGTERM)
            each.start()
            each.await_ready()
        time.sleep(0.5)
    assert {status for _, status in answers()} == {200, 201, 204}


# Limits


def attempts(
    stack: Stack, address: str, count: int, claims: str = "192.0.2.{}", *, past: bool = False
) -> Counter[int]:
    """Try to log in from an address, with a body that is refused, which counts."""
    urls = [each.url for each in stack.replicas] if past else [stack.url]
    seen: Counter[int] = Counter()
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
        for number in range(count):
            url = f"{urls[number % len(urls)]}/api/auth/login"
            headers = {"X-Forwarded-For": claims.format(number), "X-Request-ID": f"from-{address}"}
            seen[client.post(url, json={}, headers=headers).status_code] += 1
    return seen


def await_logged(stack: Stack, text: str) -> None:
    """Wait until all replicas have logged it, which they do in the background."""
    wait_until(lambda: all(text in each.log() for each in stack.replicas))


def test_a_client_address_has_one_limit_at_all_of_them_whatever_it_says_of_itself(
    stack: Stack,
) -> None:
    for address in ("127.0.0.11", "127.0.0.12"):
        assert attempts(stack, address, ATTEMPTS + 3) == {400: ATTEMPTS, 429: 3}
        # Each of them has counted.
        await_logged(stack, f"request=from-{address}")
    # Another client's address, or the proxy's own, does not evade the limit either.
    for claims in ("127.0.0.13", "127.0.0.1", "127.0.0.13, 127.0.0.1"):
        assert attempts(stack, "127.0.0.11", 2, claims) == {429: 2}
    assert attempts(stack, "127.0.0.13", 1) == {400: 1}


def test_who_goes_past_the_proxy_has_one_limit_too_and_is_not_believed(stack: Stack) -> None:
    assert attempts(stack, "127.0.0.21", ATTEMPTS + 3, past=True) == {400: ATTEMPTS, 429: 3}


def log_in(url: str, address: str, email: str, password: str) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
        return client.post(f"{url}/api/auth/login", json={"email": email, "password": password})


def test_an_account_has_one_limit_of_failed_log_ins_from_an_address_at_all_of_them(
    stack: Stack, client: httpx.Client
) -> None:
    email = f"{uuid4().hex}@example.com"
    account = {"email": email, "password": PASSWORD}
    assert client.post("/api/auth/signup", json=account).status_code == 201
    owner, stranger = "127.0.0.31", "127.0.0.32"
    urls = [each.url for each in stack.replicas]
    failed = [
        log_in(urls[number % len(urls)], stranger, email, f"wrong {number}") for number in range(10)
    ]
    assert [each.status_code for each in failed] == [401] * 10
    for url in urls:
        answer = log_in(url, stranger, email, PASSWORD)
        assert_problem(answer, 429)
        # The limit of the account: that of the address is over within a minute.
        assert 500 < int(answer.headers["retry-after"]) <= 600
        assert log_in(url, owner, email, PASSWORD).status_code == 200
