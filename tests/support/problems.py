"""What responses have in common: problem documents (RFC 9457) and headers."""

from http import HTTPStatus

import httpx

from tests.support.service import ORIGIN


def assert_problem(response: httpx.Response, status: int, *fields: str) -> None:
    """Check a problem document; `fields` are those that a 400 has to name."""
    assert response.status_code == status, (response.status_code, response.text)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    assert_not_stored(response)
    problem = response.json()
    expected = {"type", "title", "status", "detail"} | ({"errors"} if status == 400 else set())
    assert set(problem) == expected
    assert problem["type"] == "about:blank"
    assert problem["title"] == HTTPStatus(status).phrase
    assert problem["status"] == status
    assert problem["detail"]
    assert "\n" not in problem["detail"]
    if status == 401:
        assert response.headers["www-authenticate"] == "Bearer"
    if status in (429, 503):
        assert int(response.headers["retry-after"]) > 0
    if status == 400:
        errors = problem["errors"]
        assert errors
        assert all(set(error) == {"field", "message"} for error in errors)
        assert all(error["message"] for error in errors)
        if fields:
            assert {error["field"] for error in errors} == set(fields)


def assert_readable_by_the_page(response: httpx.Response) -> None:
    """Check that a page of the front end may read a response and its headers."""
    assert response.headers["access-control-allow-origin"] == ORIGIN
    # For front ends that say `credentials: "include"`; no cookie is read.
    assert response.headers["access-control-allow-credentials"] == "true"
    assert "set-cookie" not in response.headers
    exposed = set(response.headers["access-control-expose-headers"].split(", "))
    assert exposed == {"ETag", "Link", "Location", "Retry-After", "X-Request-ID"}
    assert "origin" in response.headers["vary"].lower()


def assert_not_stored(response: httpx.Response) -> None:
    """Check that a response may be neither sniffed nor cached."""
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    assert response.headers.get_list("cache-control") == ["no-store"]
