"""What a Better Auth can be told about its tokens, and what comes of it."""

import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg2
import pytest

from core.migrations import upgrade
from tests.better_auth.conftest import RunStack
from tests.better_auth.frontend import Stack, Visitor, bearer, decoded
from tests.conftest import MakeDatabase
from tests.support.service import make_settings, running_service

pytestmark = pytest.mark.slow


def jwt_options(**options: Any) -> str:
    """Return options of the JWT plugin in their spelling on the command line."""
    return json.dumps(options)


def ask(stack: Stack, token: str) -> httpx.Response:
    """Send a request with a token."""
    return stack.service.get("/api/auth/me", headers=bearer(token))


def detail_of_refusal(stack: Stack, visitor: Visitor) -> str:
    """Send a request whose response has to be 401, and return the reason."""
    answer = ask(stack, visitor.token())
    assert answer.status_code == 401, answer.text
    detail: str = answer.json()["detail"]
    return detail


# Signing


@pytest.mark.parametrize(
    "key",
    [
        {"alg": "EdDSA", "crv": "Ed25519"},
        {"alg": "ES256"},
        {"alg": "RS256"},
    ],
    ids=lambda key: str(key["alg"]),
)
def test_tokens_of_each_algorithm_are_taken(run_stack: RunStack, key: dict[str, str]) -> None:
    options = jwt_options(jwks={"keyPairConfig": key})
    with run_stack("misconfigurations/jwt-options", JWT_OPTIONS=options) as stack:
        visitor = stack.front_end.signed_up()
        header, _ = decoded(visitor.token())
        assert header["alg"] == key["alg"]
        assert stack.me(visitor)["email"] == visitor.email


def test_no_valid_token_is_refused_while_the_keys_rotate(run_stack: RunStack) -> None:
    options = jwt_options(jwks={"rotationInterval": 3})
    with run_stack("misconfigurations/jwt-options", JWT_OPTIONS=options) as stack:
        first = stack.front_end.signed_up().token()
        # Now the service has the first key, and no other.
        assert ask(stack, first).status_code == 200
        visitors = [stack.front_end.signed_up() for _ in range(4)]

        def call_until_rotated(visitor: Visitor) -> set[int]:
            statuses = set()
            while time.monotonic() < deadline:
                token = visitor.token()
                statuses |= {ask(stack, each).status_code for each in (token, first, token)}
                if decoded(token)[0]["kid"] != decoded(first)[0]["kid"]:
                    return statuses
            pytest.fail("the keys did not rotate")

        deadline = time.monotonic() + 30
        with ThreadPoolExecutor(len(visitors)) as pool:
            assert set.union(*pool.map(call_until_rotated, visitors)) == {200}
        # The key that was rotated out still stands in the set, and its tokens are good.
        assert len(stack.front_end.keys()) > 1
        assert ask(stack, first).status_code == 200


def test_a_token_that_expires_in_use_is_refused_and_a_new_one_taken(run_stack: RunStack) -> None:
    # The service grants 10 seconds of leeway: these tokens are good for 3 of them.
    options = jwt_options(jwt={"expirationTime": "7 seconds ago"})
    with run_stack("misconfigurations/jwt-options", JWT_OPTIONS=options) as stack:
        visitor = stack.front_end.signed_up()
        token = visitor.token()
        assert ask(stack, token).status_code == 200
        asked_at = time.time()
        while (answer := ask(stack, token)).status_code == 200:
            # Of a request: its answer may come when the token has just expired.
            assert asked_at < decoded(token)[1]["exp"] + 10
            time.sleep(0.05)
            asked_at = time.time()
        assert answer.status_code == 401
        assert answer.json()["detail"] == "The token has expired."
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert ask(stack, visitor.token()).status_code == 200


def test_an_expiration_time_that_is_a_number_means_1970(run_stack: RunStack) -> None:
    options = jwt_options(jwt={"expirationTime": 900})
    with run_stack("misconfigurations/jwt-options", JWT_OPTIONS=options) as stack:
        visitor = stack.front_end.signed_up()
        assert decoded(visitor.token())[1]["exp"] == 900
        assert detail_of_refusal(stack, visitor) == "The token has expired."


def test_the_key_set_is_there_before_anybody_has_signed_in(run_stack: RunStack) -> None:
    with run_stack("lib/auth") as stack:
        (key,) = stack.front_end.keys()
        deadline = time.monotonic() + 30
        # A fetch that began before Better Auth listened may have failed.
        while stack.service.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        visitor = stack.front_end.signed_up()
        assert decoded(visitor.token())[0]["kid"] == key["kid"]
        assert stack.me(visitor)["email"] == visitor.email


# Starting again


def test_better_auth_may_stop_and_start_again(
    run_stack: RunStack, tmp_path_factory: pytest.TempPathFactory, make_database: MakeDatabase
) -> None:
    with run_stack("lib/auth") as stack:
        visitor = stack.front_end.signed_up()
        token = visitor.token()
        account = stack.me(visitor)

        stack.front_end.stop()
        # The service has the keys, and asks nobody.
        assert ask(stack, token).status_code == 200

        folder = tmp_path_factory.mktemp("restart")
        stack.front_end.start(folder, DATABASE_URL=make_database())
        # Its database is new, keys and users alike: the first new token brings the new keys …
        newcomer = stack.front_end.signed_up()
        assert stack.me(newcomer)["email"] == newcomer.email
        # … and no token of the old ones is good any more,
        assert ask(stack, token).status_code == 401
        # and who signs up anew has an address whose account is another user's, now unknown.
        assert visitor.sign_up().status_code == 200
        refused = stack.call(visitor, "GET", "/api/auth/me")
        assert refused.status_code == 403
        assert "linked to another user" in refused.json()["detail"]
        assert account["email"] == visitor.email


def test_a_kid_that_is_used_again_after_a_reset_is_another_key(
    run_stack: RunStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    serial = {"EMAIL_AS_SUBJECT": "yes"}
    with run_stack("misconfigurations/serial-ids", **serial) as stack:
        old = stack.front_end.signed_up().token()
        assert ask(stack, old).status_code == 200
        stack.front_end.stop()
        stack.front_end.start(tmp_path_factory.mktemp("restart"), **serial)
        new = stack.front_end.signed_up().token()
        assert decoded(old)[0]["kid"] == decoded(new)[0]["kid"] == "1"
        assert ask(stack, new).status_code == 200
        assert ask(stack, old).status_code == 401


# Who the token is for, and of


def test_the_issuer_is_the_origin_of_better_auths_base_url(run_stack: RunStack) -> None:
    origin = "http://todo.example.com"
    # Here the key set is fetched from another address than the issuer's, as in containers.
    with run_stack("lib/auth", origin=origin, BETTER_AUTH_URL=f"{origin}/api/auth/") as stack:
        visitor = stack.front_end.signed_up()
        assert decoded(visitor.token())[1]["iss"] == origin
        assert stack.me(visitor)["email"] == visitor.email


def test_an_audience_of_its_own_has_to_be_the_services_too(
    run_stack: RunStack, database_url: str
) -> None:
    options = jwt_options(jwt={"audience": "todo-backend"})
    with run_stack("misconfigurations/jwt-options", JWT_OPTIONS=options) as stack:
        visitor = stack.front_end.signed_up()
        assert decoded(visitor.token())[1]["aud"] == "todo-backend"
        assert "another audience" in detail_of_refusal(stack, visitor)
        settings = make_settings(
            database_url,
            stack.front_end.jwks_url,
            jwt_issuer=stack.front_end.origin,
            jwt_audience="todo-backend",
        )
        with running_service(settings) as service:
            assert service.get("/api/auth/me", headers=visitor.headers()).status_code == 200


def test_an_issuer_that_is_spelt_otherwise_is_another(stock: Stack, database_url: str) -> None:
    visitor = stock.front_end.signed_up()
    token = visitor.token()
    origin = stock.front_end.origin
    for spelling in (origin.replace("localhost", "127.0.0.1"), f"{origin}/", f"{origin}/api/auth"):
        settings = make_settings(
            database_url, stock.front_end.jwks_url, jwt_issuer=spelling, jwt_audience=origin
        )
        with running_service(settings) as service:
            answer = service.get("/api/auth/me", headers=bearer(token))
            assert answer.status_code == 401
            assert "another issuer" in answer.json()["detail"]


def test_users_that_better_auth_numbers_itself_are_refused_and_the_log_says_why(
    run_stack: RunStack, make_database: MakeDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    database_url = make_database()
    upgrade(database_url)
    with run_stack("misconfigurations/serial-ids", database_url=database_url) as stack:
        somebody = stack.sign_up_directly("somebody@example.com")
        visitor = stack.front_end.signed_up()
        assert decoded(visitor.token())[1]["sub"] == str(somebody["id"]) == "1"

        with caplog.at_level(logging.WARNING):
            assert "different accounts" in detail_of_refusal(stack, visitor)
            path = "/api/1/tasks"
            assert stack.call(visitor, "GET", path).status_code == 401

        # Nobody is number 2 here.
        assert ask(stack, stack.front_end.signed_up().token()).status_code == 404

        (explained, *_) = [each.getMessage() for each in caplog.records if "serial" in each.msg]
        assert "Does Better Auth number its users itself (serial ids)?" in explained
        assert "jwt.getSubject" in explained
        assert visitor.email not in explained


@pytest.fixture(scope="module")
def broken(run_stack: RunStack) -> Iterator[Stack]:
    """Return a Better Auth whose getSubject goes wrong in the way that a visitor's name says."""
    with run_stack("misconfigurations/broken-subject") as stack:
        yield stack


@pytest.mark.parametrize(("name", "sub"), [("template", "undefined"), ("empty", "")])
def test_what_a_broken_get_subject_gives_is_refused(broken: Stack, name: str, sub: str) -> None:
    visitor = broken.front_end.signed_up(name=name)
    assert decoded(visitor.token())[1]["sub"] == sub
    assert "sub" in detail_of_refusal(broken, visitor)


def test_a_get_subject_that_gives_a_number_gets_no_token(broken: Stack) -> None:
    visitor = broken.front_end.signed_up(name="number")
    assert visitor.http.get("/api/auth/token").status_code == 500
    assert "must be a string" in broken.front_end.log()


def test_a_get_subject_that_gives_undefined_falls_back_to_better_auths_id(broken: Stack) -> None:
    visitor = broken.front_end.visitor()
    account = broken.sign_up_directly(visitor.email)
    visitor.sign_up(name="undefined")
    assert decoded(visitor.token())[1]["sub"] == visitor.user()["id"]
    # So an account that was there is not handed over: the token is a stock user's.
    assert broken.call(visitor, "GET", "/api/auth/me").status_code == 403
    assert broken.call(visitor, "GET", f"/api/{account['id']}/tasks").status_code == 403
    newcomer = broken.front_end.signed_up(name="undefined")
    assert broken.me(newcomer)["email"] == newcomer.email


def test_a_token_without_an_e_mail_address_makes_no_account_but_finds_one(
    run_stack: RunStack, database_url: str
) -> None:
    with run_stack("misconfigurations/payload", PAYLOAD="nothing") as stack:
        visitor = stack.front_end.signed_up()
        assert detail_of_refusal(stack, visitor) == (
            "The token has no e-mail address, and its sub is not known."
        )
        connection = psycopg2.connect(database_url)
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO users (email, password_hash, auth_subject) VALUES (%s, '!', %s)",
                (visitor.email, visitor.user()["id"]),
            )
        connection.close()
        assert stack.me(visitor)["email"] == visitor.email


def test_a_default_payload_lets_a_user_write_claims(run_stack: RunStack) -> None:
    with run_stack("misconfigurations/payload", PAYLOAD="default") as stack:
        # Beside a foreign audience, which only locks its user out, there is `exp`: for ever.
        visitor = stack.front_end.signed_up(aud="somebody-else", exp=99_999_999_999)
        claims = decoded(visitor.token())[1]
        assert (claims["aud"], claims["exp"]) == ("somebody-else", 99_999_999_999)
        assert "another audience" in detail_of_refusal(stack, visitor)


def test_a_payload_that_names_its_members_does_not(run_stack: RunStack) -> None:
    with run_stack("misconfigurations/payload", PAYLOAD="named") as stack:
        visitor = stack.front_end.signed_up(aud="somebody-else", exp=99_999_999_999)
        claims = decoded(visitor.token())[1]
        assert claims["aud"] == stack.front_end.origin
        assert claims["exp"] - claims["iat"] == 15 * 60
        assert stack.me(visitor)["email"] == visitor.email
