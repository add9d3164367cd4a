"""Tests of the headers that forbid caching and sniffing, where no operation is reached.

tests/test_operations.py has those of the operations, `assert_problem` those of all errors.
"""

import httpx
import pytest

from tests.support.problems import assert_not_stored
from tests.support.service import ORIGIN

PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("OPTIONS", "/api/1/tasks", PREFLIGHT, 200),
        ("GET", "/docsomewhere", {}, 404),
        ("GET", "/openapi.json", {}, 200),
    ],
)
def test_responses_may_not_be_stored(
    client: httpx.Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = client.request(method, path, headers=headers)
    assert response.status_code == status
    assert_not_stored(response)


@pytest.mark.parametrize("path", ["/docs", "/docs/assets/swagger-ui.css", "/docs/assets/nothing"])
def test_the_documentation_may_be_stored_and_not_sniffed(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    assert "cache-control" not in response.headers
