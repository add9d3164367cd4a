"""Tests of three replicas behind nginx, on one database and one Redis, killed and restarted."""

import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import MakeDatabase
from tests.replicas.load import CLIENTS, CUT, load
from tests.support.database import Activity, execute, wait_until
from tests.support.keyserver import KeyServer
from tests.support.nginx import running_nginx
from tests.support.problems import assert_problem
from tests.support.process import variables
from tests.support.redis import running_redis
from tests.support.replicas import Replica, replicas
from tests.support.service import Person, at_once
from tests.support.tokens import SigningKey

pytestmark = pytest.mark.serial

ATTEMPTS = 15
"""Sign-ups and log-ins of a client address in a minute: more than may fail for one account."""
Stack = tuple[str, list[Replica]]
"""The address of nginx, and the three replicas behind it."""


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, key_server: KeyServer
) -> Iterator[Stack]:
    """Run three replicas; every test leaves them running."""
    folder = tmp_path_factory.mktemp("replicas")
    with ExitStack() as running:
        environment = {
            **variables(database_url, key_server.url),
            "AUTH_RATE_LIMIT": f"{ATTEMPTS}/minute",
            "RATE_LIMIT_STORAGE_URL": running.enter_context(running_redis(folder)).url,
        }
        three = running.enter_context(replicas(folder, environment))
        url = running.enter_context(running_nginx(folder, [each.port for each in three]))
        for each in three:
            each.start()
        for each in three:
            each.await_ready()
        yield url, three


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack[0], timeout=30) as client:
        yield client


def test_three_that_start_at_once_bring_an_empty_database_up(
    make_database: MakeDatabase, key_server: KeyServer, tmp_path: Path
) -> None:
    url = make_database()
    with (
        closing(Activity(url)) as activity,
        replicas(tmp_path, variables(url, key_server.url)) as three,
    ):
        # To create this table the first one has to wait, and the others wait for that one.
        with activity.locking("CREATE TABLE todo_backend_version (version_num text)"):
            for each in three:
                each.start()
            wait_until(lambda: activity.waiting() >= 1, 60)
        for each in three:
            each.await_ready()
            assert "ERROR" not in each.log()
    assert execute(url, "SELECT count(*) FROM todo_backend_version") == [(1,)]


def test_the_first_requests_of_a_user_at_all_replicas_at_once_create_one_account(
    client: httpx.Client, key: SigningKey
) -> None:
    tokens = [key.token() for _ in range(5)]

    def account(number: int) -> Any:
        headers = {"Authorization": f"Bearer {tokens[number // 9]}"}
        return client.get("/api/auth/me", headers=headers).json()

    accounts = at_once(5 * 9, account)
    assert accounts == [accounts[9 * number] for number in range(5) for _ in range(9)]
    assert len({each["id"] for each in accounts}) == 5


# One is killed or restarted.


def test_reads_of_a_killed_replica_are_repeated_and_writes_are_not(
    stack: Stack, client: httpx.Client, key: SigningKey, database_url: str
) -> None:
    # Each sends three requests, since one account has but a share of a replica's connections.
    creator, completer, replacer, deleter, reader = (Person(client, key) for _ in range(5))
    # One at each replica, which then knows how many tasks its account has.
    _, completed, replaced, deleted = (
        [person.create()["id"] for _ in range(3)]
        for person in (creator, completer, replacer, deleter)
    )
    requests: list[tuple[Person, str, object, dict[str, Any]]] = [
        *((creator, "POST", "", {"json": {"title": f"created {n}"}}) for n in range(3)),
        *((completer, "PATCH", f"{each}/complete", {}) for each in completed),
        *((replacer, "PUT", each, {"json": {"title": "replaced"}}) for each in replaced),
        *((deleter, "DELETE", each, {}) for each in deleted),
        *((reader, "GET", "", {}) for _ in range(3)),
    ]
    victim = stack[1][1]
    sent = []
    with (
        ThreadPoolExecutor(len(requests)) as threads,
        closing(Activity(database_url)) as activity,
    ):
        with activity.locking("LOCK TABLE tasks"):
            for person, method, path, options in requests:
                sent.append(threads.submit(person.tasks, method, path, **options))
                # nginx takes turns: the victim gets one of each three.
                activity.await_waiting(len(sent))
            victim.kill()
            # PostgreSQL does not notice, and the read is sent again.
            activity.await_waiting(len(sent) + 1)
        statuses = defaultdict(list)
        for (_, method, _, _), future in zip(requests, sent, strict=True):
            statuses[method].append(future.result().status_code)
    victim.start()
    assert {method: sorted(each) for method, each in statuses.items()} == {
        "POST": [201, 201, 502],
        "PATCH": [200, 200, 502],
        "PUT": [200, 200, 502],
        "DELETE": [204, 204, 502],
        "GET": [200, 200, 200],
    }
    victim.await_ready()
    created = [task["title"] for task in creator.tasks("GET").json()]
    assert sorted(created) == ["a task"] * 3 + [f"created {n}" for n in range(3)]
    assert all(task["completed"] for task in completer.tasks("GET").json())
    assert all(task["title"] == "replaced" for task in replacer.tasks("GET").json())
    assert deleter.tasks("GET").json() == []


def test_replicas_killed_one_after_another_under_load_lose_and_double_nothing(
    stack: Stack, key: SigningKey, database_url: str
) -> None:
    url, three = stack
    with load(url, key, database_url) as counts:
        time.sleep(0.5)
        for each in three:
            each.kill()
            # The others serve.
            enough = counts()["GET", 200] + 20
            wait_until(lambda enough=enough: counts()["GET", 200] >= enough, 30)  # type: ignore[misc]
            each.start()
            each.await_ready()
    failed = {each: count for each, count in counts().items() if each[1] not in (200, 201, 204)}
    # A response that has begun cannot be repeated.
    assert {status for _, status in failed} <= {502, CUT}
    assert ("GET", 502) not in failed
    # Only requests that were on their way to a killed replica failed.
    assert sum(failed.values()) <= CLIENTS * len(three)


def test_a_replica_whose_machine_is_gone_delays_requests_and_fails_none(
    stack: Stack, client: httpx.Client, key: SigningKey
) -> None:
    person = Person(client, key)
    victim = stack[1][2]
    victim.kill()
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", victim.port))
        listener.listen(0)
        # One connection fills the queue of the listener; the next one gets no response.
        opened.enter_context(socket.create_connection(("127.0.0.1", victim.port)))
        started_at = time.monotonic()
        at_once(6, lambda number: person.create(title="abcdef"[number]))
        assert time.monotonic() - started_at > 0.9
    victim.start()
    assert sorted(task["title"] for task in person.tasks("GET").json()) == [*"abcdef"]
    victim.await_ready()


# Limits.


def log_in(url: str, address: str, forwarded_for: str = "", **body: str) -> httpx.Response:
    """Try to log in from an address of this machine."""
    headers = {"X-Forwarded-For": forwarded_for}
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
        return client.post(f"{url}/api/auth/login", json=body, headers=headers)


def attempts(urls: list[str], address: str, count: int, header: str = "192.0.2.{}") -> Counter[int]:
    """Try to log in with a body that is refused, which counts as an attempt."""
    return Counter(
        log_in(urls[n % len(urls)], address, header.format(n)).status_code for n in range(count)
    )


def test_a_client_address_has_one_limit_at_all_replicas_whatever_it_forges(stack: Stack) -> None:
    url, three = stack
    limited = {400: ATTEMPTS, 429: 3}
    for address in ("127.0.0.11", "127.0.0.12"):
        assert attempts([url], address, ATTEMPTS + 3) == limited
    # Another client's address, or the proxy's own.
    for header in ("127.0.0.13", "127.0.0.1", "127.0.0.13, 127.0.0.1"):
        assert attempts([url], "127.0.0.11", 2, header) == {429: 2}
    assert attempts([url], "127.0.0.13", 1) == {400: 1}
    # A client that passes the proxy by.
    assert attempts([each.url for each in three], "127.0.0.21", ATTEMPTS + 3) == limited


def test_failed_log_ins_of_an_account_from_an_address_have_one_limit_at_all_replicas(
    stack: Stack, client: httpx.Client
) -> None:
    account = {"email": f"{uuid4().hex}@example.com", "password": "correct horse battery staple"}
    assert client.post("/api/auth/signup", json=account).status_code == 201
    urls = [each.url for each in stack[1]]
    for url in (urls * 4)[:10]:
        wrong = {**account, "password": "another long password"}
        assert log_in(url, "127.0.0.32", **wrong).status_code == 401
    for url in urls:
        response = log_in(url, "127.0.0.32", **account)
        assert_problem(response, 429)
        # The limit of the account: that of the address is over within a minute.
        assert 500 < int(response.headers["retry-after"]) <= 600
        assert log_in(url, "127.0.0.31", **account).status_code == 200
