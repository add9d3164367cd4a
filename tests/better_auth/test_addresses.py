"""Whose client address an attempt counts for when the front end's server sends it."""

from collections.abc import Iterator

import pytest

from tests.better_auth.conftest import RunStack
from tests.better_auth.frontend import Stack

pytestmark = pytest.mark.slow

LIMIT = {"auth_rate_limit": "2/minute"}
"""What uvicorn's --forwarded-allow-ips trusts by default is this machine."""


@pytest.fixture
def limited(run_stack: RunStack) -> Iterator[Stack]:
    """Return set-up C behind a service that accepts two attempts from one address."""
    with run_stack("lib/auth-one-password-store", settings=LIMIT) as stack:
        yield stack


def sign_ups(stack: Stack, *forwarded_for: str | None) -> list[int]:
    """Sign up once with each `X-Forwarded-For`; return the statuses."""
    visitors = [stack.front_end.visitor(forwarded_for=each) for each in forwarded_for]
    return [visitor.sign_up().status_code for visitor in visitors]


def test_the_limit_counts_the_visitors_address_in_sign_up_and_sign_in(limited: Stack) -> None:
    visitor = limited.front_end.visitor(forwarded_for="203.0.113.7")
    assert visitor.sign_up().status_code == 200
    assert sign_ups(limited, "203.0.113.7") == [200]
    refused = limited.front_end.visitor(forwarded_for="203.0.113.7").sign_up()
    assert (refused.status_code, refused.json()["code"]) == (429, "TOO_MANY_ATTEMPTS")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert sign_ups(limited, "203.0.113.8") == [200]

    visitor.http.headers["X-Forwarded-For"] = "2001:db8::7"
    assert [visitor.sign_in().status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    "addresses",
    [
        # The last proxy's entry counts, whatever the visitor has sent before it.
        (*(f"198.51.100.{n}, 203.0.113.9" for n in range(3)), "198.51.100.3, 203.0.113.10"),
        # Without the header, every visitor has the address of the front end's server.
        (None, None, None, "203.0.113.9"),
    ],
)
def test_the_address_is_the_one_that_the_last_proxy_added(
    limited: Stack, addresses: tuple[str | None, ...]
) -> None:
    assert sign_ups(limited, *addresses) == [200, 200, 429, 200]


def test_a_server_that_is_not_trusted_cannot_name_another_address(run_stack: RunStack) -> None:
    with run_stack(
        "lib/auth-one-password-store",
        settings=LIMIT,
        uvicorn_options={"forwarded_allow_ips": "203.0.113.1"},
    ) as stack:
        assert sign_ups(stack, *(f"203.0.113.{n}" for n in range(3))) == [200, 200, 429]
