"""The example front end, built and run, and a real browser in front of it."""

import logging
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.better_auth.browser import browse, running_next
from tests.better_auth.frontend import PASSWORD, Visitor, free_port
from tests.better_auth.toolchain import BIN, EXAMPLE, build, only_one, run
from tests.conftest import MakeDatabase
from tests.support.programs import need_package
from tests.support.service import make_settings, running_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROBLEM = "application/problem+json"
CLEAN: dict[str, list[str]] = {"errors": [], "violations": []}


def methods(caplog: pytest.LogCaptureFixture) -> set[str]:
    """Return the methods of all requests to the service since the last call."""
    lines = {each.getMessage().split()[0] for each in caplog.records}
    caplog.clear()
    return lines & {"OPTIONS", "GET", "POST", "PATCH", "DELETE"}


def statuses_of_attempts(front_end: httpx.Client, count: int, **headers: str) -> list[int]:
    """Try to log in with nothing, and return the statuses."""
    return [
        front_end.post("/api/auth/login", json={}, headers=headers).status_code
        for _ in range(count)
    ]


def test_next_and_a_browser(
    tmp_path: Path,
    database_url: str,
    make_database: MakeDatabase,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
) -> None:
    """One test of many promises: they share a build of the front end, which takes its time."""
    build()
    need_package("chromium")
    port = free_port()
    address, origin = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
    settings = make_settings(
        database_url,
        f"{address}/api/auth/jwks",
        jwt_issuer=origin,
        jwt_audience=origin,
        cors_origins=(origin,),
        auth_rate_limit="20/minute",
    )
    with running_service(settings) as service, only_one("next.config.ts"):
        environment = {
            "BACKEND_URL": str(service.base_url).rstrip("/"),
            "BETTER_AUTH_URL": origin,
            "BETTER_AUTH_SECRET": "a secret of the tests, 32 characters or more",
            "DATABASE_URL": make_database(),
            "MAILBOX": str(tmp_path / "mail"),
            "NEXT_TELEMETRY_DISABLED": "1",
        }
        run(BIN / "next", "build", environment=environment)
        with (
            running_next(EXAMPLE, port, tmp_path / "next", environment),
            caplog.at_level(logging.INFO),
        ):
            for scenario in ("person", "snags", "details", "keyboard"):
                with subtests.test(scenario):
                    assert browse(origin, scenario, tmp_path, environment) == CLEAN
            # The page calls the service on its own origin (CORS).
            assert "OPTIONS" in methods(caplog)

        caplog.clear()
        with (
            running_next(
                EXAMPLE,
                port,
                tmp_path / "next",
                {**environment, "BACKEND_PUBLIC_URL": "/backend"},
            ),
            closing(Visitor(address, origin).http) as front_end,
            caplog.at_level(logging.INFO),
        ):
            with subtests.test("a browser calls the service through the front end's rewrite"):
                assert browse(origin, "short", tmp_path, environment) == CLEAN
                assert methods(caplog) == {"GET", "POST", "PATCH", "DELETE"}

            with subtests.test("the service's own paths are rewritten to it"):
                body = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
                created = front_end.post("/api/auth/signup", json=body)
                assert created.status_code == 201
                assert front_end.post("/api/auth/login", json=body).json() == created.json()
                for path in (
                    *("/api/auth/me", "/api/auth/me/export", "/api/7/tasks", "/api/7/tasks/7"),
                    "/backend/api/7/tasks",
                ):
                    response = front_end.get(path)
                    assert (response.status_code, response.headers["Content-Type"]) == (
                        401,
                        PROBLEM,
                    )

            with subtests.test("Better Auth keeps its own paths"):
                assert front_end.get("/api/auth/get-session").json() is None
                assert front_end.get("/api/auth/jwks").json()["keys"]
                # Its catch-all route gets what is not rewritten.
                response = front_end.post("/api/auth/register", json=body)
                assert response.status_code == 404
                assert response.headers.get("Content-Type") != PROBLEM

            with subtests.test("a rewrite passes on the address that a proxy has noted"):
                noted = {"X-Forwarded-For": "203.0.113.7"}
                assert statuses_of_attempts(front_end, 21, **noted) == [400] * 20 + [429]
                # Next.js itself notes none: without a proxy, everybody has the address of Next.js.
                assert statuses_of_attempts(front_end, 21)[-1] == 429
