"""Tests of the key set's HTTP client: which requests a proxy sees, and which certificates count."""

import asyncio
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from core.http_client import is_excluded, make_client
from core.settings import ProxySettings
from tests.support.keyserver import KeyServer, running_key_server
from tests.support.pgbouncer import make_certificate
from tests.support.server import Silent, running_server
from tests.support.service import make_settings, running_service
from tests.support.tokens import SigningKey

FORGER = SigningKey()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set none of the variables."""
    for name in ProxySettings.model_fields:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture
def proxy() -> Iterator[KeyServer]:
    """Run a proxy that answers each request with a key of its own."""
    with running_key_server(FORGER) as server:
        yield server


def fetch(url: str) -> int:
    """Return the status of a request."""

    async def get() -> int:
        async with make_client(url) as client:
            return (await client.get(url)).status_code

    return asyncio.run(get())


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_loopback_key_set_is_never_fetched_through_a_proxy(
    environment: pytest.MonkeyPatch,
    database_url: str,
    key: SigningKey,
    proxy: KeyServer,
    host: str,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        environment.setenv(name, proxy.url.removesuffix("/api/auth/jwks"))
    with running_key_server(key) as server:
        url = server.url.replace("127.0.0.1", host)
        with running_service(make_settings(database_url, url)) as client:
            for signed_by, status in ((FORGER, 401), (key, 200)):
                response = httpx.get(
                    f"{client.base_url}/api/auth/me",
                    headers={"Authorization": f"Bearer {signed_by.token()}"},
                    trust_env=False,
                )
                assert response.status_code == status
    assert proxy.fetches == 0


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("no_proxy", ["", "fd07:b51a:cc66:f0::/64,[::1],ä b", "keys.example"])
def test_another_key_set_is_fetched_through_the_proxy_of_the_environment(
    environment: pytest.MonkeyPatch, proxy: KeyServer, name: str, no_proxy: str
) -> None:
    environment.setenv(name, proxy.url.removeprefix("http://").removesuffix("/api/auth/jwks"))
    environment.setenv("NO_PROXY", no_proxy)
    assert fetch("http://keys.internal/jwks") == 200
    assert proxy.fetches == 1


def test_without_a_usable_environment_a_loopback_key_set_is_fetched(
    environment: pytest.MonkeyPatch, key_server: KeyServer
) -> None:
    for name in ("ALL_PROXY", "SSL_CERT_FILE"):
        environment.setenv(name, "socks5://proxy")
    assert fetch(key_server.url) == 200


@pytest.mark.parametrize(
    ("host", "no_proxy"),
    [
        *(("keys.internal", name) for name in ("*", "keys.internal", "internal", ".internal")),
        *(("keys.internal", name) for name in ("*.internal", "x, KEYS.internal ")),
        ("keys.internal", "keys.internal:80"),
        *(("10.1.2.3", name) for name in ("10.1.2.3", "10.0.0.0/8", "a,10.1.2.3:80")),
        *(("[fd07::5]", name) for name in ("fd07::5", "[fd07::5]", "fd07::/64", "[fd07::5]:80")),
    ],
)  # fmt: skip
def test_no_proxy_names_hosts_domains_and_networks(host: str, no_proxy: str) -> None:
    assert is_excluded(httpx.URL(f"http://{host}:80/jwks"), no_proxy)
    assert is_excluded(httpx.URL(f"http://{host}/jwks"), no_proxy)
    for other in ("mykeys.internals", "xinternal", "11.1.2.3", "[fd08::5]"):
        assert no_proxy == "*" or not is_excluded(httpx.URL(f"http://{other}/jwks"), no_proxy)


def test_certificates_of_the_environment_are_trusted(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Handler(Silent, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

    path = tmp_path / "keys.pem"
    path.write_bytes(make_certificate())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    with running_server(Handler, context=context) as origin:
        url = origin.replace("http://127.0.0.1", "https://localhost")
        with pytest.raises(httpx.ConnectError):
            fetch(url)
        environment.setenv("SSL_CERT_FILE", str(path))
        assert fetch(url) == 204
