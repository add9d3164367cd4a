"""Tests of /docs: it works with no other origin at hand, under a strict policy."""

import base64
import hashlib
import re
from urllib.parse import urljoin

import httpx
import pytest

BASE = "https://api.example.com/prefix/docs"
"""Where the page might be: behind a proxy, under a prefix."""


@pytest.fixture(scope="module")
def page(client: httpx.Client) -> httpx.Response:
    """Return the page."""
    page = client.get("/docs")
    assert page.status_code == 200
    return page


def references(page: httpx.Response) -> list[str]:
    """Return the addresses that a page refers to."""
    return re.findall(r'\b(?:src|href|action|data)="([^"]+)"', page.text)


def inline_script(page: httpx.Response) -> str:
    """Return the one script that stands in a page."""
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    return str(script)


@pytest.fixture
def policy(page: httpx.Response) -> dict[str, list[str]]:
    directives = [each.split() for each in page.headers["content-security-policy"].split(";")]
    return {name: sources for name, *sources in directives}


def test_the_page_refers_to_nothing_but_what_the_service_serves(
    page: httpx.Response, client: httpx.Client
) -> None:
    assert len(references(page)) == 3
    types = set()
    for reference in references(page):
        assert urljoin(BASE, reference).startswith("https://api.example.com/prefix/docs/assets/")
        served = client.get(urljoin("/docs", reference))
        assert served.status_code == 200
        types.add(served.headers["content-type"].split(";")[0])
    assert types == {"text/javascript", "text/css", "image/png"}


def test_the_page_reads_the_document_beside_it(page: httpx.Response, client: httpx.Client) -> None:
    (address,) = re.findall(r"url: '([^']*)'", inline_script(page))
    assert urljoin(BASE, address) == "https://api.example.com/prefix/openapi.json"
    assert client.get(urljoin("/docs", address)).json()["openapi"]


def test_the_style_sheet_refers_to_nothing_else(client: httpx.Client) -> None:
    style = client.get("/docs/assets/swagger-ui.css").text
    assert "@import" not in style
    addresses = re.findall(r"url\(\s*[\"']?([^\"')]{0,20})", style)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)


def test_the_policy_lets_nothing_in_from_another_origin(policy: dict[str, list[str]]) -> None:
    assert policy.pop("default-src") == ["'none'"]
    for name in ("base-uri", "form-action", "frame-ancestors"):
        assert policy.pop(name) == ["'none'"]
    (digest,) = [each for each in policy["script-src"] if each.startswith("'sha256-")]
    policy["script-src"].remove(digest)
    assert policy == {
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
    }


def test_the_one_inline_script_runs_by_its_digest(
    page: httpx.Response, policy: dict[str, list[str]]
) -> None:
    digest = base64.b64encode(hashlib.sha256(inline_script(page).encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy["script-src"]
    assert not re.search(r"<style|<[^>]*\s(?:on\w+|style)=", page.text)


def test_the_assets_are_asked_for_again_and_not_sent_again(client: httpx.Client) -> None:
    asset = "/docs/assets/swagger-ui-bundle.js"
    first = client.get(asset)
    assert "no-store" not in first.headers.get("cache-control", "")
    again = client.get(asset, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("wanted", ["bytes=0-9", "bytes=nonsense", "bytes=5-1", "bytes=99999999-"])
def test_an_asset_is_sent_whole_whatever_range_is_wanted(client: httpx.Client, wanted: str) -> None:
    asset = "/docs/assets/swagger-ui.css"
    response = client.get(asset, headers={"Range": wanted})
    assert (response.status_code, response.content) == (200, client.get(asset).content)


@pytest.mark.parametrize(
    "path",
    [
        "/docs/assets", "/docs/assets/", "/docs/assets/nothing", "/docs/assets/../core.py",
        "/docs/assets/%2e%2e/core.py", "/docs/assets/..%2fcore.py", "/docs/assets//etc/passwd",
        "/docs/assets/%00", "/docs/oauth2-redirect",
    ],
)  # fmt: skip
def test_there_is_nothing_else_below_it(client: httpx.Client, path: str) -> None:
    response = client.request("GET", httpx.URL(str(client.base_url), raw_path=path.encode()))
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
