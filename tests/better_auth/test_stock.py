"""Set-up A (and N): Better Auth keeps the users, and the service learns of them by their tokens."""

from uuid import UUID

import pytest

from tests.better_auth.conftest import RunStack
from tests.better_auth.frontend import PASSWORD, Stack, decoded

pytestmark = pytest.mark.slow


def test_a_user_of_a_stock_better_auth_has_an_account_at_the_first_request(stock: Stack) -> None:
    visitor = stock.signed_up()
    header, claims = decoded(visitor.token())
    assert header.keys() == {"alg", "kid"}
    assert header["alg"] == "EdDSA"
    assert claims["sub"] == visitor.user()["id"]
    assert claims["iss"] == claims["aud"] == stock.origin
    assert claims["exp"] - claims["iat"] == 15 * 60
    assert (claims["email"], claims["emailVerified"]) == (visitor.email, False)

    path = f"/api/{claims['sub']}/tasks"
    task = visitor.call("POST", path, json={"title": "Buy milk"}).json()
    account = visitor.me()
    assert account["email"] == visitor.email
    # The account's own number is as good in the path as Better Auth's id.
    for user_id in (claims["sub"], account["id"]):
        assert visitor.call("GET", f"/api/{user_id}/tasks").json() == [task]

    visitor.post("sign-out")
    assert visitor.auth.get("token").status_code == 401
    assert visitor.sign_in().status_code == 200
    assert visitor.me() == account


def test_tokens_and_keys_of_neons_managed_better_auth_are_accepted(run_stack: RunStack) -> None:
    paths = {"base_path": "/neondb/auth", "jwks_path": "/.well-known/jwks.json"}
    with run_stack("neon", **paths) as stack:
        visitor = stack.signed_up()
        header, claims = decoded(visitor.token())
        assert header["alg"] == "EdDSA"
        # All that is in the example of Neon's documentation.
        assert claims.keys() == {
            *("iat", "exp", "iss", "aud", "sub", "id", "name", "email", "emailVerified", "image"),
            *("createdAt", "updatedAt", "role", "banned", "banReason", "banExpires"),
        }
        assert str(UUID(claims["sub"])) == claims["id"]
        assert claims["iss"] == claims["aud"] == stack.origin
        assert (claims["role"], claims["banned"]) == ("authenticated", False)

        task = visitor.call("POST", f"/api/{claims['sub']}/tasks", json={"title": "Buy milk"})
        assert visitor.call("GET", "/api/me/tasks").json() == [task.json()]
        assert visitor.me()["email"] == visitor.email


def test_a_user_who_is_deleted_has_no_account_and_no_tasks_any_more(stock: Stack) -> None:
    visitor = stock.signed_up()
    token = visitor.token()
    assert stock.ask(token).status_code == 200
    deleted = visitor.post("delete-user", password=PASSWORD)
    assert deleted.status_code == 200, deleted.text
    assert stock.ask(token).status_code == 401
    assert visitor.sign_in().status_code == 401
