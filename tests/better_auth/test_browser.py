"""A real Next.js front end, and somebody in front of a real browser."""

import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.better_auth.frontend import AUDIENCE, PASSWORD, Visitor, free_port
from tests.better_auth.toolchain import (
    BIN,
    FOLDER,
    build,
    only_one,
    run,
)
from tests.support.programs import need_package
from tests.support.service import make_settings, running_service

pytestmark = pytest.mark.slow

PROBLEM = "application/problem+json"
LISTS = [["[ ] Buy milk"], ["[x] Buy milk"], []]
"""What the browser has to show after each step."""
DELETED = ("DELETE", "/api/{user_id}/tasks/{task_id}", "204")


@contextmanager
def running_next(origin: str, port: int, backend: str, log: Path) -> Iterator[None]:
    """Build the Next.js front end with the backend's address, and start it."""
    environment = {
        "BACKEND_URL": backend,
        "BETTER_AUTH_URL": origin,
        "BETTER_AUTH_SECRET": "a secret of the tests, 32 characters or more",
        "NEXT_TELEMETRY_DISABLED": "1",
    }
    run(BIN / "next", "build", environment=environment)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / "next", "start", "--hostname", "127.0.0.1", "--port", str(port)],
            cwd=FOLDER,
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/api/auth/ok").is_success:
                    break
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def browse(origin: str, path: str, profile: Path, backend: str) -> Any:
    """Sign up in Chromium, and add, complete and delete a task; gives what was seen."""
    printed = run(
        *("node", "build/browse.js", str(shutil.which("chromium")), profile, origin + path),
        *(f"{uuid4().hex}@example.com", PASSWORD),
        environment={"BACKEND_URL": backend},
    )
    return json.loads(printed.splitlines()[-1])


def requests(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Give what the service has been asked since the last time: method, route and status."""
    lines = [each.getMessage().split() for each in caplog.records if each.name == "utils.logs"]
    caplog.clear()
    return [(line[0], line[1], line[2]) for line in lines]


def statuses_of_attempts(front_end: httpx.Client, count: int, **headers: str) -> list[int]:
    """Try to log in, in vain, and give what came of it."""
    return [
        front_end.post("/api/auth/login", json={}, headers=headers).status_code
        for _ in range(count)
    ]


def test_next_and_a_browser(
    tmp_path: Path,
    database_url: str,
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
        jwt_audience=AUDIENCE,
        cors_origins=(origin,),
        auth_rate_limit="20/minute",
    )
    with running_service(settings) as service, only_one("next.config.ts"):
        backend = str(service.base_url).rstrip("/")
        with (
            running_next(origin, port, backend, tmp_path / "next"),
            closing(Visitor(address, origin).http) as front_end,
            caplog.at_level(logging.INFO, "utils.logs"),
        ):
            with subtests.test("a browser calls the service from the front end's origin"):
                seen = browse(origin, "/", tmp_path / "cross-origin", backend)
                assert seen["errors"] == []
                assert seen["alert"] == ""
                assert seen["lists"] == LISTS
                # It asked before it sent anything (preflight), and was let in.
                asked = requests(caplog)
                assert asked[0] == ("OPTIONS", "(none)", "200")
                assert DELETED in asked
                assert seen["stranger"] == "refused"

            with subtests.test("a browser calls the service through the front end's rewrites"):
                seen = browse(origin, "/?backend=rewritten", tmp_path / "rewritten", backend)
                assert (seen["errors"], seen["lists"]) == ([], LISTS)
                asked = requests(caplog)
                assert DELETED in asked
                assert "OPTIONS" not in {method for method, *_ in asked}

            with subtests.test("a rewrite takes to the service what is the service's"):
                body = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
                made = front_end.post("/api/auth/signup", json=body)
                assert made.status_code == 201
                assert front_end.post("/api/auth/login", json=body).json() == made.json()
                assert front_end.post("/backend/auth/login", json=body).json() == made.json()
                for path in ("/api/auth/me", "/api/7/tasks", "/api/7/tasks/7", "/backend/7/tasks"):
                    answer = front_end.get(path)
                    assert (answer.status_code, answer.headers["Content-Type"]) == (401, PROBLEM)

            with subtests.test("and leaves to Better Auth what is Better Auth's"):
                assert front_end.get("/api/auth/get-session").json() is None
                assert front_end.get("/api/auth/jwks").json()["keys"]
                # What is not rewritten, its catch-all route swallows.
                answer = front_end.post("/api/auth/register", json=body)
                assert answer.status_code == 404
                assert answer.headers.get("Content-Type") != PROBLEM

            with subtests.test("a rewrite of everything takes a front end's own routes away"):
                answer = front_end.get("/all/auth/anything")
                assert (answer.status_code, answer.headers["Content-Type"]) == (404, PROBLEM)

            with subtests.test("a rewrite passes on the address that a proxy has noted"):
                noted = {"X-Forwarded-For": "203.0.113.7"}
                assert statuses_of_attempts(front_end, 21, **noted) == [400] * 20 + [429]
                # Next.js itself notes none: without a proxy before it, everybody is Next.js.
                assert statuses_of_attempts(front_end, 21)[-1] == 429
