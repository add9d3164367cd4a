"""Tokens of Better Auths that are configured in other ways, right and wrong."""

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from core.migrations import upgrade
from tests.better_auth.conftest import RunStack
from tests.better_auth.frontend import Stack, Visitor, bearer, decoded
from tests.conftest import MakeDatabase
from tests.support.database import execute

pytestmark = pytest.mark.slow


def jwt_options(**options: object) -> dict[str, str]:
    """Return the environment of a Better Auth whose JWT plugin has these options."""
    return {"JWT_OPTIONS": json.dumps(options)}


def ask(stack: Stack, token: str) -> httpx.Response:
    """Send a request with a token."""
    return stack.service.get("/api/auth/me", headers=bearer(token))


# Signing


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_tokens_of_each_algorithm_are_accepted(run_stack: RunStack, algorithm: str) -> None:
    key = {"alg": algorithm, **({"crv": "Ed25519"} if algorithm == "EdDSA" else {})}
    options = jwt_options(jwks={"keyPairConfig": key})
    with run_stack("misconfigurations/jwt-options", **options) as stack:
        visitor = stack.front_end.signed_up()
        assert decoded(visitor.token())[0]["alg"] == algorithm
        assert stack.me(visitor)["email"] == visitor.email


def test_no_valid_token_is_refused_while_the_keys_rotate(run_stack: RunStack) -> None:
    options = jwt_options(jwks={"rotationInterval": 3})
    with run_stack("misconfigurations/jwt-options", **options) as stack:
        first = stack.front_end.signed_up().token()
        # Now the service has the first key only.
        assert ask(stack, first).status_code == 200
        visitors = [stack.front_end.signed_up() for _ in range(4)]
        deadline = time.monotonic() + 30

        def call_until_rotated(visitor: Visitor) -> set[int]:
            statuses = set()
            while time.monotonic() < deadline:
                token = visitor.token()
                statuses |= {ask(stack, each).status_code for each in (token, first, token)}
                if decoded(token)[0]["kid"] != decoded(first)[0]["kid"]:
                    return statuses
            pytest.fail("the keys did not rotate")

        with ThreadPoolExecutor(len(visitors)) as pool:
            assert set.union(*pool.map(call_until_rotated, visitors)) == {200}
        # The key set still has the old key, and tokens signed with it are valid.
        assert len(stack.front_end.keys()) > 1
        assert ask(stack, first).status_code == 200


def test_the_key_set_has_a_key_before_the_first_sign_in(run_stack: RunStack) -> None:
    with run_stack("lib/auth") as stack:
        (key,) = stack.front_end.keys()
        deadline = time.monotonic() + 30
        # A fetch that began before Better Auth listened may have failed.
        while stack.service.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert decoded(stack.front_end.signed_up().token())[0]["kid"] == key["kid"]


# Restarts


def test_better_auth_may_restart_and_lose_its_database(
    run_stack: RunStack, tmp_path: Path, make_database: MakeDatabase
) -> None:
    with run_stack("lib/auth") as stack:
        visitor = stack.front_end.signed_up()
        token = visitor.token()
        assert ask(stack, token).status_code == 200
        stack.front_end.stop()
        # The service has the keys and does not need the key server.
        assert ask(stack, token).status_code == 200

        stack.front_end.start(tmp_path, DATABASE_URL=make_database())
        # Keys and users are new: the first new token brings the new keys …
        newcomer = stack.front_end.signed_up()
        assert stack.me(newcomer)["email"] == newcomer.email
        # … no old token is valid any more, and the address alone opens no old account.
        assert ask(stack, token).status_code == 401
        assert visitor.sign_up().status_code == 200
        assert ask(stack, visitor.token()).status_code == 403


def test_a_kid_that_is_used_again_after_a_reset_is_another_key(
    run_stack: RunStack, tmp_path: Path
) -> None:
    serial = {"EMAIL_AS_SUBJECT": "yes"}
    with run_stack("misconfigurations/serial-ids", **serial) as stack:
        old = stack.front_end.signed_up().token()
        assert ask(stack, old).status_code == 200
        stack.front_end.stop()
        stack.front_end.start(tmp_path, **serial)
        new = stack.front_end.signed_up().token()
        assert decoded(old)[0]["kid"] == decoded(new)[0]["kid"] == "1"
        assert [ask(stack, each).status_code for each in (new, old)] == [200, 401]


# Claims


def test_the_issuer_is_the_origin_of_better_auths_base_url(run_stack: RunStack) -> None:
    origin = "http://todo.example.com"
    # The key set is fetched from another address than the issuer's, as in containers.
    with run_stack("lib/auth", origin=origin, BETTER_AUTH_URL=f"{origin}/api/auth/") as stack:
        visitor = stack.front_end.signed_up()
        assert decoded(visitor.token())[1]["iss"] == origin
        assert stack.me(visitor)["email"] == visitor.email


def test_an_audience_of_its_own_has_to_be_the_services_too(run_stack: RunStack) -> None:
    options = jwt_options(jwt={"audience": "todo-backend"})
    settings = {"jwt_audience": "todo-backend"}
    with run_stack("misconfigurations/jwt-options", settings=settings, **options) as stack:
        visitor = stack.front_end.signed_up()
        assert stack.me(visitor)["email"] == visitor.email


USER_CLAIMS = {"aud": "somebody-else", "exp": 99_999_999_999}
"""Fields that a user may write, and that are also claims."""


@pytest.mark.parametrize(
    ("setup", "environment", "form", "claims", "reason"),
    [
        ("jwt-options", jwt_options(jwt={"expirationTime": 900}), {}, {"exp": 900}, "expired"),
        ("jwt-options", jwt_options(jwt={"audience": "x"}), {}, {"aud": "x"}, "audience"),
        # The whole user is the payload. A foreign audience only locks its user out; `exp` is worse.
        ("payload", {"PAYLOAD": "default"}, USER_CLAIMS, USER_CLAIMS, "audience"),
        ("payload", {"PAYLOAD": "nothing"}, {}, {}, "no e-mail address"),
        ("broken-subject", {}, {"name": "template"}, {"sub": "undefined"}, "sub"),
        ("broken-subject", {}, {"name": "empty"}, {"sub": ""}, "sub"),
    ],
)
def test_tokens_of_a_wrong_configuration_are_refused_with_the_reason(  # noqa: PLR0913, PLR0917
    run_stack: RunStack,
    setup: str,
    environment: dict[str, str],
    form: dict[str, object],
    claims: dict[str, object],
    reason: str,
) -> None:
    with run_stack(f"misconfigurations/{setup}", **environment) as stack:
        token = stack.front_end.signed_up(**form).token()
        assert claims.items() <= decoded(token)[1].items()
        refused = ask(stack, token)
        assert refused.status_code == 401
        assert reason in refused.json()["detail"]


def test_a_payload_that_lists_its_fields_lets_no_user_write_claims(run_stack: RunStack) -> None:
    with run_stack("misconfigurations/payload", PAYLOAD="named") as stack:
        visitor = stack.front_end.signed_up(**USER_CLAIMS)
        claims = decoded(visitor.token())[1]
        assert claims["aud"] == stack.front_end.origin
        assert claims["exp"] - claims["iat"] == 15 * 60
        assert stack.me(visitor)["email"] == visitor.email


def test_a_token_without_an_e_mail_address_is_enough_for_a_known_subject(
    run_stack: RunStack, database_url: str
) -> None:
    with run_stack("misconfigurations/payload", PAYLOAD="nothing") as stack:
        visitor = stack.front_end.signed_up()
        execute(
            database_url,
            "INSERT INTO users (email, password_hash, auth_subject) VALUES (%s, '!', %s)",
            visitor.email,
            visitor.user()["id"],
        )
        assert stack.me(visitor)["email"] == visitor.email


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
            for path in ("/api/auth/me", "/api/1/tasks"):
                assert stack.call(visitor, "GET", path).status_code == 401
        # No account here has the number 2.
        assert ask(stack, stack.front_end.signed_up().token()).status_code == 404

        (explained, *_) = [each.getMessage() for each in caplog.records if "serial" in each.msg]
        assert "jwt.getSubject" in explained
        assert visitor.email not in explained


def test_a_get_subject_that_returns_a_number_gets_no_token(run_stack: RunStack) -> None:
    with run_stack("misconfigurations/broken-subject") as stack:
        visitor = stack.front_end.signed_up(name="number")
        assert visitor.http.get("/api/auth/token").status_code == 500
        assert "must be a string" in stack.front_end.log()


def test_a_get_subject_that_returns_undefined_falls_back_to_better_auths_id(
    run_stack: RunStack,
) -> None:
    with run_stack("misconfigurations/broken-subject") as stack:
        visitor = stack.front_end.visitor()
        account = stack.sign_up_directly(visitor.email)
        visitor.sign_up(name="undefined")
        assert decoded(visitor.token())[1]["sub"] == visitor.user()["id"]
        # The token is a stock user's, so it does not open the account that was there.
        for path in ("/api/auth/me", f"/api/{account['id']}/tasks"):
            assert stack.call(visitor, "GET", path).status_code == 403
        newcomer = stack.front_end.signed_up(name="undefined")
        assert stack.me(newcomer)["email"] == newcomer.email
