"""Tests of /docs: it works with no other origin at hand, under a strict policy."""

import base64
import hashlib
import re
from urllib.parse import urljoin

import httpx
import pytest

BASE = "https://api.example.com/prefix/docs"
"""Where the page might be: behind a proxy, under a prefix."""


def test_the_page_refers_to_nothing_but_what_the_service_serves(client: httpx.Client) -> None:
    page = client.get("/docs")
    references = re.findall(r'\b(?:src|href|action|data)="([^"]+)"', page.text)
    types = []
    for reference in references:
        assert urljoin(BASE, reference).startswith("https://api.example.com/prefix/docs/assets/")
        served = client.get(urljoin("/docs", reference))
        assert served.status_code == 200
        types.append(served.headers["content-type"].split(";")[0])
    assert sorted(types) == ["image/png", "text/css", "text/javascript"]
    (address,) = re.findall(r"url: '([^']*)'", page.text)
    assert urljoin(BASE, address) == "https://api.example.com/prefix/openapi.json"
    style = client.get("/docs/assets/swagger-ui.css").text
    assert "@import" not in style
    addresses = re.findall(r"url\(\s*[\"']?([^\"')]{0,20})", style)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)


def test_the_policy_lets_in_what_the_service_serves_and_the_one_inline_script(
    client: httpx.Client,
) -> None:
    page = client.get("/docs")
    directives = [each.split() for each in page.headers["content-security-policy"].split(";")]
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    names = ("default-src", "base-uri", "form-action", "frame-ancestors")
    assert {name: set(sources) for name, *sources in directives} == {
        **{name: {"'none'"} for name in names},
        "script-src": {"'self'", f"'sha256-{digest}'"},
        "style-src": {"'self'"},
        "img-src": {"'self'", "data:"},
        "connect-src": {"'self'"},
    }
    assert not re.search(r"<style|<[^>]*\s(?:on\w+|style)=", page.text)


def test_an_asset_is_sent_once_and_whole_whatever_range_is_wanted(client: httpx.Client) -> None:
    asset = "/docs/assets/swagger-ui-bundle.js"
    first = client.get(asset)
    assert "no-store" not in first.headers.get("cache-control", "")
    again = client.get(asset, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for wanted in ("bytes=0-9", "bytes=nonsense", "bytes=5-1", "bytes=99999999-"):
        whole = client.get(asset, headers={"Range": wanted})
        assert (whole.status_code, whole.content) == (200, first.content)


@pytest.mark.parametrize(
    "path",
    [
        "/docs/assets", "/docs/assets/", "/docs/assets/nothing", "/docs/assets/../core.py",
        "/docs/assets/%2e%2e/core.py", "/docs/assets/..%2fcore.py", "/docs/assets//etc/passwd",
        "/docs/assets/%00", "/docs/oauth2-redirect", "/docs//",
    ],
)  # fmt: skip
def test_there_is_nothing_else_below_it(client: httpx.Client, path: str) -> None:
    response = client.request("GET", httpx.URL(str(client.base_url), raw_path=path.encode()))
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
