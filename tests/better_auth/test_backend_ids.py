"""Set-ups B and C: sign-up creates the account at the service, and tokens carry its id."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.better_auth.conftest import RunStack
from tests.better_auth.frontend import PASSWORD, Stack, decoded
from tests.better_auth.gate import Gate, running_gate
from tests.support.database import execute
from utils.security import PasswordHasher

pytestmark = pytest.mark.slow

OTHER_PASSWORD = "another long password"


@pytest.fixture(params=["backend_ids", "one_password_store"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """Return set-up B, and then C: they sign up in the same way."""
    stack: Stack = request.getfixturevalue(request.param)
    return stack


def is_known(stack: Stack, email: str) -> bool:
    """Return whether the service has an account with this address and PASSWORD."""
    body = {"email": email, "password": PASSWORD}
    return stack.service.post("/api/auth/login", json=body).is_success


def test_sign_up_creates_the_account_whose_id_the_tokens_carry(stack: Stack) -> None:
    visitor = stack.front_end.signed_up()

    assert is_known(stack, visitor.email)
    user = visitor.user()
    header, claims = decoded(visitor.token())
    assert header["alg"] == "EdDSA"
    assert claims.keys() == {"sub", "iss", "aud", "iat", "exp", "email", "emailVerified"}
    assert (claims["sub"], claims["email"]) == (user["backendId"], visitor.email)
    account = stack.me(visitor)
    assert account["id"] == int(user["backendId"])
    path = f"/api/{user['backendId']}/tasks"
    task = stack.call(visitor, "POST", path, json={"title": "Buy milk"}).json()
    assert stack.call(visitor, "GET", path).json() == [task]

    visitor.post("sign-out")
    assert visitor.sign_in("not the password").status_code == 401
    assert visitor.sign_in().status_code == 200
    assert stack.me(visitor) == account


def test_an_account_made_earlier_is_taken_over_only_with_its_password(stack: Stack) -> None:
    visitor = stack.front_end.visitor()
    account = stack.sign_up_directly(visitor.email.upper())

    refused = visitor.sign_up(OTHER_PASSWORD)
    assert (refused.status_code, refused.json()["code"]) == (422, "USER_ALREADY_EXISTS")
    for password in (OTHER_PASSWORD, PASSWORD):
        assert visitor.sign_in(password).status_code == 401

    assert visitor.sign_up().status_code == 200
    assert stack.me(visitor) == account


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        # Better Auth counts 60 characters and accepts them; bcrypt would see 120 bytes.
        ("é" * 60, "at most 72 bytes"),
        ("password123", "commonest"),
    ],
)
def test_a_password_that_the_service_refuses_leaves_no_user_behind(
    backend_ids: Stack, password: str, reason: str
) -> None:
    visitor = backend_ids.front_end.visitor()

    refused = visitor.sign_up(password)

    assert (refused.status_code, refused.json()["code"]) == (400, "REFUSED_BY_BACKEND")
    assert reason in refused.json()["message"]
    assert visitor.sign_in(password).status_code == 401
    assert visitor.sign_up().status_code == 200
    assert backend_ids.me(visitor)["email"] == visitor.email


def test_better_auths_own_refusals_stay(backend_ids: Stack) -> None:
    visitor, again, invalid = (
        backend_ids.front_end.signed_up(),
        backend_ids.front_end.visitor(),
        backend_ids.front_end.visitor(),
    )
    again.email = visitor.email
    assert again.sign_up().status_code == 422
    invalid.email = "not an address"
    assert invalid.sign_up().status_code == 400


def test_users_cannot_choose_their_account(stack: Stack) -> None:
    victim = stack.front_end.signed_up()
    account = stack.me(victim)
    for field, value in (("backendId", str(account["id"])), ("backendEmail", victim.email)):
        thief = stack.front_end.visitor()
        assert thief.sign_up(**{field: value}).status_code == 400
        thief.sign_up()
        assert thief.post("update-user", **{field: value}).status_code == 400
        assert stack.me(thief)["id"] != account["id"]


def test_an_account_that_took_the_address_later_opens_no_session(stack: Stack) -> None:
    victim = stack.front_end.signed_up()
    assert stack.call(victim, "DELETE", "/api/auth/me").status_code == 204
    stack.sign_up_directly(victim.email, OTHER_PASSWORD)
    stranger = stack.front_end.visitor()
    stranger.email = victim.email

    assert stranger.sign_in(OTHER_PASSWORD).status_code == 401
    # Nor does the stranger's password count in the victim's session.
    for path in ("verify-password", "delete-user"):
        assert victim.post(path, password=OTHER_PASSWORD).status_code == 400


@pytest.fixture(params=["lib/auth-backend-ids", "lib/auth-one-password-store"])
def gated(request: pytest.FixtureRequest, run_stack: RunStack) -> Iterator[tuple[Stack, Gate]]:
    """Return set-up B, and then C, with a gate in front of the service."""
    with running_gate() as gate, run_stack(request.param, BACKEND_URL=gate.address) as stack:
        gate.service = stack.service
        yield stack, gate


@pytest.mark.parametrize("fault", ["is_shut", "loses_responses"])
def test_a_sign_up_that_fails_half_way_is_completed_by_a_second_attempt(
    gated: tuple[Stack, Gate], fault: str
) -> None:
    stack, gate = gated
    visitor = stack.front_end.visitor()
    setattr(gate, fault, True)

    refused = visitor.sign_up()

    assert (refused.status_code, refused.json()["code"]) == (503, "BACKEND_UNAVAILABLE")
    assert refused.headers["Retry-After"] == "5"
    assert is_known(stack, visitor.email) == (fault == "loses_responses")
    setattr(gate, fault, False)
    assert visitor.sign_up().status_code == 200
    assert stack.me(visitor)["email"] == visitor.email


# What B and C do not share.


def test_in_b_address_and_password_may_change_and_the_account_stays(backend_ids: Stack) -> None:
    visitor = backend_ids.front_end.signed_up()
    account = backend_ids.me(visitor)
    new_email = f"new-{visitor.email}"
    assert visitor.post("change-email", newEmail=new_email).status_code == 200
    passwords = {"currentPassword": PASSWORD, "newPassword": OTHER_PASSWORD}
    assert visitor.post("change-password", **passwords).status_code == 200
    assert visitor.user()["email"] == new_email
    assert backend_ids.me(visitor) == account

    visitor.post("sign-out")
    old_email, visitor.email = visitor.email, new_email
    assert visitor.sign_in().status_code == 401
    assert visitor.sign_in(OTHER_PASSWORD).status_code == 200
    assert backend_ids.me(visitor) == account
    # The service is not told of either.
    assert is_known(backend_ids, old_email)


def test_in_c_the_services_hash_is_the_only_one(
    one_password_store: Stack, database_url: str
) -> None:
    visitor = one_password_store.front_end.signed_up()
    account = one_password_store.me(visitor)
    assert visitor.post("verify-password", password=OTHER_PASSWORD).status_code == 400
    assert visitor.post("verify-password", password=PASSWORD).status_code == 200
    # It cannot be changed at the front end …
    passwords = {"currentPassword": PASSWORD, "newPassword": OTHER_PASSWORD}
    refused = visitor.post("change-password", **passwords)
    assert (refused.status_code, refused.json()["code"]) == (501, "PASSWORD_KEPT_BY_BACKEND")
    visitor.post("sign-out")
    assert visitor.sign_in().status_code == 200

    # … and a change at the service counts at once.
    new_hash = asyncio.run(PasswordHasher().hash(OTHER_PASSWORD, ""))
    execute(
        database_url,
        "UPDATE users SET password_hash = %s WHERE id = %s",
        new_hash,
        account["id"],
    )
    assert visitor.sign_in().status_code == 401
    assert visitor.sign_in(OTHER_PASSWORD).status_code == 200


def test_in_c_sign_in_fails_while_the_service_is_down(run_stack: RunStack) -> None:
    with (
        running_gate() as gate,
        run_stack("lib/auth-one-password-store", BACKEND_URL=gate.address) as stack,
    ):
        gate.service = stack.service
        visitor = stack.front_end.signed_up()
        gate.is_shut = True
        # The service is asked about unknown addresses too: neither the response nor its time tells
        # whether there is such a user.
        for somebody in (visitor, stack.front_end.visitor()):
            assert somebody.sign_in().status_code == 503
        gate.is_shut = False
        assert visitor.sign_in().status_code == 200
