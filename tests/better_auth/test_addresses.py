"""Whose address an attempt to sign up counts for, when the front end's server makes it."""

from collections.abc import Iterator

import pytest

from tests.better_auth.conftest import RunStack
from tests.better_auth.frontend import PASSWORD, Stack

pytestmark = pytest.mark.slow

LIMIT = {"auth_rate_limit": "2/minute"}


@pytest.fixture
def limited(run_stack: RunStack) -> Iterator[Stack]:
    """Return set-up C behind a service that takes two attempts from one address.

    uvicorn trusts this machine to say for whom it asks: that is its --forwarded-allow-ips.
    """
    with run_stack("lib/auth-one-password-store", settings=LIMIT) as stack:
        yield stack


def test_the_limit_is_the_callers_own_not_the_front_ends(limited: Stack) -> None:
    sign_up_address, sign_in_address = "203.0.113.7", "2001:db8::7"
    visitors = [
        limited.front_end.visitor(forwarded_for=address)
        for address in (sign_up_address, sign_up_address, sign_up_address, "203.0.113.8")
    ]
    answers = [visitor.sign_up() for visitor in visitors]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 200]
    assert answers[2].json()["code"] == "TOO_MANY_ATTEMPTS"
    assert 0 < int(answers[2].headers["Retry-After"]) <= 60

    # Signing in counts for the caller, too, and does not say that the password is wrong.
    visitors[0].http.headers["X-Forwarded-For"] = sign_in_address
    assert [visitors[0].sign_in().status_code for _ in range(3)] == [200, 200, 429]


def test_the_address_is_the_one_that_the_last_proxy_added(limited: Stack) -> None:
    answers = [
        limited.front_end.visitor(forwarded_for=addresses).sign_up()
        for addresses in (
            "198.51.100.1, 203.0.113.9",
            "198.51.100.2, 203.0.113.9",
            "198.51.100.3, 203.0.113.9",
            "198.51.100.3, 203.0.113.10",
        )
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 200]


def test_without_a_noted_address_everybody_is_the_front_end(limited: Stack) -> None:
    answers = [limited.front_end.visitor().sign_up() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


def test_a_server_that_is_not_trusted_cannot_say_for_whom_it_asks(run_stack: RunStack) -> None:
    with run_stack(
        "lib/auth-one-password-store",
        settings=LIMIT,
        uvicorn_options={"forwarded_allow_ips": "203.0.113.1"},
    ) as stack:
        answers = [
            stack.front_end.visitor(forwarded_for=f"203.0.113.{n}").sign_up(PASSWORD)
            for n in range(3)
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
