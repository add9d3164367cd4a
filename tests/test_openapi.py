"""Tests of the OpenAPI document: it is valid, complete, and passes other people's linters."""

import json
import os
import subprocess
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from openapi_spec_validator import validate

from tests.support.operations import OPERATIONS, Operation, document, for_each
from tests.support.programs import need

SCHEMAS: Final = document()["components"]["schemas"]
BY_STATUS: Final = {"401": {"WWW-Authenticate"}, "429": {"Retry-After"}, "503": {"Retry-After"}}
PACKAGES: Final = {"@redocly/cli": "2.77.0", "@stoplight/spectral-cli": "6.16.3"}
LINTERS: Final = {
    "spectral": ("lint", "--ruleset", "ruleset.json", "openapi.json"),
    "redocly": ("lint", "--extends", "recommended", "openapi.json"),
}


def test_the_document_is_valid(client: httpx.Client) -> None:
    assert client.get("/openapi.json").json() == document()
    validate(document())
    assert document()["openapi"].startswith("3.1")
    tags = {tag["name"] for tag in document()["tags"] if tag["description"]}
    assert {tag for each in OPERATIONS for tag in each.spec["tags"]} == tags
    for absent in ("422", "ValidationError", "password_hash"):
        assert absent not in json.dumps(document())
    headers = document()["components"]["headers"].values()
    assert all(each["description"] and each["schema"] for each in headers)


@for_each(OPERATIONS)
def test_an_operation_documents_all_that_it_may_answer(operation: Operation) -> None:
    responses = operation.spec["responses"]
    needs = {
        ("401", "403", "404", "503"): operation.needs_token,
        ("400", "413"): operation.body,
        ("400",): operation.parameters("query"),
        ("412",): "If-Match" in operation.parameters("header"),
        ("304",): "If-None-Match" in operation.parameters("header"),
        ("400", "409"): "Idempotency-Key" in operation.parameters("header"),
    }
    expected = {status for statuses, needed in needs.items() if needed for status in statuses}
    assert expected <= set(responses)
    assert operation.spec["description"]
    if operation.needs_token:
        ((scheme,),) = operation.spec["security"]
        described = document()["components"]["securitySchemes"][scheme]
        assert (described["type"], described["scheme"]) == ("http", "bearer")
    for status, response in responses.items():
        assert response["description"]
        headers = {"X-Request-ID"} | BY_STATUS.get(status, set())
        assert headers <= set(response["headers"])
        if status < "300" and status != "204":
            assert response["content"]["application/json"]["schema"]
        if status >= "400":
            ((media_type, content),) = response["content"].items()
            assert media_type == "application/problem+json"
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert content["example"]["status"] == int(status)
            assert content["example"]["title"] == HTTPStatus(int(status)).phrase
            assert content["example"]["detail"]
            # Of its own parameters and body.
            fields = {each["field"] for each in content["example"].get("errors", [])}
            assert bool(fields) is (status == "400")
            assert fields <= set(operation.parameters("query")) | set(operation.body or ())


def mentions(schema: Any, key: str) -> bool:
    return key in schema or any(mentions(each, key) for each in schema.get("anyOf", ()))


def test_every_field_and_parameter_has_a_description_and_an_example() -> None:
    fields = [
        (f"{name}.{field}", value, value)
        for name, schema in SCHEMAS.items()
        for field, value in schema.get("properties", {}).items()
    ]
    parameters = [
        (f"{operation}: {each['name']}", each, each["schema"])
        for operation in OPERATIONS
        for each in operation.spec.get("parameters", ())
    ]
    for name, described, schema in fields + parameters:
        assert mentions(described, "description"), name
        # What is another schema has its examples there.
        assert mentions(schema, "examples") or "$ref" in str(schema), name


def test_the_limits_of_the_input_stand_in_it() -> None:
    title = SCHEMAS["TaskCreate"]["properties"]["title"]
    assert (title["minLength"], title["maxLength"]) == (1, 200)
    assert SCHEMAS["TaskCreate"]["required"] == ["title"]
    assert SCHEMAS["TaskUpdate"].get("required", []) == []
    assert set(SCHEMAS["TaskPublic"]["required"]) == set(SCHEMAS["TaskPublic"]["properties"])
    for name in ("title", "completed"):
        assert "null" not in str(SCHEMAS["TaskUpdate"]["properties"][name])
    of_a_task = Operation("GET", "/api/{user_id}/tasks/{task_id}").parameters("path")
    task_id = of_a_task["task_id"]["schema"]
    assert (task_id["type"], task_id["minimum"], task_id["maximum"]) == ("integer", 1, 2**63 - 1)


@pytest.fixture(scope="session")
def linters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the linters in a folder of their own."""
    need("npm", "install Node.js 20.19 or newer, with npm (https://nodejs.org/en/download)")
    folder = tmp_path_factory.mktemp("linters")
    package = {"private": True, "dependencies": PACKAGES}
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "openapi.json").write_text(json.dumps(document()))
    (folder / "ruleset.json").write_text(json.dumps({"extends": ["spectral:oas"]}))
    run(folder, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund")
    return folder


def run(folder: Path, *command: str) -> None:
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    finished = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("linter", LINTERS)
def test_the_document_passes_the_recommended_rules(linters: Path, linter: str) -> None:
    run(linters, str(linters / "node_modules" / ".bin" / linter), *LINTERS[linter])
