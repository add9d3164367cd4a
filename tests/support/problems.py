"""What every answer that is not a success has in common (RFC 9457)."""

from http import HTTPStatus

import httpx


def assert_problem(answer: httpx.Response, status: int, *fields: str) -> None:
    """Check a problem document; `fields` are the members that a 400 has to name."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    problem = answer.json()
    expected = {"type", "title", "status", "detail"} | ({"errors"} if status == 400 else set())
    assert set(problem) == expected
    assert problem["type"] == "about:blank"
    assert problem["title"] == HTTPStatus(status).phrase
    assert problem["status"] == status
    assert problem["detail"]
    assert "\n" not in problem["detail"]
    if status == 400:
        errors = problem["errors"]
        assert errors
        assert all(set(error) == {"field", "message"} for error in errors)
        assert all(error["message"] for error in errors)
        if fields:
            assert {error["field"] for error in errors} == set(fields)
