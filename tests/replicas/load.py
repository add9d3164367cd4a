"""Clients that read and write, and an account of what came of it."""

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
"""In place of the status of an answer that broke off."""
UNKNOWN = {502, 504, CUT}
"""What the proxy says when it cannot know whether a write was done."""


class Client:
    """A client that creates, reads, changes and deletes tasks, and keeps each response."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._name = uuid4().hex
        self.answers: Counter[tuple[str, int]] = Counter()
        self._made: dict[str, int] = {}
        """How the POST of each title was answered."""
        self._titles: dict[int, set[str]] = {}
        """What a task may be called by now."""
        self._toggles: defaultdict[int, list[int]] = defaultdict(list)
        self._deleted: dict[int, int] = {}

    def work(self, stopped: threading.Event) -> None:
        """Go on until it is told to stop."""
        for number in count():
            self._live(number)
            # Starting a process is slow enough as it is.
            if stopped.wait(0.05):
                return

    def _live(self, number: int) -> None:
        title = f"{self._name} {number}"
        answer = self._ask("POST", json={"title": title})
        self._made[title] = answer.status_code
        if answer.status_code != 201:
            return
        task = answer.json()["id"]
        self._titles[task] = {title}
        read = self._ask("GET", task)
        if read.status_code == 200:
            # Whichever replica made it, and whichever answers now; of two releases, each has the
            # fields that it knows.
            one, other = read.json(), answer.json()
            assert all(one[name] == other[name] for name in one.keys() & other.keys())
        listed = self._ask("GET")
        if listed.status_code == 200:
            assert task in {each["id"] for each in listed.json()}
        self._toggles[task].append(self._ask("PATCH", f"{task}/complete").status_code)
        replaced = self._ask("PUT", task, json={"title": f"{title} again", "completed": False})
        self._titles[task].add(f"{title} again")
        if replaced.status_code == 200:
            self._titles[task].remove(title)
            # It set this. But PostgreSQL may do late what a killed one has sent it.
            self._toggles[task] = [each for each in self._toggles[task] if each in UNKNOWN]
        else:
            self._toggles[task].append(replaced.status_code)
        self._toggles[task].append(self._ask("PATCH", f"{task}/complete").status_code)
        if number % 2:
            self._deleted[task] = self._ask("DELETE", task).status_code

    def _ask(self, method: str, path: object = "", **options: Any) -> httpx.Response:
        try:
            answer = self._person.tasks(method, path, **options)
        except httpx.RemoteProtocolError:
            answer = httpx.Response(CUT)
        self.answers[method, answer.status_code] += 1
        return answer

    def check(self, database_url: str) -> int:
        """Compare the rows with the responses, and return the number of rows."""
        rows = execute(
            database_url,
            "SELECT id, title, completed FROM tasks WHERE user_id = %s",
            self._person.id,
        )
        titles = {task: title for task, title, _ in rows}
        assert len(rows) == len(set(titles.values())), "a task is there twice"
        completed = {task: done for task, _, done in rows}
        for task, names in self._titles.items():
            deletion = self._deleted.get(task)
            if deletion == 204:
                assert task not in completed, "a deleted task is there"
            elif deletion is None:
                assert task in completed, "a task that was answered with 201 is not there"
            if task in completed:
                assert titles[task] in names, "a change is not there"
                if UNKNOWN.isdisjoint(self._toggles[task]):
                    assert completed[task] is bool(len(self._toggles[task]) % 2)
        # The others can only be those whose POST had no good answer.
        strangers = {title for task, title in titles.items() if task not in self._titles}
        assert strangers <= {title for title, status in self._made.items() if status in UNKNOWN}
        return len(rows)


@contextmanager
def load(
    url: str, key: SigningKey, database_url: str
) -> Iterator[Callable[[], Counter[tuple[str, int]]]]:
    """Let clients work meanwhile, then compare what they were told with the database.

    Yield the counts of responses so far, by method and status.
    """
    stopped = threading.Event()

    def answers() -> Counter[tuple[str, int]]:
        # Copies, because the clients go on.
        return sum((Counter(dict(each.answers)) for each in people), Counter())

    with ExitStack() as opened:
        people = [
            Client(Person(opened.enter_context(httpx.Client(base_url=url, timeout=30)), key))
            for _ in range(CLIENTS)
        ]
        threads = opened.enter_context(ThreadPoolExecutor(CLIENTS))
        opened.callback(stopped.set)
        working = [threads.submit(each.work, stopped) for each in people]
        yield answers
        stopped.set()
        for each in working:
            each.result()
    rows = sum(each.check(database_url) for each in people)
    # For the figures: pytest -s.
    print(f"{answers().total()} answers {dict(answers())}, {rows} rows")  # noqa: T201 - shown with -s
