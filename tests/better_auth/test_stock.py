"""Set-up A (and N): Better Auth keeps the users, and the service learns of them by their tokens."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from tests.better_auth.conftest import RunStack
from tests.better_auth.frontend import PASSWORD, Stack, Visitor, decoded

pytestmark = pytest.mark.slow


def verify_email(stack: Stack, visitor: Visitor) -> None:
    """Follow the link of the e-mail that was sent at sign-up."""
    links = [each["link"] for each in stack.front_end.mail() if each["to"] == visitor.email]
    assert visitor.http.get(links[-1].removeprefix(stack.front_end.origin)).status_code == 302
    assert visitor.user()["emailVerified"] is True


def test_a_user_of_a_stock_better_auth_has_an_account_at_the_first_request(stock: Stack) -> None:
    visitor = stock.front_end.signed_up()
    header, claims = decoded(visitor.token())
    assert header == {"alg": "EdDSA", "kid": stock.front_end.keys()[0]["kid"]}
    assert claims["sub"] == visitor.user()["id"]
    assert claims["iss"] == claims["aud"] == stock.front_end.origin
    assert claims["exp"] - claims["iat"] == 15 * 60
    assert (claims["email"], claims["emailVerified"]) == (visitor.email, False)

    path = f"/api/{claims['sub']}/tasks"
    made = stock.call(visitor, "POST", path, json={"title": "Buy milk"})
    assert made.status_code == 201, made.text
    assert made.headers["Location"] == f"{path}/{made.json()['id']}"
    account = stock.me(visitor)
    assert account["email"] == visitor.email
    # The account's own number is as good in the path as Better Auth's id.
    for user_id in (claims["sub"], account["id"]):
        assert stock.call(visitor, "GET", f"/api/{user_id}/tasks").json() == [made.json()]

    visitor.post("sign-out")
    assert visitor.http.get("/api/auth/token").status_code == 401
    assert visitor.sign_in().status_code == 200
    assert stock.me(visitor) == account
    # Better Auth's password does not open the log-in of the service.
    for password in (PASSWORD, "!", ""):
        body = {"email": visitor.email, "password": password}
        assert stock.service.post("/api/auth/login", json=body).status_code == 401


def test_tokens_and_keys_of_neons_managed_better_auth_are_accepted(run_stack: RunStack) -> None:
    paths = {"base_path": "/neondb/auth", "jwks_path": "/.well-known/jwks.json"}
    with run_stack("neon", paths=paths) as stack:
        visitor = stack.front_end.signed_up()
        header, claims = decoded(visitor.token())
        assert header == {"alg": "EdDSA", "kid": stack.front_end.keys()[0]["kid"]}
        # All that is in the example of Neon's documentation.
        assert claims.keys() == {
            *("iat", "exp", "iss", "aud", "sub", "id", "name", "email", "emailVerified", "image"),
            *("createdAt", "updatedAt", "role", "banned", "banReason", "banExpires"),
        }
        assert str(UUID(claims["sub"])) == claims["id"]
        assert claims["iss"] == claims["aud"] == stack.front_end.origin
        assert claims["exp"] - claims["iat"] == 15 * 60
        assert (claims["role"], claims["banned"]) == ("authenticated", False)

        path = f"/api/{claims['sub']}/tasks"
        made = stack.call(visitor, "POST", path, json={"title": "Buy milk"})
        assert stack.call(visitor, "GET", "/api/me/tasks").json() == [made.json()]
        assert stack.me(visitor)["email"] == visitor.email


def test_a_user_who_is_deleted_has_no_account_and_no_tasks_any_more(stock: Stack) -> None:
    visitor = stock.front_end.signed_up()
    headers = visitor.headers()
    body = {"title": "mine"}
    assert stock.service.post("/api/me/tasks", headers=headers, json=body).status_code == 201

    deleted = visitor.post("delete-user", password=PASSWORD)

    assert deleted.status_code == 200, deleted.text
    assert stock.service.get("/api/me/tasks", headers=headers).status_code == 401
    assert visitor.sign_in().status_code == 401


def test_a_stranger_has_no_way_to_the_tasks_of_another(stock: Stack) -> None:
    alice, bob = stock.front_end.signed_up(), stock.front_end.signed_up()
    path = f"/api/{alice.user()['id']}/tasks"
    task = stock.call(alice, "POST", path, json={"title": "mine"}).json()
    assert stock.call(bob, "GET", path).status_code == 403
    bobs_path = f"/api/{bob.user()['id']}/tasks/{task['id']}"
    assert stock.call(bob, "GET", bobs_path).status_code == 404


def test_an_account_made_earlier_is_linked_once_the_address_is_verified(stock: Stack) -> None:
    visitor = stock.front_end.visitor()
    account = stock.sign_up_directly(visitor.email)
    visitor.sign_up()

    refused = stock.call(visitor, "GET", "/api/auth/me")
    assert refused.status_code == 403
    assert "verify your e-mail address first" in refused.json()["detail"]

    verify_email(stock, visitor)
    assert stock.me(visitor) == account


def test_the_first_requests_of_a_verified_user_may_come_at_once(stock: Stack) -> None:
    visitor = stock.front_end.signed_up()
    verify_email(stock, visitor)
    headers = visitor.headers()
    with ThreadPoolExecutor(8) as pool:
        responses = list(
            pool.map(lambda _: stock.service.get("/api/auth/me", headers=headers), range(16))
        )
    assert {response.status_code for response in responses} == {200}
    assert len({response.json()["id"] for response in responses}) == 1


def test_a_user_whose_address_changes_keeps_the_account(stock: Stack) -> None:
    visitor = stock.front_end.signed_up()
    account = stock.me(visitor)
    new_email = f"new-{visitor.email}"
    assert visitor.post("change-email", newEmail=new_email).status_code == 200
    assert decoded(visitor.token())[1]["email"] == new_email
    # The new address is not verified: the account keeps the old one.
    assert stock.me(visitor) == account


def test_an_address_belongs_to_the_user_who_proved_it_last(stock: Stack) -> None:
    first = stock.front_end.signed_up()
    task = stock.call(first, "POST", "/api/me/tasks", json={"title": "mine"}).json()
    account = stock.me(first)
    first.post("change-email", newEmail=f"new-{first.email}")
    second = stock.front_end.visitor()
    second.email = first.email
    second.sign_up()
    assert stock.call(second, "GET", "/api/auth/me").status_code == 403
    verify_email(stock, second)

    # The second user gets the address and an account without tasks; the first keeps the old one.
    new_account = stock.me(second)
    assert new_account["email"] == second.email
    assert new_account["id"] != account["id"]
    assert stock.call(second, "GET", "/api/me/tasks").json() == []
    assert stock.call(first, "GET", "/api/me/tasks").json() == [task]
    after = stock.me(first)
    assert after["id"] == account["id"]
    assert after["email"] != second.email
