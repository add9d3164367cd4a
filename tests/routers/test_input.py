"""Tests of hostile input: never a 5xx, never a 422, never echoed, never stored."""

import socket
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.support.operations import WITH_A_BODY
from tests.support.problems import assert_problem, assert_readable_by_the_page
from tests.support.service import ORIGIN, Person
from tests.support.wire import connect

JSON = "application/json"
OF_JSON = {"Content-Type": JSON}
MARK = "do-not-echo-me"
"""Part of every refused input, and never of a response."""


def padded(size: int) -> bytes:
    """Return a valid task of so many bytes."""
    start, end = b'{"title":"padded","more":"', b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


def nested(depth: int) -> bytes:
    return b'{"title":"nested","more":' + b"[" * depth + b"]" * depth + b"}"


TASK = b'{"title":"do-not-echo-me"}'
NO_STRINGS = (b"\n", b"\\x41", b"\xe9", b"\xed\xa0\x80", b"\xc0\x80")
NO_VALUES = (b"NaN", b"Infinity", b"[-Infinity]", b"01", b"0x1", b"1" * 5000)
NO_JSON_OBJECT = [
    *(MARK.encode(), b" \n\t", b"null", b"true", b"5", b'"do-not-echo-me"', b"[]", b"{title:1}"),
    *(b"[%b]" % TASK, TASK[:-1], TASK + b"x", TASK + b"\0", TASK * 2, TASK[:-1] + b",}"),
    *(TASK.replace(b'"', b"'"), TASK[:-1] + b"/**/}", bytes(range(256)), nested(30_000)),
    *(TASK.decode().encode(name) for name in ("utf-8-sig", "utf-16", "utf-32-le")),
    *(TASK[:-2] + end + b'"}' for end in NO_STRINGS),
    *(TASK[:-1] + b',"more":' + value + b"}" for value in NO_VALUES),
]
OTHER_TYPES = [
    *((TASK, type_) for type_ in (None, "", "text/plain", "text/json", "json", "//;/;a*=x''%")),
    (TASK.decode().encode("utf-16"), f"{JSON}; charset=utf-16"),
    (b"title=do-not-echo-me", "application/x-www-form-urlencoded"),
    (b"--a\r\n\r\ndo-not-echo-me\r\n--a--", "multipart/form-data; boundary=a"),
]

WRITES = [each for each in WITH_A_BODY if "/tasks" in each.path and "title" in each.body]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [*((body, JSON) for body in NO_JSON_OBJECT), *OTHER_TYPES],
    ids="{!r:.60}".format,
)
def test_a_body_that_is_no_json_object_is_400(
    alice: Person, body: bytes, content_type: str | None
) -> None:
    task = alice.create()
    headers = {} if content_type is None else {"Content-Type": content_type}
    for operation in WITH_A_BODY:
        url = operation.url("me", task["id"])
        response = alice.call(operation.method, url, content=body, headers=headers)
        assert_problem(response, 400, "body")
        assert MARK not in response.text
    assert alice.tasks("GET").json() == [task]


NOT_STORABLE = [r"\u0000", r"\ud800", r"\udfff", r"\udc00\ud800", r"a\u0000b", r"\ud83dx"]


@pytest.mark.parametrize("text", NOT_STORABLE)
def test_nul_and_half_a_surrogate_pair_are_ignored_in_what_is_not_read(
    alice: Person, text: str
) -> None:
    task = alice.create()["id"]
    content = f'{{"title":"a","a{text}":"{text}","more":[{{"of":["{text}",{{"{text}":"x"}}]}}]}}'
    for operation in WRITES:
        url = operation.url("me", task)
        response = alice.call(operation.method, url, content=content, headers=OF_JSON)
        assert response.is_success
        assert response.json()["title"] == "a"


@pytest.mark.parametrize(
    "body",
    [
        b'{"title":"a","title":"b"}',
        b'{"title":"b","more":1e999,"less":1e-999,"n":-0,"d":1E+2}',
        b'{"title":"b","__proto__":{},"__class__":1,"model_config":1}',
        b' \r\n{"title"\t:"\\u0062"}\n',
    ],
)
@pytest.mark.parametrize(
    "type_", [JSON, "application/JSON; charset=utf-8", "application/problem+json"]
)
def test_odd_but_valid_json_makes_a_task(alice: Person, body: bytes, type_: str) -> None:
    response = alice.tasks("POST", content=body, headers={"Content-Type": type_})
    assert (response.status_code, response.json()["title"]) == (201, "b")


@pytest.mark.parametrize("depth", [100, 900, 1000, 1100, 1300, 1500, 2000, 5000])
def test_deep_nesting_is_ignored_or_refused_and_never_a_5xx(alice: Person, depth: int) -> None:
    response = alice.tasks("POST", content=nested(depth), headers=OF_JSON)
    assert response.status_code in ({201} if depth <= 900 else {201, 400})


# The size of a body


def chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 5000):
        yield body[start : start + 5000]


@pytest.mark.parametrize("framed", [bytes, chunks], ids=["announced", "chunked"])
def test_a_body_of_64_kib_is_read_and_a_longer_one_is_413_that_a_page_may_read(
    alice: Person, framed: Callable[[bytes], bytes | Iterator[bytes]]
) -> None:
    response = alice.tasks("POST", content=framed(padded(65_536)), headers=OF_JSON)
    assert response.status_code == 201
    task = response.json()
    headers = {**OF_JSON, "Origin": ORIGIN}
    for size in (65_537, 1_000_000):
        for operation in WITH_A_BODY:
            content, url = framed(padded(size)), operation.url("me", task["id"])
            response = alice.call(operation.method, url, content=content, headers=headers)
            assert_problem(response, 413)
            assert_readable_by_the_page(response)
    assert alice.tasks("GET").json() == [task]


def headers_of(person: Person, rest: str) -> bytes:
    """Return the start of a request that creates a task, with the rest of its headers."""
    return (
        f"POST /api/me/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\n"
        f"Authorization: Bearer {person.token}\r\n{rest}"
    ).encode("latin-1")


def speak(client: httpx.Client, text: bytes) -> bytes:
    """Send bytes as they are, close for writing, and return all that comes back."""
    with connect(str(client.base_url)) as peer, peer.makefile("rb") as responses:
        peer.sendall(text)
        peer.shutdown(socket.SHUT_WR)
        return responses.read()


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: -1\r\n\r\n",
        "Content-Length: +13\r\n\r\n{}",
        "Content-Length: 13a\r\n\r\n{}",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        f"Content-Length: {'9' * 5000}\r\n\r\n{{}}",
        "Content-Length: ²\r\n\r\n{}",
        "Content-Length: 100\r\n\r\n{}",
        "Transfer-Encoding: gzip\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
        "X-A: \0\r\nContent-Length: 2\r\n\r\n{}",
        f"X-A: {'a' * 100_000}\r\n\r\n",
    ],
    ids="{!r:.40}".format,
)
def test_a_wrong_length_is_refused_or_dropped_and_the_service_lives_on(
    alice: Person, framing: str
) -> None:
    response = speak(alice.client, headers_of(alice, framing))
    assert response == b"" or response.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert alice.tasks("GET").json() == []


@pytest.mark.parametrize("length", ["65537", "99999999999", "9" * 18])
def test_a_length_over_the_limit_is_413_at_once_before_any_of_the_body(
    alice: Person, length: str
) -> None:
    # Well before the 10 seconds that a body may take.
    with connect(str(alice.client.base_url)) as peer:
        peer.settimeout(5)
        peer.sendall(headers_of(alice, f"Content-Length: {length}\r\n\r\n"))
        assert peer.recv(65_536).startswith(b"HTTP/1.1 413 ")
    assert alice.tasks("GET").json() == []


# Addresses


@pytest.mark.parametrize(
    "task_id",
    [
        "0", "01", "00", "+1", "-1", "1.0", "1e0", "0x1", "1_0", "٠١", "١", "１", "²",  # noqa: RUF001 - other scripts' digits
        "%201", "1%20", "1%00", "%00", "1%0A", "%0D%0A", "%FF", "%ED%A0%80", "1%2C2", "*", "~",
        "null", "true", "NaN", "Infinity", "undefined", "1;drop", "'", "%25", "%252F", "..%5C1",
        "9223372036854775807", "9223372036854775808", "18446744073709551617", "9" * 400,
        "9" * 5000,
    ],
)  # fmt: skip
def test_an_id_that_no_task_has_is_404(alice: Person, task_id: str) -> None:
    missing = alice.tasks("GET", 2**62).json()
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        body = {"title": "a"} if method.startswith("P") else None
        response = alice.tasks(method, task_id, json=body)
        assert_problem(response, 404)
        assert response.json() == missing


@pytest.mark.parametrize(
    "path",
    [
        "/api", "/api/", "/api/auth", "/api/auth/", "/api/auth/nothing", "/redoc", "/api//tasks",
        "/api/{alice}", "/api/{alice}/", "/api/{alice}/tasks//", "/api/{alice}/tasks/{task}//",
        "/api/{alice}/tasks/{task}/other", "/api/{alice}/tasks/{task}%2Fother",
        "/api/{alice}%2F5/tasks", "/api/{alice}/Tasks", "/API/{alice}/tasks", "/.env",
        "/main.py", "/static/..%2F..%2Fetc%2Fpasswd", "/api/{alice}/tasks/%2E%2E%2F%2E%2E",
        "/health//",
    ],
)  # fmt: skip
def test_an_unknown_address_is_404_and_never_a_redirect(alice: Person, path: str) -> None:
    task = alice.create()
    for method in ("GET", "POST", "DELETE"):
        response = alice.call(method, path.format(alice=alice.id, task=task["id"]))
        assert_problem(response, 404)


@pytest.mark.parametrize("query", ["?", "?a=%00", "?a=%ED%A0%80&a", "?" + "a" * 5000, "?;=%"])
def test_unknown_query_parameters_are_ignored(alice: Person, query: str) -> None:
    assert alice.call("GET", f"/api/{alice.id}/tasks{query}").json() == []
