"""Writers that do not rest, and the account of what they were told."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from tests.support.problems import assert_problem
from tests.support.service import Person

WRITERS = 8
PAUSE_SECONDS = 0.02
"""How long a writer waits after a 503, so that a fault is not all that is written about."""


class Burst:
    """The answers that the writers have had so far, by the title that each sent."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self.answers: dict[str, httpx.Response] = {}

    def statuses(self) -> list[int]:
        """Return the statuses so far, the oldest first."""
        return [answer.status_code for answer in list(self.answers.values())]

    def await_answer(self, status: int, seconds: float = 20) -> float:
        """Wait for the response to a request made from now on, and return how long it took."""
        known = len(self.answers)
        began = time.monotonic()
        while status not in self.statuses()[known + WRITERS :]:
            assert time.monotonic() - began < seconds, self.statuses()[known:]
            time.sleep(0.01)
        return time.monotonic() - began

    def assert_accounted_for(self) -> None:
        """Check that each 201 is there as it was answered, and that nothing is there twice.

        A 503 may have been written: its answer was lost, not its row.
        """
        for answer in self.answers.values():
            if answer.status_code != 201:
                assert_problem(answer, 503)
                assert int(answer.headers["retry-after"]) > 0
        listed = self._person.tasks("GET").json()
        there = {task["title"]: task for task in listed}
        assert len(there) == len(listed)
        made = [answer.json() for answer in self.answers.values() if answer.status_code == 201]
        assert made
        assert [task for task in made if there.get(task["title"]) != task] == []
        assert there.keys() <= self.answers.keys()


@contextmanager
def running_burst(person: Person) -> Iterator[Burst]:
    """Write as one person, each task under a title of its own, until the block ends."""
    burst = Burst(person)
    done = threading.Event()

    def write(writer: int) -> None:
        number = 0
        while not done.is_set():
            title = f"{writer}-{number}"
            answer = person.tasks("POST", json={"title": title})
            burst.answers[title] = answer
            if answer.status_code != 201:
                time.sleep(PAUSE_SECONDS)
            number += 1

    with ThreadPoolExecutor(WRITERS) as threads:
        writers = [threads.submit(write, writer) for writer in range(WRITERS)]
        try:
            yield burst
        finally:
            done.set()
    for writer in writers:
        writer.result()
