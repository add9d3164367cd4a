"""Tests of sign-up, log-in and `GET /api/auth/me`."""

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Serve, SignIn
from tests.support.database import execute
from tests.support.problems import assert_problem
from tests.support.service import Person, replacing
from tests.support.tokens import SigningKey
from utils.security import PasswordHasher

PASSWORD = "correct horse battery staple"


def new_address() -> str:
    return f"{uuid4().hex}@example.com"


def send(client: httpx.Client, path: str, email: object, password: object) -> httpx.Response:
    # As httpx would not: it sends no half of a surrogate pair.
    body = json.dumps({"email": email, "password": password, "id": 1, "auth_subject": "x"})
    headers = {"Content-Type": "application/json"}
    return client.post(f"/api/auth/{path}", content=body, headers=headers)


def sign_up(client: httpx.Client, email: object, password: object = PASSWORD) -> httpx.Response:
    return send(client, "signup", email, password)


def log_in(client: httpx.Client, email: object, password: object = PASSWORD) -> httpx.Response:
    return send(client, "login", email, password)


# Signing up, then logging in


def test_sign_up_then_log_in_and_only_a_bcrypt_hash_is_stored(
    serve: Serve, key: SigningKey, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    # At the cost that hashes have in production.
    client = serve()
    email, password = new_address(), f"pass-{uuid4().hex}"
    with caplog.at_level(logging.DEBUG):
        created = sign_up(client, email, password)
        accepted = log_in(client, email, password)
        refused = log_in(client, email, f"{password}x")
    assert created.status_code == 201
    account = created.json()
    assert account.keys() == {"id", "email", "created_at"}
    assert account["email"] == email
    assert account["created_at"].endswith("Z")
    assert (accepted.status_code, accepted.json()) == (200, account)
    assert_problem(refused, 401)
    ((stored, subject),) = execute(
        database_url, "SELECT password_hash, auth_subject FROM users WHERE email = %s", email
    )
    assert stored.startswith("$2b$12$")
    assert subject is None
    assert email not in caplog.text
    for secret in (password, stored):
        assert secret not in caplog.text + created.text + accepted.text + refused.text
    # A token with the account's id belongs to it.
    assert Person(client, key, sub=str(account["id"]), email=email).account() == account


def test_an_address_has_one_account_whatever_its_case(client: httpx.Client) -> None:
    name = uuid4().hex
    created = sign_up(client, f"{name.upper()}@EXAMPLE.com")
    assert created.json()["email"] == f"{name}@example.com"
    again = sign_up(client, f"{name.capitalize()}@Example.COM", "another good one")
    assert_problem(again, 409)
    assert log_in(client, f"{name.title()}@eXample.com").status_code == 200


def test_one_of_several_sign_ups_at_once_wins(client: httpx.Client, database_url: str) -> None:
    email = new_address()
    with ThreadPoolExecutor(4) as threads:
        responses = list(threads.map(lambda _: sign_up(client, email), range(4)))
    assert sorted(response.status_code for response in responses) == [201, 409, 409, 409]
    assert execute(database_url, "SELECT count(*) FROM users WHERE email = %s", email) == [(1,)]


# E-mail addresses


@pytest.mark.parametrize(
    "email",
    [
        "", " ", "a", "@", "a@", "@example.com", "a@b", "a@localhost", "a b@example.com",
        "a@exam ple.com", "a@example..com", ".a@example.com", "a@-example.com", "a@example.com.",
        "a@@example.com", "a@b@example.com", "a@[127.0.0.1]", '"a b"@example.com',
        "Bob <bob@example.com>", "<bob@example.com>", "a@example.com\n", "a@example.com,b@c.de",
        "a\r\nBcc: b@example.com", "mailto:a@example.com@",
        "a@" + "x" * 64 + ".com", "x" * 300 + "@example.com", "a@" + "x." * 30_000 + "com",
        "a@example.com\u202e", "<script>@example.com", None, 5, True, [], ["a@example.com"], {},
    ],
    ids=lambda email: f"{email!r:.30}-{len(str(email))}",
)  # fmt: skip
def test_an_invalid_address_is_400_and_not_echoed(client: httpx.Client, email: object) -> None:
    for response in (sign_up(client, email), log_in(client, email)):
        assert_problem(response, 400, "email")
        assert PASSWORD not in response.text
        if isinstance(email, str) and len(email) > 4:
            assert email not in response.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("{}+tag.x_y-z'q@sub.example.co.uk", "{}+tag.x_y-z'q@sub.example.co.uk"),
        ("{}.ÜBER@EXÄMPLE.com", "{}.über@exämple.com"),
        ("{}.u\u0308@example.com", "{}.ü@example.com"),
        ("{}.J\u030c@example.com", "{}.\u01f0@example.com"),
        ("{}@app.local", "{}@app.local"),
        ("{}@x.localhost", "{}@x.localhost"),
    ],
)
def test_a_valid_address_is_stored_in_lower_case_and_nfc(
    client: httpx.Client, sent: str, stored: str
) -> None:
    name = uuid4().hex
    response = sign_up(client, sent.format(name.upper()))
    assert (response.status_code, response.json()["email"]) == (201, stored.format(name))


# Passwords


@pytest.mark.parametrize(
    "password",
    [
        # Too short: 7 characters, of 4 bytes, or 14 that are 7 in NFC.
        "", "g7#kQ2x", "\U0001f511" * 7, "e\u0301" * 7,
        # Too long: 73 bytes.
        "x!9" * 24 + "y", "\U0001f511" * 18 + "y", "q7" * 20_000,
        # Common.
        "PassWord123", "qwertyuiop", "12345678",
        "a-good-password\0", "\ud800-a-good-password",
        None, 1234567890, ["a-good-password"], {"a-good-password": 1},
    ],
    ids=lambda password: f"{password!a:.20}-{len(str(password))}",
)  # fmt: skip
def test_a_refused_password_is_400_and_never_echoed_or_logged(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, password: object
) -> None:
    with caplog.at_level(logging.DEBUG):
        response = sign_up(client, new_address(), password)
    assert_problem(response, 400, "password")
    assert_problem(log_in(client, new_address(), "a-good-password\0"), 400, "password")
    for text in (response.text, caplog.text):
        assert len(str(password)) < 5 or str(password) not in text
        assert "a-good-password" not in text


@pytest.mark.parametrize("path", ["/api/auth/signup", "/api/auth/login"])
def test_a_body_without_its_fields_names_them(client: httpx.Client, path: str) -> None:
    assert_problem(client.post(path, json={}), 400, "email", "password")


@pytest.mark.parametrize(
    ("password", "same", "other"),
    [
        ("g7#kQ2x!", "g7#kQ2x!", "g7#kQ2x? "),
        ("x!9" * 24, "x!9" * 24, "x!9" * 24 + "y"),
        ("\U0001f511" * 18, "\U0001f511" * 18, "\U0001f511" * 18 + "x"),
        (" pa\u0308sswo\u0308r ", " p\u00e4ssw\u00f6r ", "p\u00e4ssw\u00f6r"),
    ],
    ids=ascii,
)
def test_a_password_of_8_characters_to_72_bytes_is_as_it_is_in_nfc(
    client: httpx.Client, password: str, same: str, other: str
) -> None:
    email = new_address()
    assert sign_up(client, email, password).status_code == 201
    assert log_in(client, email, same).status_code == 200
    assert_problem(log_in(client, email, other), 401)


# A failed log-in tells nothing


NOT_BCRYPT = [
    "",
    "$2b$12$short",
    "$2x$12$" + "a" * 53,
    "$2b$12$" + "a" * 52 + "é",
    "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g",
]


@pytest.mark.slow
def test_failed_log_ins_get_the_same_response_and_cost_the_same_work(
    serve: Serve, sign_in: SignIn, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(adapt=replacing(hasher=lambda: PasswordHasher(rounds=10)))
    email, only_token = new_address(), new_address()
    sign_up(client, email)
    sign_in(email=only_token)
    imported = {new_address(): password_hash for password_hash in NOT_BCRYPT}
    for row in imported.items():
        execute(database_url, "INSERT INTO users (email, password_hash) VALUES (%s, %s)", *row)
    responses, seconds = set(), []
    for address, password in (
        (email, "not the right one"),
        (email, "short"),
        (email, "x" * 73),
        (new_address(), PASSWORD),
        (new_address(), "x" * 73),
        (only_token, "!"),
        (only_token, PASSWORD),
        (only_token, ""),
        *((address, PASSWORD) for address in imported),
    ):
        # The service runs in this process.
        began = time.process_time()
        response = log_in(client, address, password)
        seconds.append(time.process_time() - began)
        assert_problem(response, 401)
        names = {*response.headers} - {"date", "x-request-id"}
        responses.add((response.content, *sorted(names)))
    assert len(responses) == 1
    # Without a hash to check it would be a thirtieth.
    assert min(seconds) > max(seconds) / 5
    lines = [each for each in caplog.messages if "not bcrypt" in each]
    assert len(lines) == len(imported)
    assert not [each for each in NOT_BCRYPT if each and each in caplog.text]
