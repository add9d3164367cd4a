"""Whose client address an attempt counts for when the front end's server sends it."""

import pytest

from tests.better_auth.conftest import RunStack

pytestmark = pytest.mark.slow

ADDRESSES = [
    ["203.0.113.7", "203.0.113.7", "203.0.113.7", "203.0.113.8"],
    # The last proxy's entry counts, whatever the visitor has sent before it.
    [*(f"198.51.100.{n}, 203.0.113.9" for n in range(3)), "198.51.100.3, 203.0.113.10"],
    # Without the header, every visitor has the address of the front end's server.
    ["", "", "", "203.0.113.11"],
]


def test_the_limit_counts_the_visitors_address_that_the_last_proxy_added(
    run_stack: RunStack,
) -> None:
    limit = {"auth_rate_limit": "2/minute"}
    with run_stack("lib/auth-one-password-store", settings=limit) as stack:
        for addresses in ADDRESSES:
            responses = [stack.visitor(each).sign_up() for each in addresses]
            assert [each.status_code for each in responses] == [200, 200, 429, 200]
            assert responses[2].json()["code"] == "TOO_MANY_ATTEMPTS"
            assert 0 < int(responses[2].headers["Retry-After"]) <= 60
        visitor = stack.signed_up(forwarded_for="203.0.113.12")
        visitor.auth.headers["X-Forwarded-For"] = "2001:db8::7"
        assert [visitor.sign_in().status_code for _ in range(3)] == [200, 200, 429]
