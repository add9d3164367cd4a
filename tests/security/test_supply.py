"""Tests of the dependencies: how they are checked, and why the findings that stay do not apply.

SECURITY.md lists those findings; each has a test of its reason here.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jose import jws

from tests.support.process import ROOT
from tests.support.service import Person
from tests.support.tokens import SigningKey

AUDIT = ROOT / "scripts" / "audit"


# The findings that stay.


def test_python_jose_gets_the_one_algorithm_of_the_key(
    alice: Person, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2026-85394: with `algorithms=None` the token's header chooses."""
    seen: list[object] = []
    verify = jws.verify

    def watched(token: str, key: Any, algorithms: Any) -> bytes:
        seen.append(algorithms)
        payload: bytes = verify(token, key, algorithms)
        return payload

    monkeypatch.setattr("jose.jws.verify", watched)
    Person(alice.client, key)
    assert seen == [["EdDSA"]]


LOADED = """
import asyncio
import sys

import httpx

from main import create_app
from tests.support.keyserver import running_key_server
from tests.support.service import make_settings
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey
from utils.jwks import KeySet
from utils.tokens import TokenVerifier

create_app(make_settings("postgresql://localhost/nothing", "http://localhost/jwks"))
keys = [SigningKey(name) for name in ("EdDSA", "ES256", "ES384", "ES512", "RS256")]


async def verify_each(url):
    async with httpx.AsyncClient() as client:
        verifier = TokenVerifier(KeySet(url, client))
        for key in keys:
            await verifier.verify(key.token(), ISSUER, AUDIENCE)


with running_key_server(*keys) as server:
    asyncio.run(verify_each(server.url))
names = ("jose.jws", "jose.jwe", "jose.jwt", "ecdsa", "rsa")
print(*(name for name in names if name in sys.modules))
"""


@pytest.mark.slow
def test_neither_encryption_nor_ecdsa_is_loaded_when_every_algorithm_is_checked() -> None:
    """The oracle in `jose.jwe`, and CVE-2024-23342 in ecdsa (which is about signing at that)."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["jose.jws"], done.stderr


# How the dependencies are checked.


def test_what_the_check_ignores_stands_in_security_md() -> None:
    (ignored,) = re.findall(r"^ignored=\((.*)\)$", AUDIT.read_text(), re.MULTILINE)
    said = (ROOT / "SECURITY.md").read_text()
    listed = re.findall(r"^\| .*?(CVE-[0-9]+-[0-9]+)", said, re.MULTILINE)
    assert sorted(ignored.split()) == sorted(listed)


def test_ci_runs_the_check() -> None:
    assert "\nscripts/audit\n" in (ROOT / ".ci" / "run").read_text()


def test_ci_skips_no_test_whose_program_is_missing() -> None:
    before, _, _ = (ROOT / ".ci" / "run").read_text().partition('bash -c "$command"')
    assert "\nexport CI=${CI:-true}\n" in before


def audited(folder: Path, known: str, status: int) -> subprocess.CompletedProcess[str]:
    """Run the check with a stub of pip-audit; `known` is its output for the vulnerable release."""
    stub = folder / "uvx"
    stub.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >>{folder}/calls\n'
        f"case \"$*\" in *--strict*) exit {status};; *) echo '{known}'; exit 1;; esac\n"
    )
    stub.chmod(0o755)
    # tests/ship/test_supply.py has the npm packages.
    npm = folder / "npm"
    npm.write_text("#!/bin/sh\nexit 0\n")
    npm.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        [AUDIT], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


FOUND = '{"dependencies": [{"name": "jinja2", "vulns": [{"id": "PYSEC-0"}]}]}'
SKIPPED = '{"dependencies": [{"name": "jinja2", "skip_reason": "not found"}]}'


@pytest.mark.parametrize("known", ["", SKIPPED])
def test_without_its_source_it_says_that_nothing_was_checked(tmp_path: Path, known: str) -> None:
    done = audited(tmp_path, known, 1)
    assert done.returncode == 0
    assert done.stderr.startswith("NOTHING WAS CHECKED ")
    assert "--strict" not in (tmp_path / "calls").read_text()


@pytest.mark.parametrize("status", [0, 1])
def test_with_its_source_what_it_finds_decides(tmp_path: Path, status: int) -> None:
    done = audited(tmp_path, FOUND, status)
    assert done.returncode == status
    assert "NOTHING" not in done.stderr
    _, call = (tmp_path / "calls").read_text().splitlines()
    assert "--strict" in call
    assert "--ignore-vuln=CVE-2026-85394" in call
