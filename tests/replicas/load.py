"""Clients that write and read without a pause, and compare the database with the responses."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
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
        self._name = uuid4().hex
        self.counts: Counts = Counter()
        self._created: dict[str, int] = {}
        """The status of each POST, by title."""
        self._titles: dict[int, set[str]] = {}
        """The titles that a task may have by now."""
        self._toggles: defaultdict[int, list[int]] = defaultdict(list)
        self._deleted: dict[int, int] = {}

    def work(self, stopped: threading.Event) -> None:
        """Work until the event is set."""
        for number in count():
            self._work_once(number)
            # Starting a process is slow enough as it is.
            if stopped.wait(0.05):
                return

    def _work_once(self, number: int) -> None:
        title = f"{self._name} {number}"
        created = self._request("POST", json={"title": title})
        self._created[title] = created.status_code
        if created.status_code != 201:
            return
        task = created.json()["id"]
        self._titles[task] = {title}
        read = self._request("GET", task)
        if read.status_code == 200:
            # Whichever replicas created and read it; each release has the fields that it knows.
            one, other = read.json(), created.json()
            assert all(one[name] == other[name] for name in one.keys() & other.keys())
        listed = self._request("GET")
        if listed.status_code == 200:
            assert task in [each["id"] for each in listed.json()]
        self._toggles[task].append(self._request("PATCH", f"{task}/complete").status_code)
        new = {"title": f"{title} again", "completed": False}
        replaced = self._request("PUT", task, json=new)
        self._titles[task].add(f"{title} again")
        if replaced.status_code == 200:
            self._titles[task].remove(title)
            # It set this. But PostgreSQL may still execute what a killed replica has sent.
            self._toggles[task] = [each for each in self._toggles[task] if each in UNKNOWN]
        else:
            self._toggles[task].append(replaced.status_code)
        self._toggles[task].append(self._request("PATCH", f"{task}/complete").status_code)
        if number % 2:
            self._deleted[task] = self._request("DELETE", task).status_code

    def _request(self, method: str, path: object = "", **options: Any) -> httpx.Response:
        try:
            response = self._person.tasks(method, path, **options)
        except httpx.RemoteProtocolError:
            response = httpx.Response(CUT)
        self.counts[method, response.status_code] += 1
        return response

    def check(self, database_url: str) -> None:
        """Compare the rows with the responses."""
        rows = execute(
            database_url,
            "SELECT id, title, completed FROM tasks WHERE user_id = %s",
            self._person.id,
        )
        titles = {task: title for task, title, _ in rows}
        completed = {task: is_completed for task, _, is_completed in rows}
        assert len(rows) == len(set(titles.values())), "a task is there twice"
        for task, names in self._titles.items():
            if self._deleted.get(task) == 204:
                assert task not in completed, "a deleted task is there"
            elif task not in self._deleted:
                assert task in completed, "a created task is not there"
            if task in completed:
                assert titles[task] in names, "a change is not there"
                if UNKNOWN.isdisjoint(self._toggles[task]):
                    assert completed[task] is bool(len(self._toggles[task]) % 2)
        # Any other row comes from a POST whose response is unknown.
        others = {title for task, title in titles.items() if task not in self._titles}
        assert others <= {title for title, status in self._created.items() if status in UNKNOWN}


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
