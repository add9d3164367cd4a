"""Tests of the OpenAPI document: headers, examples, security, and other people's rules for it."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.support.programs import need
from tests.support.service import Person

TAGGED = {
    ("get", "/api/{user_id}/tasks", "200"): {"ETag", "Link"},
    ("get", "/api/{user_id}/tasks", "304"): {"ETag", "Link"},
    ("post", "/api/{user_id}/tasks", "201"): {"ETag", "Location"},
    ("get", "/api/{user_id}/tasks/{task_id}", "200"): {"ETag"},
    ("get", "/api/{user_id}/tasks/{task_id}", "304"): {"ETag"},
    ("put", "/api/{user_id}/tasks/{task_id}", "200"): {"ETag"},
    ("patch", "/api/{user_id}/tasks/{task_id}", "200"): {"ETag"},
    ("patch", "/api/{user_id}/tasks/{task_id}/complete", "200"): {"ETag"},
    ("get", "/api/auth/me/export", "200"): {"Content-Disposition"},
}
BY_STATUS = {"401": {"WWW-Authenticate"}, "429": {"Retry-After"}, "503": {"Retry-After"}}
PUBLIC = {"/api/auth/signup", "/api/auth/login", "/health", "/health/ready"}

PACKAGES: Final = {"@redocly/cli": "2.77.0", "@stoplight/spectral-cli": "6.16.3"}
LINTERS = {
    "spectral": ("lint", "--ruleset", "ruleset.json", "openapi.json"),
    "redocly": ("lint", "--extends", "recommended", "openapi.json"),
}


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    """Return the document as the service serves it."""
    document: dict[str, Any] = client.get("/openapi.json").json()
    return document


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


def test_every_response_names_its_headers(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            expected = {"X-Request-ID"} | BY_STATUS.get(status, set())
            expected |= TAGGED.get((method, path, status), set())
            assert set(response["headers"]) == expected, (method, path, status)
    described = document["components"]["headers"]
    assert all(each["description"] and each["schema"] for each in described.values())


def test_documented_headers_are_sent(alice: Person) -> None:
    created = alice.tasks("POST", json={"title": "a task"})
    alice.create()
    task = created.json()["id"]
    for response, names in (
        (created, {"etag", "location"}),
        (alice.tasks("GET", params={"limit": 1}), {"etag", "link"}),
        (alice.tasks("GET", task, headers={"If-None-Match": "*"}), {"etag"}),
        (alice.tasks("PUT", task, json={"title": "new"}), {"etag"}),
        (alice.call("GET", "/api/auth/me/export"), {"content-disposition"}),
        (alice.client.get("/api/auth/me"), {"www-authenticate"}),
    ):
        assert {*names, "x-request-id"} <= set(response.headers)


def test_only_operations_without_a_token_have_no_security(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        assert (operation["security"] == []) is (path in PUBLIC)


def test_licence_server_and_tags_are_described(document: dict[str, Any]) -> None:
    assert document["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    assert document["servers"]
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert all(tags.values())
    assert {tag for _, _, operation in operations(document) for tag in operation["tags"]} == set(
        tags
    )


def test_every_path_parameter_is_described_and_has_an_example(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        parameters = {each["name"]: each for each in operation.get("parameters", [])}
        for name in re.findall(r"{(\w+)}", path):
            assert parameters[name]["description"], (method, path)
            assert parameters[name]["schema"]["examples"] or parameters[name]["examples"]
    user_id = parameter(document, "get", "/api/{user_id}/tasks", "user_id")
    assert all(each in user_id["description"] for each in ("`me`", "`id`", "`sub`"))


def parameter(document: dict[str, Any], method: str, path: str, name: str) -> dict[str, Any]:
    parameters = document["paths"][path][method]["parameters"]
    (found,) = [each for each in parameters if each["name"] == name]
    return dict(found)


def test_the_examples_of_an_operation_are_its_own(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        examples = {
            status: response["content"]["application/problem+json"]["example"]
            for status, response in operation["responses"].items()
            if status >= "400"
        }
        for status, example in examples.items():
            about_one_task = "{task_id}" in path
            if status == "404":
                assert ("this id" in example["detail"]) is about_one_task, (method, path)
            if status == "403" and "{user_id}" not in path:
                assert "path" not in example["detail"]
            if status == "400":
                fields = [error["field"] for error in example["errors"]]
                assert set(fields) <= known_fields(document, operation), (method, path)


def known_fields(document: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    """Return the names of an operation's parameters and of the fields of its body."""
    names = {each["name"] for each in operation.get("parameters", [])}
    if "requestBody" in operation:
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
        names |= set(schema["properties"])
    return names


@pytest.fixture(scope="session")
def linters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the linters in a folder of their own."""
    need("npm", "install Node.js 20.19 or newer, with npm (https://nodejs.org/en/download)")
    folder = tmp_path_factory.mktemp("linters")
    package = {"private": True, "dependencies": PACKAGES}
    (folder / "package.json").write_text(json.dumps(package))
    run(folder, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund")
    return folder


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("linter", LINTERS)
def test_the_document_passes_the_recommended_rules(
    document: dict[str, Any], linters: Path, linter: str
) -> None:
    (linters / "openapi.json").write_text(json.dumps(document))
    (linters / "ruleset.json").write_text(json.dumps({"extends": ["spectral:oas"]}))
    run(linters, str(linters / "node_modules" / ".bin" / linter), *LINTERS[linter])
