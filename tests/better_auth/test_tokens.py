"""Tokens of Better Auths that are configured in other ways, right and wrong."""

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from core.migrations import upgrade
from tests.better_auth.conftest import RunStack
from tests.better_auth.frontend import Stack, Visitor, decoded
from tests.conftest import MakeDatabase
from tests.support.database import execute

pytestmark = pytest.mark.slow


def assert_refused(stack: Stack, visitor: Visitor, reason: str, **claims: object) -> None:
    """Check that a visitor's token has these claims and is refused for this reason."""
    token = visitor.token()
    assert claims.items() <= decoded(token)[1].items()
    refused = stack.ask(token)
    assert (refused.status_code, reason in refused.json()["detail"]) == (401, True), refused.text


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_each_algorithm_and_an_audience_of_its_own_are_accepted(
    run_stack: RunStack, algorithm: str
) -> None:
    key = {"alg": algorithm, **({"crv": "Ed25519"} if algorithm == "EdDSA" else {})}
    options = {"jwks": {"keyPairConfig": key}, "jwt": {"audience": "todo-backend"}}
    settings = {"jwt_audience": "todo-backend"}
    with run_stack("options", settings=settings, JWT_OPTIONS=json.dumps(options)) as stack:
        visitor = stack.signed_up()
        header, claims = decoded(visitor.token())
        assert (header["alg"], claims["aud"]) == (algorithm, "todo-backend")
        assert visitor.me()["email"] == visitor.email


def test_no_valid_token_is_refused_while_the_keys_rotate(run_stack: RunStack) -> None:
    options = json.dumps({"jwks": {"rotationInterval": 3}})
    with run_stack("options", JWT_OPTIONS=options) as stack:
        visitors = [stack.signed_up() for _ in range(4)]
        first = visitors[0].token()
        # Now the service has the first key only.
        assert stack.ask(first).status_code == 200
        deadline = time.monotonic() + 30

        def call_until_rotated(visitor: Visitor) -> None:
            token = first
            while decoded(token)[0] == decoded(first)[0]:
                assert time.monotonic() < deadline
                token = visitor.token()
                for each in (token, first, token):
                    assert stack.ask(each).status_code == 200

        with ThreadPoolExecutor(len(visitors)) as pool:
            list(pool.map(call_until_rotated, visitors))
        # The key set still has the old key.
        assert stack.ask(first).status_code == 200


def test_better_auth_may_restart_and_lose_its_database(
    run_stack: RunStack, make_database: MakeDatabase
) -> None:
    with run_stack("lib/auth") as stack:
        visitor = stack.signed_up()
        token = visitor.token()
        assert stack.ask(token).status_code == 200
        stack.stop()
        # The service has the keys and does not need the key server.
        assert stack.ask(token).status_code == 200

        stack.start(DATABASE_URL=make_database())
        # Keys and users are new: the first new token brings the new keys …
        newcomer = stack.signed_up()
        assert newcomer.me()["email"] == newcomer.email
        # … no old token is valid any more, and the address alone opens no old account.
        assert stack.ask(token).status_code == 401
        assert visitor.sign_up().status_code == 200
        assert stack.ask(visitor.token()).status_code == 403


def test_a_payload_that_lists_its_fields_lets_no_user_write_claims(run_stack: RunStack) -> None:
    origin = "http://todo.example.com"
    # The issuer is the origin of the URL alone, and the key set is fetched from another address.
    environment = {"BETTER_AUTH_URL": f"{origin}/api/auth/"}
    with run_stack("listed-fields", origin=origin, **environment) as stack:
        visitor = stack.signed_up(aud="somebody-else", exp=99_999_999_999)
        claims = decoded(visitor.token())[1]
        assert claims["iss"] == claims["aud"] == origin
        assert claims["exp"] - claims["iat"] == 15 * 60
        assert visitor.me()["email"] == visitor.email


@pytest.mark.parametrize(
    ("setup", "options", "fields", "reason"),
    [
        ("options", {"expirationTime": 900}, {"exp": 900}, "expired"),
        ("options", {"audience": "x"}, {"aud": "x"}, "audience"),
        # The whole user is the payload. A foreign audience only locks its user out; `exp` is worse.
        ("whole-user", {}, {"aud": "somebody-else", "exp": 99_999_999_999}, "audience"),
    ],
)
def test_tokens_of_a_wrong_configuration_are_refused_with_the_reason(
    run_stack: RunStack,
    setup: str,
    options: dict[str, Any],
    fields: dict[str, Any],
    reason: str,
) -> None:
    with run_stack(setup, JWT_OPTIONS=json.dumps({"jwt": options})) as stack:
        form = fields if setup == "whole-user" else {}
        assert_refused(stack, stack.signed_up(**form), reason, **fields)


def test_a_token_without_an_e_mail_address_is_enough_for_a_known_subject_alone(
    run_stack: RunStack, database_url: str
) -> None:
    with run_stack("no-fields") as stack:
        visitor = stack.signed_up()
        assert_refused(stack, visitor, "no e-mail address")
        execute(
            database_url,
            "INSERT INTO users (email, password_hash, auth_subject) VALUES (%s, '!', %s)",
            visitor.email,
            visitor.user()["id"],
        )
        assert visitor.me()["email"] == visitor.email


def test_users_that_better_auth_numbers_itself_are_refused_and_the_log_says_why(
    run_stack: RunStack, make_database: MakeDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    database_url = make_database()
    upgrade(database_url)
    with run_stack("serial-ids", url=database_url) as stack:
        assert stack.sign_up_directly("somebody@example.com")["id"] == 1
        visitor = stack.signed_up()
        with caplog.at_level(logging.WARNING):
            assert_refused(stack, visitor, "different accounts", sub="1")
        assert "jwt.getSubject" in caplog.text
        assert visitor.email not in caplog.text
        # No account here has the number 2.
        assert stack.ask(stack.signed_up().token()).status_code == 404


def test_a_get_subject_that_returns_nothing_useful_opens_no_account(run_stack: RunStack) -> None:
    with run_stack("broken-subject") as stack:
        for name, subject in (("template", "undefined"), ("empty", "")):
            assert_refused(stack, stack.signed_up(name=name), "sub", sub=subject)
        number = stack.signed_up(name="number")
        assert number.auth.get("token").status_code == 500
        assert "must be a string" in stack.log()

        # Better Auth takes its own id for `undefined`.
        visitor = stack.visitor()
        account = stack.sign_up_directly(visitor.email)
        visitor.sign_up(name="undefined")
        assert decoded(visitor.token())[1]["sub"] == visitor.user()["id"]
        # The token is a stock user's, so it does not open the account that was there.
        for path in ("/api/auth/me", f"/api/{account['id']}/tasks"):
            assert visitor.call("GET", path).status_code == 403
        newcomer = stack.signed_up(name="undefined")
        assert newcomer.me()["email"] == newcomer.email
