"""Tests of CORS: which origins are let in, and what preflights allow."""

import logging

import httpx
import pytest

from tests.conftest import Serve
from tests.support.problems import assert_problem
from tests.support.service import ORIGIN


def test_the_origins_of_the_settings_are_let_in_and_no_other(serve: Serve) -> None:
    origins = ("https://a.example", "https://b.example:8443")
    client = serve(cors_origins=origins)
    for origin in (*origins, ORIGIN, "https://evil.example", "null", "https://a.example1", ""):
        response = client.get("/health", headers={"Origin": origin})
        assert response.status_code == 200
        allowed = response.headers.get("access-control-allow-origin")
        assert allowed == (origin if origin in origins else None)


def preflight(client: httpx.Client, origin: str, method: str, headers: str = "") -> httpx.Response:
    return client.options(
        "/api/1/tasks/1",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_preflight_allows_credentials_every_method_and_any_header(
    client: httpx.Client, method: str
) -> None:
    """5 front ends send `credentials: "include"`: a browser then takes no `*`."""
    for headers in ("authorization", "authorization,content-type,if-match,x-anything", "a, b-c"):
        response = preflight(client, ORIGIN, method, headers)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["access-control-allow-credentials"] == "true"
        assert "origin" in response.headers["vary"].lower()
        assert method in response.headers["access-control-allow-methods"].split(", ")
        allowed = response.headers["access-control-allow-headers"].lower().replace(" ", "")
        assert set(headers.replace(" ", "").split(",")) <= set(allowed.split(","))
        assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("origin", "method"),
    [("https://evil.example", "GET"), ("null", "PUT"), (f"{ORIGIN}1", "PUT"), (ORIGIN, "TRACE")],
)
def test_any_other_preflight_is_refused_and_the_log_names_the_origin(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, origin: str, method: str
) -> None:
    caplog.set_level(logging.INFO)
    response = preflight(client, origin, method, "authorization")
    assert_problem(response, 400, "Origin")
    assert "CORS_ORIGINS" in response.json()["detail"]
    assert origin in caplog.text
