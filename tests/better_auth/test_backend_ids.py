"""Set-ups B and C: sign-up creates the account at the service, and tokens carry its id."""

import asyncio

import pytest

from tests.better_auth.frontend import PASSWORD, Stack, decoded
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
    visitor = stack.signed_up()
    assert is_known(stack, visitor.email)
    header, claims = decoded(visitor.token())
    assert header["alg"] == "EdDSA"
    assert claims.keys() == {"sub", "iss", "aud", "iat", "exp", "email", "emailVerified"}
    assert claims["email"] == visitor.email
    account = visitor.me()
    assert claims["sub"] == visitor.user()["backendId"] == str(account["id"])
    path = f"/api/{account['id']}/tasks"
    task = visitor.call("POST", path, json={"title": "Buy milk"}).json()
    assert visitor.call("GET", path).json() == [task]

    visitor.post("sign-out")
    assert visitor.sign_in("not the password").status_code == 401
    assert visitor.sign_in().status_code == 200
    assert visitor.me() == account


def test_an_account_made_earlier_is_taken_over_only_with_its_password(stack: Stack) -> None:
    visitor = stack.visitor()
    account = stack.sign_up_directly(visitor.email.upper())
    refused = visitor.sign_up(OTHER_PASSWORD)
    assert (refused.status_code, refused.json()["code"]) == (422, "USER_ALREADY_EXISTS")
    for password in (OTHER_PASSWORD, PASSWORD):
        assert visitor.sign_in(password).status_code == 401
    assert visitor.sign_up().status_code == 200
    assert visitor.me() == account


def test_a_password_that_the_service_refuses_leaves_no_user_behind(backend_ids: Stack) -> None:
    # Better Auth counts 60 characters and accepts them; bcrypt would see 120 bytes.
    for password, reason in (("é" * 60, "at most 72 bytes"), ("password123", "commonest")):
        visitor = backend_ids.visitor()
        refused = visitor.sign_up(password)
        assert (refused.status_code, refused.json()["code"]) == (400, "REFUSED_BY_BACKEND")
        assert reason in refused.json()["message"]
        assert visitor.sign_in(password).status_code == 401
        assert visitor.sign_up().status_code == 200
        assert visitor.me()["email"] == visitor.email


def test_users_cannot_choose_their_account(stack: Stack) -> None:
    victim = stack.signed_up()
    account = victim.me()
    for field, value in (("backendId", str(account["id"])), ("backendEmail", victim.email)):
        thief = stack.visitor()
        assert thief.sign_up(**{field: value}).status_code == 400
        thief.sign_up()
        assert thief.post("update-user", **{field: value}).status_code == 400
        assert thief.me()["id"] != account["id"]


def test_an_account_that_took_the_address_later_opens_no_session(stack: Stack) -> None:
    victim, stranger = stack.signed_up(), stack.visitor()
    assert victim.call("DELETE", "/api/auth/me").status_code == 204
    stack.sign_up_directly(victim.email, OTHER_PASSWORD)
    stranger.email = victim.email
    assert stranger.sign_in(OTHER_PASSWORD).status_code == 401
    # Nor does the stranger's password count in the victim's session.
    for path in ("verify-password", "delete-user"):
        assert victim.post(path, password=OTHER_PASSWORD).status_code == 400


@pytest.mark.parametrize("fault", ["no connection", "no response"])
def test_a_sign_up_that_fails_half_way_is_completed_by_a_second_attempt(
    stack: Stack, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = stack.visitor()
    monkeypatch.setattr(stack, "fault", fault)
    refused = visitor.sign_up()
    assert (refused.status_code, refused.json()["code"]) == (503, "BACKEND_UNAVAILABLE")
    assert refused.headers["Retry-After"] == "5"
    assert is_known(stack, visitor.email) == (fault == "no response")
    monkeypatch.undo()
    assert visitor.sign_up().status_code == 200
    assert visitor.me()["email"] == visitor.email


# What B and C do not share.


def test_in_b_address_and_password_may_change_and_the_account_stays(backend_ids: Stack) -> None:
    visitor = backend_ids.signed_up()
    account = visitor.me()
    old_email, new_email = visitor.email, f"new-{visitor.email}"
    assert visitor.post("change-email", newEmail=new_email).status_code == 200
    passwords = {"currentPassword": PASSWORD, "newPassword": OTHER_PASSWORD}
    assert visitor.post("change-password", **passwords).status_code == 200
    visitor.post("sign-out")
    visitor.email = new_email
    assert visitor.sign_in().status_code == 401
    assert visitor.sign_in(OTHER_PASSWORD).status_code == 200
    assert visitor.user()["email"] == new_email
    assert visitor.me() == account
    # The service is not told of either.
    assert is_known(backend_ids, old_email)


def test_in_c_the_services_hash_is_the_only_one(
    one_password_store: Stack, database_url: str
) -> None:
    visitor = one_password_store.signed_up()
    # It cannot be changed at the front end …
    passwords = {"currentPassword": PASSWORD, "newPassword": OTHER_PASSWORD}
    refused = visitor.post("change-password", **passwords)
    assert (refused.status_code, refused.json()["code"]) == (501, "PASSWORD_KEPT_BY_BACKEND")
    for old, new in ((PASSWORD, OTHER_PASSWORD), (OTHER_PASSWORD, PASSWORD)):
        assert visitor.post("verify-password", password=new).status_code == 400
        assert visitor.post("verify-password", password=old).status_code == 200
        assert visitor.sign_in(old).status_code == 200
        # … and a change at the service counts at once.
        new_hash = asyncio.run(PasswordHasher(rounds=4).hash(new, ""))
        execute(
            database_url,
            "UPDATE users SET password_hash = %s WHERE id = %s",
            new_hash,
            visitor.user()["backendId"],
        )
        assert visitor.sign_in(old).status_code == 401


def test_in_c_sign_in_fails_while_the_service_is_down(
    one_password_store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = one_password_store.signed_up()
    monkeypatch.setattr(one_password_store, "fault", "no connection")
    # The service is asked about unknown addresses too: neither the response nor its time tells
    # whether there is such a user.
    for somebody in (visitor, one_password_store.visitor()):
        assert somebody.sign_in().status_code == 503
    monkeypatch.undo()
    assert visitor.sign_in().status_code == 200
