"""Tests of how the application starts."""

from pathlib import Path

import pytest

from application import create_app
from tests.support.process import failed_start, variables
from tests.support.service import make_settings


@pytest.mark.slow
def test_a_database_that_is_away_at_the_start_is_one_readable_line(tmp_path: Path) -> None:
    url = "postgresql://me:top-secret@127.0.0.1:1/todo"
    status, log = failed_start(tmp_path, variables(url, "http://localhost:1/jwks"))
    assert status != 0
    assert "Traceback" not in log
    assert "top-secret" not in log
    (line,) = [each for each in log.splitlines() if "DATABASE_URL" in each]
    assert "Connection refused" in line
    # The other one is uvicorn's own.
    errors = [each for each in log.splitlines() if " ERROR " in each]
    assert errors[0] == line
    assert len(errors) == 2


def test_two_applications_have_nothing_in_common() -> None:
    first, second = (
        create_app(make_settings("postgresql://x/x", "http://localhost/x")) for _ in range(2)
    )
    assert first.openapi() == second.openapi()
    assert first.openapi() is not second.openapi()
