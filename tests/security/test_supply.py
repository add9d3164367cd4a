"""Tests of the dependencies: how they are checked, and why the findings that stay do not apply.

SECURITY.md lists those findings; each has a test of its reason here.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jose import jws

from tests.support.process import ROOT
from tests.support.service import Person
from tests.support.tokens import SigningKey

FOLDERS = ("dependencies", "models", "routers", "schemas", "utils", "migrations")
AUDIT = ROOT / "scripts" / "audit"


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Give the service's own modules, read."""
    for path in (
        ROOT / "main.py",
        *(each for name in FOLDERS for each in ROOT.glob(f"{name}/**/*.py")),
    ):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    """Give the dotted names that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)


# The findings that stay.

USED_OF_JOSE = {
    "jose.backends.base.Key",
    "jose.exceptions.JOSEError",
    "jose.exceptions.JWKError",
    "jose.jwk",
    "jose.jws",
    "jose.utils.base64_to_long",
    "jose.utils.base64url_decode",
}


def test_of_python_jose_nothing_is_used_but_keys_and_signatures() -> None:
    names = {name for _, tree in modules() for name in imported(tree)}
    assert {name for name in names if name.startswith("jose")} == USED_OF_JOSE


def test_python_jose_checks_a_signature_in_one_place_with_one_algorithm() -> None:
    """CVE-2026-85394: `algorithms=None` lets the token's header choose."""
    calls = [
        (path, node)
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("jws", "jwt", "jwe")
    ]
    ((path, call),) = calls
    assert (path, ast.unparse(call.func)) == ("utils/tokens.py", "jws.verify")
    assert not call.keywords
    _, _, algorithms = call.args
    assert isinstance(algorithms, ast.List)
    assert len(algorithms.elts) == 1


def test_python_jose_is_told_the_one_algorithm_of_the_key(
    alice: Person, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
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
import sys
from main import create_app
from tests.support.service import make_settings
from tests.support.tokens import SigningKey
from utils import eddsa
from utils.jwks import _read_key

eddsa.register()
create_app(make_settings("postgresql://localhost/nothing", "http://localhost/jwks"))
for algorithm in ("EdDSA", "ES256", "ES384", "ES512", "RS256"):
    key = SigningKey(algorithm)
    (checked,) = [
        key_of for name, key_of in _read_key(key.jwk, "").algorithms.items() if name == algorithm
    ]
    assert checked.verify(b"message", key.sign(b"message"))
names = ("jose.jws", "jose.jwe", "jose.jwt", "ecdsa", "rsa")
print(*(name for name in names if name in sys.modules))
"""


def test_neither_encryption_nor_ecdsa_is_loaded_when_every_algorithm_is_checked() -> None:
    """The oracle in `jose.jwe`, and CVE-2024-23342 in ecdsa (which is about signing at that)."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["jose.jws"], done.stderr


def test_the_service_signs_nothing() -> None:
    called = {
        node.func.attr
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert "verify" in called
    assert not called & {"sign", "encode_jwt", "encrypt", "decrypt"}


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
    """Run the check with a pip-audit that answers so: `known` for the release that has faults."""
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
