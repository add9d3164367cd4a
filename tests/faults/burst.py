"""Writers that do not rest, and the responses that they received."""

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
    """The responses that the writers have had so far, by the title that each sent."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self.responses: dict[str, httpx.Response] = {}

    def statuses(self) -> list[int]:
        """Return the statuses so far, the oldest first."""
        return [response.status_code for response in list(self.responses.values())]

    def await_response(self, status: int, seconds: float = 20) -> float:
        """Wait for the response to a request made from now on, and return how long it took."""
        known = len(self.responses)
        began = time.monotonic()
        while status not in self.statuses()[known + WRITERS :]:
            assert time.monotonic() - began < seconds, self.statuses()[known:]
            time.sleep(0.01)
        return time.monotonic() - began

    def assert_accounted_for(self) -> None:
        """Check that each 201 is there as the response said, and that nothing is there twice.

        A 503 may have been written: its response was lost, not its row.
        """
        for response in self.responses.values():
            if response.status_code != 201:
                assert_problem(response, 503)
                assert int(response.headers["retry-after"]) > 0
        listed = self._person.tasks("GET").json()
        stored = {task["title"]: task for task in listed}
        assert len(stored) == len(listed)
        created = [
            response.json() for response in self.responses.values() if response.status_code == 201
        ]
        assert created
        assert [task for task in created if stored.get(task["title"]) != task] == []
        assert stored.keys() <= self.responses.keys()


@contextmanager
def running_burst(person: Person) -> Iterator[Burst]:
    """Write as one person, each task under a title of its own, until the block ends."""
    burst = Burst(person)
    done = threading.Event()

    def write(writer: int) -> None:
        number = 0
        while not done.is_set():
            title = f"{writer}-{number}"
            response = person.tasks("POST", json={"title": title})
            burst.responses[title] = response
            if response.status_code != 201:
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
