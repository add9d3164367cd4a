"""Clients that write and read without a pause, and compare the database with the responses."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import httpx

from tests.support.database import execute
from tests.support.service import Person
from tests.support.tokens import SigningKey

CLIENTS = 6
CUT = 0
"""The status of a response that broke off."""
UNKNOWN = {502, 504, CUT}
"""What the proxy responds when it cannot know whether a write was done."""

Counts = Counter[tuple[str, int]]
"""Responses by method and status."""


class Client:
    """A client that creates, reads, changes and deletes tasks, and keeps each status."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self.counts: Counts = Counter()
        self._sent: dict[str, dict[str, int]] = {}
        """The status of each write, by the title of its task and the method."""

    def work(self, stopped: threading.Event) -> None:
        """Work until the event is set."""
        # Starting a process is slow enough as it is.
        while not stopped.wait(0.05):
            title = uuid4().hex
            created = self._request("POST", json={"title": title})
            statuses = self._sent[title] = {"POST": created.status_code}
            if created.status_code != 201:
                continue
            task = created.json()["id"]
            read = self._request("GET", task)
            if read.status_code == 200:
                # Whichever replicas created and read it; each release has the fields it knows.
                one, other = read.json(), created.json()
                assert all(one[name] == other[name] for name in one.keys() & other.keys())
            listed = self._request("GET")
            if listed.status_code == 200:
                assert task in [each["id"] for each in listed.json()]
            new = {"title": f"{title} again", "completed": False}
            statuses["PUT"] = self._request("PUT", task, json=new).status_code
            # Done twice, it would not be completed.
            statuses["PATCH"] = self._request("PATCH", f"{task}/complete").status_code
            if len(self._sent) % 2:
                statuses["DELETE"] = self._request("DELETE", task).status_code

    def _request(self, method: str, path: object = "", **options: Any) -> httpx.Response:
        try:
            response = self._person.tasks(method, path, **options)
        except httpx.RemoteProtocolError:
            response = httpx.Response(CUT)
        self.counts[method, response.status_code] += 1
        return response

    def check(self, database_url: str) -> None:
        """Compare the rows with the responses."""
        statement = "SELECT title, completed FROM tasks WHERE user_id = %s"
        rows = execute(database_url, statement, self._person.id)
        tasks = {title.partition(" ")[0]: (title, completed) for title, completed in rows}
        assert len(rows) == len(tasks), "a task is there twice"
        for title, statuses in self._sent.items():
            if statuses["POST"] == 201 and "DELETE" not in statuses:
                assert title in tasks, "a created task is not there"
            if statuses.get("DELETE") == 204:
                assert title not in tasks, "a deleted task is there"
            if title in tasks and statuses.get("PUT") == 200:
                assert tasks[title][0] == f"{title} again", "a change is not there"
                # PostgreSQL may still execute what a killed replica has sent.
                if statuses["PATCH"] == 200:
                    assert tasks[title][1], "a change is not there, or twice"
        sent = self._sent.items()
        assert tasks.keys() <= {title for title, each in sent if each["POST"] in {201, *UNKNOWN}}


@contextmanager
def load(url: str, key: SigningKey, database_url: str) -> Iterator[Callable[[], Counts]]:
    """Let clients work while the block runs, then compare the database with their responses.

    Yield a function that returns the counts of responses so far.
    """
    stopped = threading.Event()
    with ExitStack() as opened:
        clients = [
            Client(Person(opened.enter_context(httpx.Client(base_url=url, timeout=30)), key))
            for _ in range(CLIENTS)
        ]
        threads = opened.enter_context(ThreadPoolExecutor(CLIENTS))
        opened.callback(stopped.set)
        working = [threads.submit(each.work, stopped) for each in clients]
        # Copies, because the clients go on.
        yield lambda: sum((Counter(dict(each.counts)) for each in clients), Counter())
        stopped.set()
        for each in working:
            each.result()
    for client in clients:
        client.check(database_url)
