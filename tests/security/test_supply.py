"""Tests of the dependencies: how they are audited, and why the ignored findings do not apply.

SECURITY.md lists those findings.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jose import jws

from tests.conftest import Serve
from tests.support.keyserver import running_key_server
from tests.support.process import ROOT
from tests.support.programs import run
from tests.support.service import Person
from tests.support.tokens import SigningKey

SECURITY = ROOT / "SECURITY.md"


def test_python_jose_gets_the_one_algorithm_of_the_key(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2026-85394: with `algorithms=None` the token's header chooses."""
    seen: list[object] = []
    verify = jws.verify

    def watched(token: str, key: Any, algorithms: Any) -> bytes:
        seen.append(algorithms)
        payload: bytes = verify(token, key, algorithms)
        return payload

    monkeypatch.setattr("jose.jws.verify", watched)
    keys = [SigningKey(name) for name in ("EdDSA", "ES256", "ES384", "ES512", "RS256")]
    with running_key_server(*keys) as server:
        client = serve(jwks_url=server.url)
        for key in keys:
            Person(client, key)
    assert seen == [[key.algorithm] for key in keys]


LOADED = """
import sys

from tests.support.keyserver import running_key_server
from tests.support.service import Person, make_settings, running_service
from tests.support.tokens import SigningKey

keys = [SigningKey(name) for name in ("EdDSA", "ES256", "ES384", "ES512", "RS256")]
with running_key_server(*keys) as server:
    with running_service(make_settings(sys.argv[1], server.url)) as client:
        for key in keys:
            Person(client, key)
print({"jose.jws", "jose.jwe", "jose.jwt", "ecdsa", "rsa"} & sys.modules.keys())
"""


@pytest.mark.slow
def test_neither_encryption_nor_ecdsa_is_loaded_when_every_algorithm_is_checked(
    database_url: str,
) -> None:
    """The oracle in `jose.jwe`, and CVE-2024-23342 in ecdsa (which affects signing alone)."""
    assert run(sys.executable, "-c", LOADED, database_url, cwd=ROOT).strip() == "{'jose.jws'}"


# The audit, with stubs of the programs that ask for advisories.

KNOWN = '{"dependencies": [{"name": "jinja2", "vulns": [{"id": "PYSEC-0"}]}]}'
UNKNOWN = '{"dependencies": [{"name": "jinja2", "skip_reason": "not found"}]}'
CLEAN = '{"auditReportVersion": 2, "vulnerabilities": {}}'
VULNERABLE = '{"auditReportVersion": 2, "vulnerabilities": {"next": {"severity": "high"}}}'
UNREACHABLE = '{"message": "405 Method Not Allowed", "error": {}}'


@pytest.mark.parametrize(
    ("known", "python_status", "npm", "npm_status", "status", "printed"),
    [
        (UNKNOWN, 1, CLEAN, 0, 0, "NOTHING WAS CHECKED of uv.lock"),
        (KNOWN, 0, CLEAN, 0, 0, "No known vulnerabilities found in the npm packages of examples/"),
        (KNOWN, 1, CLEAN, 0, 1, "--strict"),
        (KNOWN, 0, VULNERABLE, 1, 1, '"severity": "high"'),
        (KNOWN, 0, UNREACHABLE, 1, 0, "NOT CHECKED: the npm packages of examples/"),
    ],
)
def test_the_audit_fails_for_findings_and_says_what_it_could_not_check(  # noqa: PLR0913, PLR0917
    tmp_path: Path,
    known: str,
    python_status: int,
    npm: str,
    npm_status: int,
    status: int,
    printed: str,
) -> None:
    """`known` is the output for a release that is known to be vulnerable."""
    for program, script in {
        "uvx": f'case "$*" in *--strict*) echo "$@"; exit {python_status};; esac; echo \'{known}\'',
        "npm": f"echo '{npm}'; exit {npm_status}",
    }.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / program).chmod(0o755)
    done = subprocess.run(
        [ROOT / "scripts" / "audit"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert printed in done.stdout + done.stderr
    assert ("--strict" in done.stdout) == (known == KNOWN)
    # SECURITY.md says why what the audit ignores does not apply.
    ignored = re.findall(r"--ignore-vuln=(\S+)", done.stdout)
    explained = re.findall(r"^\| .*?(CVE-[0-9]+-[0-9]+)", SECURITY.read_text(), re.MULTILINE)
    assert sorted(ignored) == (sorted(explained) if known == KNOWN else [])


def test_the_bill_of_materials_has_the_runtime_dependencies_and_no_others() -> None:
    bill = json.loads(run(ROOT / "scripts" / "sbom"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    purls = {each["name"]: each["purl"] for each in bill["components"]}
    assert {"fastapi", "sqlmodel", "psycopg2-binary", "python-jose"} <= purls.keys()
    assert purls.keys().isdisjoint({"pytest", "mypy", "schemathesis"})
    assert all(purl.startswith(f"pkg:pypi/{name}@") for name, purl in purls.items())
