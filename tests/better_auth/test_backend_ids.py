"""Set-ups B and C: a user's account at the service is made first, and tokens carry its id."""

import asyncio
from collections.abc import Iterator

import psycopg2
import pytest

from tests.better_auth.conftest import RunStack
from tests.better_auth.frontend import PASSWORD, Stack, decoded
from tests.better_auth.gate import Gate, running_gate
from utils.security import PasswordHasher

pytestmark = pytest.mark.slow


@pytest.fixture(params=["backend_ids", "one_password_store"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """Return set-up B, and then C: they sign up in the same way."""
    stack: Stack = request.getfixturevalue(request.param)
    return stack


def is_known(stack: Stack, email: str, password: str = PASSWORD) -> bool:
    """Tell whether the service has such an account."""
    body = {"email": email, "password": password}
    return stack.service.post("/api/auth/login", json=body).is_success


def test_signing_up_makes_the_account_whose_id_the_tokens_carry(stack: Stack) -> None:
    visitor = stack.front_end.signed_up()

    assert is_known(stack, visitor.email)
    user = visitor.user()
    header, claims = decoded(visitor.token())
    assert header["alg"] == "EdDSA"
    assert claims.keys() == {"sub", "iss", "aud", "iat", "exp", "email", "emailVerified"}
    assert claims["sub"] == user["backendId"]
    assert claims["email"] == visitor.email
    assert stack.me(visitor)["id"] == int(user["backendId"])
    path = f"/api/{user['backendId']}/tasks"
    task = stack.call(visitor, "POST", path, json={"title": "Buy milk"}).json()
    assert stack.call(visitor, "GET", path).json() == [task]


def test_signing_in_again_is_the_same_account(stack: Stack) -> None:
    visitor = stack.front_end.signed_up()
    account = stack.me(visitor)
    visitor.post("sign-out")
    assert visitor.sign_in("not the password").status_code == 401
    assert visitor.sign_in().status_code == 200
    assert stack.me(visitor) == account


def test_an_account_made_earlier_is_taken_over_with_its_password(stack: Stack) -> None:
    visitor = stack.front_end.visitor()
    account = stack.sign_up_directly(visitor.email.upper())
    assert visitor.sign_up().status_code == 200
    assert stack.me(visitor) == account


def test_an_account_made_earlier_is_not_taken_over_with_another_password(
    backend_ids: Stack,
) -> None:
    stack = backend_ids
    visitor = stack.front_end.visitor()
    stack.sign_up_directly(visitor.email)

    refused = visitor.sign_up("another password altogether")

    assert refused.status_code == 422
    assert refused.json()["code"] == "USER_ALREADY_EXISTS"
    assert visitor.sign_in("another password altogether").status_code == 401
    assert visitor.sign_up().status_code == 200


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        # Better Auth counts 60 characters and is content; bcrypt sees 120 bytes.
        ("é" * 60, "at most 72 bytes"),
        ("password123", "commonest"),
    ],
)
def test_a_password_that_the_service_refuses_leaves_no_half_made_user(
    backend_ids: Stack, password: str, reason: str
) -> None:
    stack = backend_ids
    visitor = stack.front_end.visitor()

    refused = visitor.sign_up(password)

    assert refused.status_code == 400
    assert refused.json()["code"] == "REFUSED_BY_BACKEND"
    assert reason in refused.json()["message"]
    assert visitor.sign_in(password).status_code == 401
    assert visitor.sign_up().status_code == 200
    assert stack.me(visitor)["email"] == visitor.email


def test_an_address_that_better_auth_refuses_is_refused(backend_ids: Stack) -> None:
    visitor = backend_ids.front_end.visitor()
    visitor.email = "not an address"
    assert visitor.sign_up().status_code == 400


def test_a_second_sign_up_with_the_same_address_is_refused(backend_ids: Stack) -> None:
    visitor = backend_ids.front_end.signed_up()
    again = backend_ids.front_end.visitor()
    again.email = visitor.email
    assert again.sign_up().status_code == 422


def test_users_cannot_choose_their_account(stack: Stack) -> None:
    victim = stack.front_end.signed_up()
    account = stack.me(victim)
    for field, value in (("backendId", str(account["id"])), ("backendEmail", victim.email)):
        thief = stack.front_end.visitor()
        assert thief.sign_up(**{field: value}).status_code == 400
        thief.sign_up()
        assert thief.post("update-user", **{field: value}).status_code == 400
        assert stack.me(thief)["id"] != account["id"]


@pytest.fixture(params=["lib/auth-backend-ids", "lib/auth-one-password-store"])
def gated(request: pytest.FixtureRequest, run_stack: RunStack) -> Iterator[tuple[Stack, Gate]]:
    """Return set-up B, and then C, with a gate in front of the service."""
    with running_gate() as gate, run_stack(request.param, BACKEND_URL=gate.address) as stack:
        gate.service = stack.service
        yield stack, gate


def test_while_the_service_is_down_sign_up_fails_and_no_password_is_called_wrong(
    gated: tuple[Stack, Gate],
) -> None:
    stack, gate = gated
    visitor = stack.front_end.visitor()
    gate.is_shut = True

    refused = visitor.sign_up()

    assert refused.status_code == 503
    assert refused.json()["code"] == "BACKEND_UNAVAILABLE"
    assert refused.headers["Retry-After"] == "5"
    assert not is_known(stack, visitor.email)
    gate.is_shut = False
    assert visitor.sign_up().status_code == 200
    assert stack.me(visitor)["email"] == visitor.email


def test_a_user_whose_account_was_made_but_never_answered_for_is_finished_by_a_second_try(
    gated: tuple[Stack, Gate],
) -> None:
    stack, gate = gated
    visitor = stack.front_end.visitor()
    gate.loses_answers = True

    assert visitor.sign_up().status_code == 503

    assert is_known(stack, visitor.email)
    gate.loses_answers = False
    assert visitor.sign_up().status_code == 200
    assert stack.me(visitor)["email"] == visitor.email


# What B and C do not share.


def test_in_b_the_address_may_change_and_the_account_stays(backend_ids: Stack) -> None:
    visitor = backend_ids.front_end.signed_up()
    account = backend_ids.me(visitor)
    new_email = f"new-{visitor.email}"
    assert visitor.post("change-email", newEmail=new_email).status_code == 200
    assert visitor.user()["email"] == new_email

    assert backend_ids.me(visitor) == account

    visitor.post("sign-out")
    visitor.email = new_email
    assert visitor.sign_in().status_code == 200
    assert backend_ids.me(visitor) == account


def test_in_b_a_password_may_change_and_only_better_auth_knows(backend_ids: Stack) -> None:
    visitor = backend_ids.front_end.signed_up()
    answer = visitor.post(
        "change-password", currentPassword=PASSWORD, newPassword="another long password"
    )
    assert answer.status_code == 200
    visitor.post("sign-out")
    assert visitor.sign_in().status_code == 401
    assert visitor.sign_in("another long password").status_code == 200
    assert is_known(backend_ids, visitor.email)


def test_in_c_the_services_hash_is_the_only_one(
    one_password_store: Stack, database_url: str
) -> None:
    visitor = one_password_store.front_end.signed_up()
    account = one_password_store.me(visitor)
    visitor.post("sign-out")
    other = PasswordHasher()
    new_hash = asyncio.run(other.hash("another long password", ""))
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE users SET password_hash = %s WHERE id = %s", (new_hash, account["id"])
        )
    connection.close()

    assert visitor.sign_in().status_code == 401
    assert visitor.sign_in("another long password").status_code == 200


def test_in_c_every_check_of_a_password_asks_the_service(one_password_store: Stack) -> None:
    visitor = one_password_store.front_end.signed_up()
    assert visitor.post("verify-password", password="not the password").status_code == 400
    assert visitor.post("verify-password", password=PASSWORD).status_code == 200


def test_an_account_that_took_the_address_later_opens_no_session(stack: Stack) -> None:
    victim = stack.front_end.signed_up()
    assert stack.call(victim, "DELETE", "/api/auth/me").status_code == 204
    stack.sign_up_directly(victim.email, "the password of a stranger")
    stranger = stack.front_end.visitor()
    stranger.email = victim.email

    assert stranger.sign_in("the password of a stranger").status_code == 401
    # … and no more with the session of the victim.
    for path in ("verify-password", "delete-user"):
        assert victim.post(path, password="the password of a stranger").status_code == 400


def test_in_c_a_password_cannot_be_changed_at_the_front_end(one_password_store: Stack) -> None:
    visitor = one_password_store.front_end.signed_up()
    refused = visitor.post(
        "change-password", currentPassword=PASSWORD, newPassword="another long password"
    )
    assert refused.status_code == 501
    assert refused.json()["code"] == "PASSWORD_KEPT_BY_BACKEND"
    assert visitor.sign_in().status_code == 200


def test_in_c_an_account_that_better_auth_does_not_know_gets_in_by_signing_up(
    one_password_store: Stack,
) -> None:
    visitor = one_password_store.front_end.visitor()
    account = one_password_store.sign_up_directly(visitor.email)
    assert visitor.sign_in().status_code == 401
    assert visitor.sign_up().status_code == 200
    assert one_password_store.me(visitor) == account


def test_in_c_sign_in_fails_while_the_service_is_down(run_stack: RunStack) -> None:
    with (
        running_gate() as gate,
        run_stack("lib/auth-one-password-store", BACKEND_URL=gate.address) as stack,
    ):
        gate.service = stack.service
        visitor = stack.front_end.signed_up()
        gate.is_shut = True
        for somebody in (visitor, stack.front_end.visitor()):
            # Better Auth asks the service about people whom it does not know, too: the answer, and
            # how long it takes, do not tell who they are.
            assert somebody.sign_in().status_code == 503
        gate.is_shut = False
        assert visitor.sign_in().status_code == 200
