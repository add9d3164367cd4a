"""The example front end, built and run, and a real browser in front of it."""

import logging
import os
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.better_auth.browser import browse, running_next
from tests.better_auth.frontend import PASSWORD, SECRET, settings_behind
from tests.better_auth.toolchain import BIN, EXAMPLE, build, only_one
from tests.conftest import MakeDatabase
from tests.support.programs import free_port, need_package, run
from tests.support.service import running_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROBLEM = "application/problem+json"


def methods(caplog: pytest.LogCaptureFixture) -> set[str]:
    """Return the methods of all requests to the service since the last call."""
    lines = {each.getMessage().split()[0] for each in caplog.records}
    caplog.clear()
    return lines & {"OPTIONS", "GET", "POST", "PATCH", "DELETE"}


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
    jwks_url = f"{address}/api/auth/jwks"
    settings = settings_behind(jwks_url, origin, database_url, auth_rate_limit="20/minute")
    with (
        running_service(settings) as service,
        only_one("next.config.ts"),
        caplog.at_level(logging.INFO),
    ):
        environment = {
            "BACKEND_URL": str(service.base_url).rstrip("/"),
            "BETTER_AUTH_URL": origin,
            "BETTER_AUTH_SECRET": SECRET,
            "DATABASE_URL": make_database(),
            "MAILBOX": str(tmp_path / "mail"),
            "NEXT_TELEMETRY_DISABLED": "1",
        }
        run(BIN / "next", "build", cwd=EXAMPLE, env={**os.environ, **environment})
        with running_next(EXAMPLE, port, environment):
            for scenario in ("person", "snags", "details", "keyboard"):
                with subtests.test(scenario):
                    browse(origin, scenario, tmp_path, environment)
            # The page calls the service on its own origin (CORS).
            assert "OPTIONS" in methods(caplog)

        environment["BACKEND_PUBLIC_URL"] = "/backend"
        with (
            running_next(EXAMPLE, port, environment),
            httpx.Client(base_url=address, headers={"Origin": origin}, timeout=30) as front_end,
        ):
            with subtests.test("a browser calls the service through the front end's rewrite"):
                browse(origin, "short", tmp_path, environment)
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
                # Its catch-all route gets what is not rewritten.
                response = front_end.post("/api/auth/register", json=body)
                assert response.status_code == 404
                assert response.headers.get("Content-Type") != PROBLEM

            with subtests.test("a rewrite passes on the address that a proxy has noted"):
                # Next.js itself notes none: without a proxy, everybody has the address of Next.js.
                for headers in ({"X-Forwarded-For": "203.0.113.7"}, {}):
                    statuses = [
                        front_end.post("/api/auth/login", json={}, headers=headers).status_code
                        for _ in range(21)
                    ]
                    assert statuses[-1] == 429
