"""Tests of the npm part of scripts/audit, and of the bill of materials."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.process import ROOT

PYTHON_REPORT = '{"dependencies": [{"name": "jinja2", "vulns": [{"id": "PYSEC-0"}]}]}'
CLEAN = '{"auditReportVersion": 2, "vulnerabilities": {}}'
FOUND = '{"auditReportVersion": 2, "vulnerabilities": {"next": {"severity": "high"}}}'
UNREACHABLE = '{"message": "405 Method Not Allowed", "error": {}}'


def add_program(folder: Path, name: str, output: str, status: int) -> None:
    """Put a program that prints something and exits first on the path."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{output}'\nexit {status}\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("report", "npm_status", "status", "said"),
    [
        (CLEAN, 0, 0, "No known vulnerabilities found in the npm packages of examples/"),
        (FOUND, 1, 1, '"severity": "high"'),
        (UNREACHABLE, 1, 0, "NOT CHECKED: the npm packages of examples/"),
    ],
)
def test_the_audit_covers_the_npm_packages_of_the_examples_or_says_that_it_could_not(
    tmp_path: Path, report: str, npm_status: int, status: int, said: str
) -> None:
    add_program(tmp_path, "uvx", PYTHON_REPORT, 0)
    add_program(tmp_path, "npm", report, npm_status)
    done = subprocess.run(
        [ROOT / "scripts" / "audit"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr


def test_the_bill_of_materials_has_the_runtime_dependencies_and_no_others() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "sbom"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    bill = json.loads(done.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    components = {each["name"]: each for each in bill["components"]}
    assert {"fastapi", "sqlmodel", "psycopg2-binary", "python-jose"} <= components.keys()
    assert components.keys().isdisjoint({"pytest", "mypy", "schemathesis"})
    for each in components.values():
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
