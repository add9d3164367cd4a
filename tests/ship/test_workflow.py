"""Tests of the workflow: valid, with no more rights than it needs, and in step with `.ci/run`."""

import re
import subprocess
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # schemathesis brings it, without types

from tests.support.process import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


@pytest.fixture(scope="module")
def workflow() -> Any:
    return yaml.safe_load(WORKFLOW.read_text())


@pytest.mark.slow
def test_it_is_a_valid_workflow() -> None:
    """By GitHub's schema; the workflow itself runs actionlint, which cannot be had everywhere."""
    command = ("uvx", "--quiet", "check-jsonschema@0.39.0")
    done = subprocess.run(
        [*command, "--builtin-schema", "vendor.github-workflows", WORKFLOW],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_may_read_the_repository_and_nothing_else(workflow: Any) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert not [job for job in workflow["jobs"].values() if "permissions" in job]
    checkouts = re.findall(r"uses: actions/checkout@", WORKFLOW.read_text())
    assert WORKFLOW.read_text().count("persist-credentials: false") == len(checkouts)
    assert "secrets." not in WORKFLOW.read_text()


def test_its_actions_have_a_version(workflow: Any) -> None:
    used = [
        step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step
    ]
    assert used
    assert all(re.fullmatch(r"[\w/-]+@(v\d+|[0-9a-f]{40})", each) for each in used), used


def test_it_runs_what_contributors_run_on_a_database_of_its_own(workflow: Any) -> None:
    job = workflow["jobs"]["tests"]
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    assert job["services"]["postgres"]["image"].startswith("postgres:")
    assert job["env"]["TEST_DATABASE_URL"].startswith("postgresql://")


def test_its_python_is_that_of_the_image(workflow: Any) -> None:
    base = re.findall(
        r"^FROM python:(\d+\.\d+)-slim-(\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    ((python, debian),) = set(base)
    assert workflow["jobs"]["tests"]["container"]["image"] == f"python:{python}-{debian}"
    assert (ROOT / ".python-version").read_text().strip().startswith(python)
