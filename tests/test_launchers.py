"""Tests that each ASGI server finds `main:app`, and says why where it cannot be made."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.keyserver import KeyServer
from tests.support.process import ROOT, variables
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
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            deadline = time.monotonic() + 90
            ready = None
            while ready is None:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
                try:
                    ready = httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=5)
                except httpx.TransportError:
                    continue
            assert ready.status_code == 200
        finally:
            process.terminate()
            process.wait(40)

    wrong = {**environment, "LOG_FORMAT": "xml"}
    stopped = subprocess.run(
        command, cwd=tmp_path, env=wrong, capture_output=True, text=True, check=False, timeout=90
    )
    assert "LOG_FORMAT: " in stopped.stderr
    assert "Traceback" not in stopped.stderr


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
