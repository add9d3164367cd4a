"""Tests of how often one address may try to sign up or log in."""

import time

import httpx
import pytest

from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem
from tests.support.service import ORIGIN, make_settings, running_service


def attempt(
    client: httpx.Client, path: str = "login", address: str | None = None
) -> httpx.Response:
    """Try with a body that is refused, which counts and costs no hash."""
    headers = {"Origin": ORIGIN} | ({"X-Forwarded-For": address} if address else {})
    return client.post(f"/api/auth/{path}", json={}, headers=headers)


def statuses(client: httpx.Client, count: int, address: str | None = None) -> list[int]:
    return [attempt(client, address=address).status_code for _ in range(count)]


def test_more_attempts_than_the_limit_are_429_on_signup_and_login_together(
    database_url: str, key_server: KeyServer
) -> None:
    settings = make_settings(database_url, key_server.url, auth_rate_limit="3/minute")
    with running_service(settings) as client:
        for path in ("signup", "login", "signup"):
            assert_problem(attempt(client, path), 400)
        for path in ("signup", "login"):
            answer = attempt(client, path)
            assert_problem(answer, 429)
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert "Retry-After" in answer.headers["access-control-expose-headers"]
        assert client.get("/health").status_code == 200
        assert_problem(client.get("/api/auth/me"), 401)


def test_after_the_time_that_the_answer_names_there_is_another_attempt(
    database_url: str, key_server: KeyServer
) -> None:
    settings = make_settings(database_url, key_server.url, auth_rate_limit="2/second")
    with running_service(settings) as client:
        answers = [attempt(client) for _ in range(3)]
        assert_problem(answers[-1], 429)
        time.sleep(int(answers[-1].headers["retry-after"]))
        assert_problem(attempt(client), 400)


def test_behind_a_proxy_that_is_trusted_each_address_has_its_own_limit(
    database_url: str, key_server: KeyServer
) -> None:
    settings = make_settings(database_url, key_server.url, auth_rate_limit="2/minute")
    with running_service(settings, proxy_headers=True, forwarded_allow_ips="127.0.0.1") as client:
        for address in ("192.0.2.1", "192.0.2.2"):
            assert statuses(client, 3, address) == [400, 400, 429]
        # What the caller itself claims stands further left, and does not count.
        assert statuses(client, 1, "203.0.113.9, 192.0.2.1") == [429]
        # A client has a whole /64 of IPv6, and many do: they share one limit.
        assert statuses(client, 2, "2001:db8::1") == [400, 400]
        assert statuses(client, 1, "2001:db8::ffff:0:0:2") == [429]
        assert statuses(client, 1, "2001:db8:0:1::1") == [400]
        # IPv4 as a socket for both kinds of addresses spells it.
        assert statuses(client, 1, "::ffff:192.0.2.1") == [429]
        assert statuses(client, 1, "::ffff:192.0.2.3") == [400]


@pytest.mark.parametrize("options", [{"forwarded_allow_ips": "10.0.0.1"}, {"proxy_headers": False}])
def test_a_forged_address_changes_nothing(
    database_url: str, key_server: KeyServer, options: dict[str, object]
) -> None:
    settings = make_settings(database_url, key_server.url, auth_rate_limit="2/minute")
    with running_service(settings, **options) as client:
        seen = [statuses(client, 1, f"192.0.2.{n}")[0] for n in range(3)]
        assert seen == [400, 400, 429]
