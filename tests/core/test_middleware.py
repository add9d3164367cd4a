"""Tests of the limits on a body that hold before the body has come."""

import time

import httpx
import pytest

from core.middleware import MAX_BODY_SIZE
from tests.support.service import Person
from tests.support.wire import connect, read_answer


@pytest.mark.parametrize("length", [str(MAX_BODY_SIZE + 1), "99999999999999999999"])
def test_a_body_that_says_it_is_too_large_is_413_before_it_comes(
    client: httpx.Client, alice: Person, length: str
) -> None:
    headers = (
        f"POST /api/{alice.id}/tasks HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {alice.token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )
    began = time.monotonic()
    with connect(str(client.base_url)) as connection, connection.makefile("rb") as responses:
        connection.sendall(headers.encode())
        status, found, _ = read_answer(responses)
    assert status in (413, 400 if len(length) > 19 else 413)
    assert found["content-type"] == "application/problem+json" or status == 400
    # A body that never comes is waited for ten seconds.
    assert time.monotonic() - began < 5
