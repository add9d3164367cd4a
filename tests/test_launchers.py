"""Tests that each ASGI server finds `main:app`, and says why where it cannot be made."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.database import wait_until
from tests.support.keyserver import KeyServer
from tests.support.process import ROOT, failed_start, variables
from tests.support.programs import free_port

pytestmark = pytest.mark.slow

LAUNCHERS = {
    "fastapi run": f"fastapi_cli run {ROOT}/main.py --host 127.0.0.1 --port PORT",
    "fastapi dev": f"fastapi_cli dev {ROOT}/main.py --no-reload --host 127.0.0.1 --port PORT",
    "hypercorn": "hypercorn main:app --bind 127.0.0.1:PORT",
    "gunicorn": "gunicorn main:app -k uvicorn_worker.UvicornWorker --bind 127.0.0.1:PORT",
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_finds_the_application(
    launcher: str, tmp_path: Path, database_url: str, key_server: KeyServer
) -> None:
    port = free_port()
    command = [sys.executable, "-m", *LAUNCHERS[launcher].replace("PORT", str(port)).split()]
    environment = {**os.environ, **variables(database_url, key_server.url), "PYTHONPATH": str(ROOT)}

    def is_ready() -> bool:
        assert process.poll() is None
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).is_success
        except httpx.TransportError:
            return False

    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            wait_until(is_ready, 90)
        finally:
            process.terminate()
            process.wait(40)

    wrong = {**environment, "LOG_FORMAT": "xml"}
    stopped = subprocess.run(
        command, cwd=tmp_path, env=wrong, capture_output=True, text=True, check=False, timeout=90
    )
    assert "LOG_FORMAT: " in stopped.stderr
    assert "Traceback" not in stopped.stderr


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
    assert (errors[0], len(errors)) == (line, 2)


def test_create_app_needs_no_environment(tmp_path: Path) -> None:
    """Neither for the import nor for an application that is not started."""
    script = (
        "from application import create_app; from core.settings import Settings;"
        "create_app(Settings(database_url='postgresql://x/x', jwks_url='http://localhost/x',"
        " jwt_issuer='x', jwt_audience='x')).openapi()"
    )
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True
    )
