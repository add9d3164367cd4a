"""Tests of who the caller is: the header, the account behind a token, and the path."""

import logging
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from models.accounts import AccountResolver
from models.base import MAX_ID
from tests.conftest import Serve
from tests.support.database import execute, wait_until
from tests.support.problems import assert_problem
from tests.support.proxy import PostgresProxy
from tests.support.service import Person, at_once, replacing
from tests.support.tokens import SigningKey

Who = Callable[..., httpx.Response]
PASSWORD = "a password of some length"


@pytest.fixture
def who(client: httpx.Client, key: SigningKey) -> Who:
    """Ask, with a token that has these claims, who its bearer is."""

    def who(**claims: Any) -> httpx.Response:
        return send(client, f"Bearer {key.token(**claims)}")

    return who


@pytest.fixture
def account(client: httpx.Client) -> dict[str, Any]:
    """Sign up."""
    body = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
    account: dict[str, Any] = client.post("/api/auth/signup", json=body).json()
    return account


def looked_up(proxy: PostgresProxy) -> int:
    """Return how many statements have asked for accounts since this was last asked."""
    count = len([each for each in proxy.statements if "FROM users" in each])
    proxy.statements.clear()
    return count


def accounts(database_url: str, email: str) -> list[tuple[Any, ...]]:
    """Return the id and subject of every account with this e-mail address, whatever its case."""
    return execute(
        database_url, "SELECT id, auth_subject FROM users WHERE lower(email) = lower(%s)", email
    )


# --- the Authorization header ---------------------------------------------------------------


def send(client: httpx.Client, *values: str) -> httpx.Response:
    headers = [(b"Authorization", value.encode("latin-1")) for value in values]
    return client.get("/api/auth/me", headers=headers)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
@pytest.mark.parametrize("gap", [" ", "   "])
def test_the_scheme_may_be_in_any_case(
    client: httpx.Client, key: SigningKey, scheme: str, gap: str
) -> None:
    assert send(client, f"{scheme}{gap}{key.token()}").status_code == 200


@pytest.mark.parametrize(
    "values",
    [
        [], [""], ["Bearer"], ["TOKEN"], ["Basic TOKEN"], ["Basic YWxpY2U6cGFzc3dvcmQ="],
        ["Digest TOKEN"], ["DPoP TOKEN"], ["Token TOKEN"], ["JWT TOKEN"], ["BearerTOKEN"],
        ["Bearer:TOKEN"], ["Bearer=TOKEN"], ["Bearer\tTOKEN"], ["Bearer, TOKEN"],
        ["Bearer Bearer TOKEN"], ["Bearer token=TOKEN"], ['Bearer "TOKEN"'],
        ["Bearer TOKEN, Bearer TOKEN"], ["Bearer TOKEN TOKEN"], ["Bearer TOKEN", "Bearer TOKEN"],
        ["Bearer TOKEN", "Bearer x"], ["Bearer x", "Bearer TOKEN"], ["Bearer TOKEN", "Basic YTpi"],
        ["Bearer TOKEN", ""], ["\xff\xfe TOKEN"], ["Bearer \xc3\xa9\xff"],
    ],
    ids=ascii,
)  # fmt: skip
def test_any_other_header_is_refused(
    client: httpx.Client, key: SigningKey, values: list[str]
) -> None:
    token = key.token()
    response = send(client, *(value.replace("TOKEN", token) for value in values))
    assert_problem(response, 401)
    assert token not in response.text


def test_a_token_anywhere_else_is_not_looked_at(client: httpx.Client, key: SigningKey) -> None:
    token = key.token()
    bearer = f"Bearer {token}"
    params = {"access_token": token, "token": token, "authorization": bearer}
    headers = {"X-Authorization": bearer, "Proxy-Authorization": bearer}
    headers["Cookie"] = f"token={token}; better-auth.session_token={token}"
    assert_problem(client.get("/api/auth/me", params=params, headers=headers), 401)


# --- a subject that is a number -------------------------------------------------------------


def test_a_decimal_sub_is_the_id_of_an_account_and_with_anothers_address_refused_and_logged(
    who: Who, account: dict[str, Any], alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    subject = str(account["id"])
    for _ in range(2):
        for email in (alice.account()["email"], "nobody@example.com"):
            caplog.clear()
            assert_problem(who(sub=subject, email=email, emailVerified=True), 401)
            (warning,) = [each for each in caplog.records if each.levelno == logging.WARNING]
            assert subject in warning.getMessage()
            assert "getSubject" in warning.getMessage()
            assert email not in caplog.text
        # Neither response is taken for the other, however often they come.
        for email in (None, account["email"], account["email"].upper()):
            assert who(sub=subject, email=email).json() == account


# --- a subject that is no number --------------------------------------------------------------

NOT_SUBJECTS = [
    "undefined", "null", "NaN", "[object Object]", "", " ", "\n", " 1", "1 ", "\t1", "1\n", " abc",
    "abc ", "\u00a0abc", "abc\u2003", "\u3000", "a\0b", "\0", "a\nb", "a\tb", "a\x1bb", "a\x7fb",
    "a\x85b", "a\x9fb", "a" * 256, "1" * 256, "é" * 256, "a\ud800b", "\udfff",
]  # fmt: skip
NOT_ADDRESSES = [
    None, "", " ", "a\0@example.com", "a@example.com\0", "a@example.com\n", "\ud800@example.com",
    "a@\udfff.com", "a" * 400 + "@example.com", "a@" + "b" * 9000 + ".com",
]  # fmt: skip


@pytest.mark.parametrize(
    "claims",
    [*({"sub": each} for each in NOT_SUBJECTS), *({"email": each} for each in NOT_ADDRESSES)],
    ids=lambda each: ascii(each)[:40],
)
def test_a_subject_that_is_no_id_or_a_new_one_without_an_address_is_refused_and_has_no_account(
    who: Who, database_url: str, claims: dict[str, Any]
) -> None:
    name = uuid4().hex
    good = {"sub": name, "email": f"{name}@example.com"}
    for is_verified in (True, False):
        assert_problem(who(**{**good, "emailVerified": is_verified, **claims}), 401)
    find = "SELECT id FROM users WHERE auth_subject = %s OR email = %s"
    assert execute(database_url, find, *good.values()) == []


ODD = [
    "0", "00", "01", "+1", "-1", "1.0", "1e3", "0x1", "1_000", "1,000", "\u0661", "\uff11", "²",
    "Undefined", "NULL", "nan", "none", "true", "[object Object]1",
    "a b", "auth0|5f7c8ec7", "a.b-c_d~e",
    "ünï", "用户", "😀", "%31", "a%2Fb", "a+b", "a&b=c", "'; DROP TABLE users; --", "a" * 255,
]  # fmt: skip


@pytest.mark.parametrize("subject", ODD, ids=[ascii(each)[:30] for each in ODD])
def test_any_other_subject_is_better_auths_own_id_and_names_a_path(
    client: httpx.Client, key: SigningKey, database_url: str, subject: str
) -> None:
    execute(database_url, "DELETE FROM users WHERE auth_subject = %s", subject)
    person = Person(client, key, sub=subject)
    task = person.create()
    for path in (quote(subject, safe=""), person.id):
        response = person.call("GET", f"/api/{path}/tasks")
        assert response.json() == [task]
    assert person.export()["account"]["auth_subject"] == subject


def test_an_account_is_made_at_the_first_request_with_an_unusable_password(
    client: httpx.Client, who: Who, database_url: str
) -> None:
    subject, email = uuid4().hex, f"{uuid4().hex}@example.com"
    first, second = (who(sub=subject, email=email).json() for _ in range(2))
    assert first == second
    assert first["email"] == email
    assert accounts(database_url, email) == [(first["id"], subject)]
    ((password_hash,),) = execute(
        database_url, "SELECT password_hash FROM users WHERE id = %s", first["id"]
    )
    for password in (password_hash, "!" * 8):
        login = client.post("/api/auth/login", json={"email": email, "password": password})
        assert login.status_code == 401
    signup = client.post("/api/auth/signup", json={"email": email, "password": PASSWORD})
    assert_problem(signup, 409)


def test_an_account_is_linked_when_the_e_mail_address_is_verified(
    client: httpx.Client, key: SigningKey, who: Who, account: dict[str, Any], database_url: str
) -> None:
    subject = uuid4().hex
    credentials = {"email": account["email"], "password": PASSWORD}
    assert client.post("/api/auth/login", json=credentials).status_code == 200
    response = who(sub=subject, email=account["email"].upper(), emailVerified=True)
    assert response.json() == account
    assert accounts(database_url, account["email"]) == [(account["id"], subject)]
    # From then on the subject alone is enough, and so is the number.
    assert who(sub=subject, email=None).json() == account
    assert who(sub=subject, emailVerified=False, email=account["email"]).json() == account
    assert who(sub=str(account["id"]), email=None).json() == account
    # The number does not name the path of the subject.
    headers = {"Authorization": f"Bearer {key.token(sub=str(account['id']), email=None)}"}
    for path, status in ((account["id"], 200), (subject, 403)):
        assert client.get(f"/api/{path}/tasks", headers=headers).status_code == status
    # A stranger may have set the password: sign-up does not verify the address.
    assert_problem(client.post("/api/auth/login", json=credentials), 401)


@pytest.mark.parametrize("verified", [False, None, "true", 1, 0, "", [True], {"a": True}], ids=repr)
def test_an_account_is_not_linked_unless_the_e_mail_address_is_verified(
    who: Who, account: dict[str, Any], database_url: str, verified: object
) -> None:
    subject = uuid4().hex
    for _ in range(2):
        response = who(sub=subject, email=account["email"], emailVerified=verified)
        assert_problem(response, 403)
        assert "verify your e-mail address" in response.json()["detail"]
    assert accounts(database_url, account["email"]) == [(account["id"], None)]
    # It is not held against them once it is.
    response = who(sub=subject, email=account["email"], emailVerified=True)
    assert response.json() == account


@pytest.mark.parametrize(
    "email",
    [
        "dev@app.local", "a@demo.test", "u@x.localhost", "temp-1@http://localhost:3000", "a", "@",
        "a@exam ple.com", "Alice <a@example.com>", "a@[127.0.0.1]", '"a b"@example.com',
    ],
)  # fmt: skip
def test_the_issuer_has_checked_the_address(who: Who, database_url: str, email: str) -> None:
    execute(database_url, "UPDATE users SET email = NULL WHERE email = %s", email.lower())
    response = who(sub=uuid4().hex, email=email)
    assert (response.status_code, response.json()["email"]) == (200, email.lower())


# --- at once --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["verified", "unverified", "linked"])
def test_thirty_first_requests_at_once_have_one_account_and_none_fails(
    who: Who, account: dict[str, Any], database_url: str, kind: str
) -> None:
    subject = uuid4().hex
    email = account["email"] if kind == "linked" else f"{subject}@example.com"
    claims = {"sub": subject, "email": email, "emailVerified": kind != "unverified"}
    # With an nth claim no two of the tokens are the same.
    responses = at_once(30, lambda n: who(**claims, n=n))
    assert [each.status_code for each in responses] == [200] * 30
    ((user_id, linked),) = accounts(database_url, email)
    assert linked == subject
    assert {each.json()["id"] for each in responses} == {user_id}
    assert (user_id == account["id"]) is (kind == "linked")


def test_of_thirty_subjects_with_one_unproved_address_one_gets_the_account(
    who: Who, database_url: str
) -> None:
    email = f"{uuid4().hex}@example.com"
    subjects = [uuid4().hex for _ in range(30)]
    responses = at_once(30, lambda n: who(sub=subjects[n], email=email, emailVerified=False))
    assert sorted(each.status_code for each in responses) == [200] + [403] * 29
    ((_, linked),) = accounts(database_url, email)
    assert responses[subjects.index(linked)].status_code == 200


# --- what is remembered ---------------------------------------------------------------------


def test_a_known_subject_costs_no_query(
    proxy: PostgresProxy, serve: Serve, key: SigningKey, account: dict[str, Any]
) -> None:
    client = serve(proxy.url)
    stock = {"sub": uuid4().hex, "email": f"{uuid4().hex}@example.com"}
    numbered = {"sub": str(account["id"]), "email": account["email"]}
    for claims in (stock, numbered):
        person = Person(client, key, **claims)
        assert looked_up(proxy) > 1
        # Nor does a new token of the same user.
        for n in range(2):
            assert Person(client, key, **claims, n=n).id == person.id
            assert looked_up(proxy) == 1  # the route's own
        assert person.tasks("POST", json={"title": "a task"}).status_code == 201
        assert looked_up(proxy) == 0
    # Nor does one that is refused.
    for token in ("x", key.token()[:-9] + "AAAAAAAAA", key.token(exp=1), key.token(sub="null")):
        assert send(client, f"Bearer {token}").status_code == 401
        assert proxy.statements == []
    # PostgreSQL would compare this number as a numeric, without the index.
    token = key.token(sub=str(MAX_ID + 1), email=None)
    assert_problem(send(client, f"Bearer {token}"), 404)
    assert looked_up(proxy) == 1  # the route's own


def test_a_number_without_an_account_is_not_remembered(who: Who, database_url: str) -> None:
    subject = str(10**12 + secrets.randbelow(10**9))
    assert_problem(who(sub=subject, email=None), 404)
    execute(
        database_url,
        "INSERT INTO users (id, password_hash) OVERRIDING SYSTEM VALUE VALUES (%s, '!')",
        subject,
    )
    assert who(sub=subject, email=None).json()["id"] == int(subject)


def test_after_a_restore_no_subject_gets_the_tasks_of_the_new_holder_of_its_id(
    serve: Serve, key: SigningKey, database_url: str
) -> None:
    """An older dump comes back under the running service, and another user gets the same id."""
    client = serve(adapt=replacing(resolver=lambda: AccountResolver(remembered_seconds=0.5)))
    mallory = Person(client, key)
    newcomer = uuid4().hex
    execute(
        database_url,
        "UPDATE users SET auth_subject = %s, email = %s WHERE id = %s",
        newcomer,
        f"{newcomer}@example.com",
        mallory.id,
    )
    wait_until(lambda: mallory.tasks("GET").status_code == 403, 3)
    owner = Person(client, key, sub=newcomer)
    assert owner.id == mallory.id
    task = owner.create()
    assert mallory.tasks("GET", task["id"]).status_code == 403
    assert mallory.call("GET", "/api/me/tasks").json() == []
    assert mallory.call("GET", "/api/auth/me").json()["id"] != owner.id


# --- the path -------------------------------------------------------------------------------


def test_a_percent_encoded_slash_is_a_slash(alice: Person, bob: Person) -> None:
    """ASGI decodes paths before they are routed: whose tasks they are is checked afterwards."""
    task = alice.create()["id"]
    for path, status in (
        ("/api/me%2ftasks", 200),
        (f"/api/{alice.id}%2Ftasks%2f{task}", 200),
        (f"/api/{bob.id}%2ftasks", 403),
        (f"/api/me%2f..%2f{bob.id}%2ftasks", 404),
        ("/api/me%252ftasks", 404),
    ):
        assert alice.call("GET", path).status_code == status, path


@pytest.mark.parametrize(
    "spelling",
    [
        "0{id}", "00{id}", "+{id}", "-{id}", "%20{id}", "{id}%20", "{id}%0A", "{id}.0", "{id}.",
        "{id}e0", "0x{id}", "{id},", "{id}%00", "{id}_", "{id}0", "{arabic}", "{wide}",
        "{id}%2C{id}", "0", "-1", "1e99", str(MAX_ID), str(MAX_ID + 1), "9" * 4301, "ME", "null",
        "NaN", "undefined", "%5Bobject%20Object%5D", "{SUB}", "{sub}%20", "{sub}x", "{other}",
        "{other_sub}", "*", "%25", "~", "%F0%9F%98%80", "%FF", "{email}", "%27%20OR%201%3D1%20--",
    ],
)  # fmt: skip
def test_any_other_path_belongs_to_another_user(alice: Person, bob: Person, spelling: str) -> None:
    email = alice.account()["email"]
    subject = email.partition("@")[0]
    path = spelling.format(
        id=alice.id,
        arabic="".join(quote(chr(0x660 + int(each))) for each in str(alice.id)),
        wide="".join(quote(chr(0xFF10 + int(each))) for each in str(alice.id)),
        sub=subject,
        SUB=subject.upper(),
        other=bob.id,
        other_sub=bob.account()["email"].partition("@")[0],
        email=email,
    )
    assert alice.call("GET", f"/api/{subject}/tasks").status_code == 200
    assert_problem(alice.call("GET", f"/api/{path}/tasks"), 403)
