"""Tests that hold for every operation, whatever it does: they take the list from the application.

A new resource is part of them as soon as it is in the OpenAPI document.
"""

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from models.base import MAX_ID
from tests.conftest import SignIn
from tests.support.database import execute, wait_until
from tests.support.keyserver import KeyServer
from tests.support.operations import (
    METHODS,
    OF_AN_ITEM,
    OPERATIONS,
    OWNED,
    PROTECTED,
    WITH_A_BODY,
    Operation,
    for_each,
)
from tests.support.problems import assert_not_stored, assert_problem, assert_readable_by_the_page
from tests.support.service import ORIGIN, Person, make_settings, quick_hashes, running_service
from tests.support.tokens import SigningKey

NOT_AN_ID = "01"


def wrong(body: Any) -> Any:
    """Return a body with a wrong value in each field."""
    return body and dict.fromkeys(body, 5)


def bearer(key: SigningKey, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.token(**claims)}"}


# Who may do what, and in which order that is checked: 401, 403, then 400 and 404


@for_each(PROTECTED)
def test_without_a_token_it_is_401_whatever_else_is_wrong(
    alice: Person, operation: Operation
) -> None:
    item = operation.create_item(alice)
    before = alice.export()
    for user, task_id, body in (
        (alice.id, item, operation.body),
        ("me", NOT_AN_ID, operation.body),
        ("nobody", item, wrong(operation.body)),
    ):
        for headers in ({}, {"Authorization": "Bearer a.b.c"}):
            url = operation.url(user, task_id)
            response = alice.client.request(operation.method, url, json=body, headers=headers)
            assert_problem(response, 401)
    assert alice.export() == before


@for_each(OWNED)
def test_a_path_of_another_user_is_403_whatever_else_is_wrong(
    alice: Person, bob: Person, operation: Operation
) -> None:
    item = operation.create_item(alice)
    before = alice.export(), bob.export()
    for user in (alice.id, MAX_ID, MAX_ID + 1, "9" * 30, "0", "-1", "nobody", "1e3", "%00"):
        for task_id, body in (
            (item, operation.body),
            (item, wrong(operation.body)),
            (NOT_AN_ID, operation.body),
        ):
            response = bob.call(operation.method, operation.url(user, task_id), json=body)
            assert_problem(response, 403)
    assert (alice.export(), bob.export()) == before


@for_each(OWNED)
def test_the_subject_and_me_name_the_caller_as_the_id_does(
    sign_in: SignIn, operation: Operation
) -> None:
    subject = f"{uuid4().hex} é|?"
    alice = sign_in(sub=subject)
    for user in (alice.id, quote(subject, safe=""), "me"):
        url = operation.url(user, operation.create_item(alice))
        assert alice.call(operation.method, url, json=operation.body).is_success


@for_each(OF_AN_ITEM)
def test_an_item_of_another_user_looks_like_one_that_does_not_exist(
    alice: Person, bob: Person, operation: Operation
) -> None:
    item = operation.create_item(alice)
    before = alice.export()
    responses = [
        bob.call(operation.method, operation.url("me", task_id), json=operation.body)
        for task_id in (item, 2**62, NOT_AN_ID, MAX_ID + 1)
    ]
    for response in responses:
        assert_problem(response, 404)
        assert response.json() == responses[0].json()
    assert alice.export() == before


@for_each(PROTECTED)
def test_an_account_that_is_gone_is_404(
    database_url: str, alice: Person, operation: Operation
) -> None:
    url = operation.url(alice.id, operation.create_item(alice))
    execute(database_url, "DELETE FROM users WHERE id = %s", alice.id)
    assert_problem(alice.call(operation.method, url, json=operation.body), 404)


@for_each(PROTECTED)
@pytest.mark.parametrize("subject", [str(2**62), str(MAX_ID + 1), "9" * 255], ids="{:.20}".format)
def test_a_number_that_no_account_has_is_404_at_its_own_path_and_403_at_any_other(
    client: httpx.Client, key: SigningKey, operation: Operation, subject: str
) -> None:
    headers = bearer(key, sub=subject, email=None)
    for user in (subject, "me", "0", "-1", MAX_ID - 1):
        status = 404 if user in (subject, "me") or operation not in OWNED else 403
        response = client.request(
            operation.method, operation.url(user), json=operation.body, headers=headers
        )
        assert_problem(response, status)


@for_each([each for each in OPERATIONS if not each.needs_token])
def test_without_need_of_a_token_a_bad_one_is_ignored(
    client: httpx.Client, operation: Operation
) -> None:
    response = client.request(
        operation.method,
        operation.url(),
        json=wrong(operation.body),
        headers={"Authorization": "Bearer nonsense"},
    )
    assert response.status_code == (400 if operation.body else 200)


# Input


@for_each(WITH_A_BODY)
def test_every_wrong_field_is_named_and_nothing_is_changed(
    alice: Person, operation: Operation
) -> None:
    url = operation.url("me", operation.create_item(alice))
    before = alice.export()
    response = alice.call(operation.method, url, json=wrong(operation.body))
    assert_problem(response, 400, *operation.body)
    if operation.spec["requestBody"].get("required", False):
        assert_problem(alice.call(operation.method, url), 400, "body")
    assert alice.export() == before


@for_each([each for each in OPERATIONS if each.method == "GET"])
def test_head_is_get_without_a_body(alice: Person, operation: Operation) -> None:
    url = operation.url("me", operation.create_item(alice))
    assert_head_is_get(alice.client, url, {**alice.headers, "Origin": ORIGIN})
    assert_head_is_get(alice.client, url, {})


@pytest.mark.parametrize(
    "url",
    [
        *("/openapi.json", "/docs", "/docs/assets/swagger-ui.css", "/nowhere"),
        *(f"/api/me/tasks{rest}" for rest in ("?limit=1", "?sort=nothing", "/0")),
    ],
)
def test_head_is_get_everywhere_else(alice: Person, url: str) -> None:
    for _ in range(2):
        alice.create()
    assert_head_is_get(alice.client, url, alice.headers)


def assert_head_is_get(client: httpx.Client, url: str, headers: dict[str, str]) -> None:
    get, head = (client.request(method, url, headers=headers) for method in ("GET", "HEAD"))
    assert get.content
    assert (head.status_code, head.content) == (get.status_code, b"")
    # What differs between two requests, and what only a body has (RFC 9110 §9.3.2).
    for response in (get, head):
        for name in ("x-request-id", "date", "transfer-encoding"):
            response.headers.pop(name, None)
    assert head.headers.multi_items() == get.headers.multi_items()


@for_each(list({each.path: each for each in OPERATIONS}.values()))
def test_a_wrong_method_is_405_and_allow_names_the_right_ones(
    client: httpx.Client, operation: Operation
) -> None:
    allowed = {each.method for each in OPERATIONS if each.path == operation.path}
    allowed |= {"HEAD"} if "GET" in allowed else set()
    for method in (METHODS | {"HEAD", "OPTIONS", "TRACE", "PROPFIND"}) - allowed:
        response = client.request(method, operation.url())
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == allowed
        if method != "HEAD":
            assert_problem(response, 405)


@pytest.fixture(scope="module", params=["", "/below"])
def rooted(
    request: pytest.FixtureRequest, database_url: str, key_server: KeyServer
) -> Iterator[httpx.Client]:
    """Run the service, also behind a proxy that removes a path."""
    settings = make_settings(database_url, key_server.url)
    with running_service(settings, adapt=quick_hashes, root_path=request.param) as client:
        yield client


@for_each(OPERATIONS)
def test_a_trailing_slash_is_ignored(
    rooted: httpx.Client, key: SigningKey, caplog: pytest.LogCaptureFixture, operation: Operation
) -> None:
    alice = Person(rooted, key)
    path, question, query = operation.url("me", operation.create_item(alice)).partition("?")
    with_slash = f"{path}/{question}{query}"
    for method in ("HEAD", "PROPFIND"):
        plain, other = (alice.call(method, f"{path}{end}{question}{query}") for end in ("", "/"))
        assert (other.status_code, other.headers.get("allow")) == (
            plain.status_code,
            plain.headers.get("allow"),
        )
    caplog.clear()
    with caplog.at_level(logging.INFO):
        response = alice.call(operation.method, with_slash, json=operation.body)
        wait_until(lambda: any(hasattr(each, "route") for each in caplog.records))
    assert str(response.status_code) in operation.spec["responses"]
    assert response.status_code != 404
    assert {each.route for each in caplog.records if hasattr(each, "route")} == {operation.path}
    if "location" in response.headers:
        assert response.headers["location"].endswith(f"{path}/{response.json()['id']}")


def test_the_root_leads_to_the_documentation(rooted: httpx.Client) -> None:
    response = rooted.get("/")
    assert (response.status_code, response.headers["location"][-5:]) == (307, "/docs")
    assert rooted.get("/docs/").status_code == 200


@for_each(OPERATIONS)
def test_responses_are_documented_private_and_readable_by_the_front_end(
    alice: Person, operation: Operation
) -> None:
    url = operation.url("me", operation.create_item(alice))
    headers = {"Origin": ORIGIN, "X-Request-ID": "mine"}
    of_alice = {**headers, **alice.headers}
    for body, sent in (
        (operation.body, headers),
        (wrong(operation.body), of_alice),
        ("x" * 65_537, of_alice),
        (operation.body, {**of_alice, "If-None-Match": "*", "If-Match": '"0"'}),
        (operation.body, of_alice),
    ):
        content = body if operation.body else None
        response = alice.client.request(operation.method, url, json=content, headers=sent)
        assert_not_stored(response)
        assert_readable_by_the_page(response)
        assert response.headers["x-request-id"] == "mine"
        documented = operation.spec["responses"][str(response.status_code)]
        names = {name.lower() for name in documented["headers"]} - {"link", "retry-after"}
        assert names <= set(response.headers)
        tagged = {"etag", "location", "content-disposition"} & set(response.headers)
        assert tagged <= names


@pytest.fixture(scope="module")
def without_database(key_server: KeyServer) -> Iterator[httpx.Client]:
    """Run a service whose database is away."""
    url = "postgresql://somebody:top-secret@127.0.0.1:1/nothing"
    with running_service(make_settings(url, key_server.url)) as client:
        yield client


@for_each(OPERATIONS)
def test_the_database_being_away_is_503_and_says_nothing_of_it(
    without_database: httpx.Client, key: SigningKey, operation: Operation
) -> None:
    headers = {**bearer(key), "Origin": ORIGIN}
    response = without_database.request(
        operation.method, operation.url(), json=operation.body, headers=headers
    )
    if operation.path == "/health":
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
    else:
        assert_problem(response, 503)
    assert_readable_by_the_page(response)
    assert_not_stored(response)
    for secret in ("top-secret", "127.0.0.1", "nothing", "psycopg2", "SELECT"):
        assert secret not in response.text
