"""Tests of what becomes of requests that arrive all at once, on a real event loop and socket."""

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.keyserver import KeyServer
from tests.support.process import production_options, running_server, variables
from tests.support.wire import HEALTH, connect, read_answer, request

REQUESTS = 200
UNKNOWN = request(1, "no-token", "GET")


@pytest.mark.parametrize("options", [(), ("--root-path", "/v1")], ids=["at the root", "below it"])
def test_health_is_answered_before_most_of_the_requests_that_came_before_it(
    tmp_path: Path, database_url: str, key_server: KeyServer, options: tuple[str, ...]
) -> None:
    """The process is held still while they arrive; its log tells in which order it went on."""
    environment = variables(database_url, key_server.url)
    with (
        running_server(tmp_path, environment, *production_options(), *options) as server,
        ExitStack() as stack,
    ):
        *others, probe = peers = [
            stack.enter_context(connect(server.url)) for _ in range(REQUESTS + 1)
        ]
        answers = [stack.enter_context(peer.makefile("rb")) for peer in peers]
        # From here on all are connected, and the keys are there: none has anything to wait for.
        probe.sendall(UNKNOWN)
        assert read_answer(answers[-1])[0] == 401
        server.process.send_signal(signal.SIGSTOP)
        for peer in others:
            peer.sendall(UNKNOWN)
        probe.sendall(HEALTH)
        server.process.send_signal(signal.SIGCONT)
        statuses = [read_answer(answer)[0] for answer in answers]
    assert statuses == [401] * REQUESTS + [200]
    log = server.log.read_text()
    before = log[: log.index("GET /health 200")]
    assert before.count("/tasks 401") < REQUESTS / 3
