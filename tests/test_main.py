"""Tests of the application as a whole: its OpenAPI document, and how it starts."""

import inspect
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from core.settings import Settings
from main import create_app
from routers import auth, health, tasks
from schemas.base import RequestBody
from schemas.task import TaskCreate, TaskUpdate
from schemas.user import Credentials, UserCreate
from tests.conftest import MakeDatabase
from tests.support.keyserver import KeyServer
from tests.support.process import failed_start
from tests.support.service import Person, make_settings
from tests.support.tokens import AUDIENCE, ISSUER

TABLE = {
    ("post", "/api/auth/signup"): ("signup", 201, {400, 409, 413, 429, 503}),
    ("post", "/api/auth/login"): ("login", 200, {400, 401, 413, 429, 503}),
    ("get", "/api/auth/me"): ("read_me", 200, {401, 403, 404, 503}),
    ("delete", "/api/auth/me"): ("delete_me", 204, {401, 403, 404, 503}),
    ("get", "/api/auth/me/export"): ("export_me", 200, {401, 403, 404, 503}),
    ("get", "/api/{user_id}/tasks"): ("list_tasks", 200, {304, 400, 401, 403, 404, 503}),
    ("post", "/api/{user_id}/tasks"): ("create_task", 201, {400, 401, 403, 404, 409, 413, 503}),
    ("patch", "/api/{user_id}/tasks"): ("update_tasks", 200, {400, 401, 403, 404, 413, 503}),
    ("delete", "/api/{user_id}/tasks"): ("delete_tasks", 200, {400, 401, 403, 404, 503}),
    ("get", "/api/{user_id}/tasks/{task_id}"): ("read_task", 200, {304, 401, 403, 404, 503}),
    ("put", "/api/{user_id}/tasks/{task_id}"): (
        "replace_task", 200, {400, 401, 403, 404, 412, 413, 503},
    ),
    ("patch", "/api/{user_id}/tasks/{task_id}"): (
        "update_task", 200, {400, 401, 403, 404, 412, 413, 503},
    ),
    ("delete", "/api/{user_id}/tasks/{task_id}"): (
        "delete_task", 204, {401, 403, 404, 412, 503},
    ),
    ("patch", "/api/{user_id}/tasks/{task_id}/complete"): (
        "complete_task", 200, {400, 401, 403, 404, 412, 413, 503},
    ),
    ("get", "/health"): ("read_health", 200, set()),
    ("get", "/health/ready"): ("read_readiness", 200, {503}),
}  # fmt: skip
"""Each operation's id, success and failures (the contract's table, 413 and 503 included)."""

every_row = pytest.mark.parametrize(
    ("method", "path"), TABLE, ids=[operation_id for operation_id, _, _ in TABLE.values()]
)


@pytest.fixture(scope="module")
def settings() -> Settings:
    """Return settings that nothing is opened with."""
    return make_settings("postgresql://localhost/nothing", "http://localhost/jwks")


@pytest.fixture(scope="module")
def document(settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document."""
    return create_app(settings).openapi()


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "todo-backend"


def test_the_document_has_the_operations_of_the_table_and_no_other(
    document: dict[str, Any],
) -> None:
    there = {(method, path) for path, item in document["paths"].items() for method in item}
    assert there == set(TABLE)


@every_row
def test_an_operation_is_named_after_its_function(
    document: dict[str, Any], method: str, path: str
) -> None:
    operation = document["paths"][path][method]
    assert operation["operationId"] == TABLE[method, path][0]
    (module,) = [each for each in (auth, health, tasks) if hasattr(each, operation["operationId"])]
    function = getattr(module, operation["operationId"])
    assert operation["description"] == inspect.getdoc(function)


@every_row
def test_an_operation_documents_its_success_and_each_of_its_failures(
    document: dict[str, Any], method: str, path: str
) -> None:
    responses = document["paths"][path][method]["responses"]
    _, success, failures = TABLE[method, path]
    assert set(responses) == {str(status) for status in {success, *failures}}
    assert responses[str(success)]["description"]
    if success != HTTPStatus.NO_CONTENT:
        assert responses[str(success)]["content"]["application/json"]["schema"]
    for status in failures - {304}:
        ((media_type, content),) = responses[str(status)]["content"].items()
        assert media_type == "application/problem+json"
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        example = content["example"]
        assert (example["status"], example["title"]) == (status, HTTPStatus(status).phrase)
        assert example["detail"]
        assert ("errors" in example) is (status == 400)


@every_row
def test_the_operations_that_need_a_token_say_so(
    document: dict[str, Any], method: str, path: str
) -> None:
    operation = document["paths"][path][method]
    needs_token = 403 in TABLE[method, path][2]
    assert bool(operation["security"]) is needs_token
    if needs_token:
        ((scheme,),) = operation["security"]
        described = document["components"]["securitySchemes"][scheme]
        assert (described["type"], described["scheme"]) == ("http", "bearer")
        assert described["bearerFormat"] == "JWT"


def test_there_is_no_422_in_it(document: dict[str, Any]) -> None:
    assert "422" not in str(document["paths"])
    assert "ValidationError" not in str(document)


def test_the_limits_of_the_input_stand_in_it(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    title = schemas["TaskCreate"]["properties"]["title"]
    assert (title["minLength"], title["maxLength"]) == (1, 200)
    assert schemas["TaskCreate"]["required"] == ["title"]
    assert schemas["TaskUpdate"].get("required", []) == []
    for name in ("title", "completed"):
        assert "null" not in str(schemas["TaskUpdate"]["properties"][name])
    parameters = document["paths"]["/api/{user_id}/tasks/{task_id}"]["get"]["parameters"]
    (task_id,) = [each["schema"] for each in parameters if each["name"] == "task_id"]
    assert (task_id["type"], task_id["minimum"], task_id["maximum"]) == ("integer", 1, 2**63 - 1)
    complete = document["paths"]["/api/{user_id}/tasks/{task_id}/complete"]["patch"]
    assert not complete["requestBody"].get("required", False)
    assert "password_hash" not in str(document)


@pytest.mark.parametrize("body", [Credentials, UserCreate, TaskCreate, TaskUpdate])
def test_the_texts_of_a_body_have_an_example_that_is_good_input(
    document: dict[str, Any], body: type[RequestBody]
) -> None:
    members = document["components"]["schemas"][body.__name__]["properties"]
    examples = {
        member: (schema.get("examples") or schema["anyOf"][0]["examples"])[0]
        for member, schema in members.items()
        if member != "completed"
    }
    assert body.model_validate(examples)


def test_a_task_on_the_wire_is_what_the_document_says(
    document: dict[str, Any], alice: Person
) -> None:
    schema = document["components"]["schemas"]["TaskPublic"]
    task = alice.create()
    assert list(task) == list(schema["properties"])
    assert set(schema["required"]) == set(task)


def test_the_service_shows_its_document(client: httpx.Client, document: dict[str, Any]) -> None:
    assert client.get("/openapi.json").json() == document
    assert "swagger" in client.get("/docs").text.lower()


def start_with(tmp_path: Path, database_url: str, *options: str) -> tuple[int, str]:
    environment = {
        "DATABASE_URL": database_url,
        "JWKS_URL": "http://localhost:1/jwks",
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
    }
    return failed_start(tmp_path, environment, *options)


@pytest.mark.slow
def test_a_database_that_is_not_there_at_the_start_is_one_readable_line(tmp_path: Path) -> None:
    status, said = start_with(tmp_path, "postgresql://me:top-secret@127.0.0.1:1/todo")
    assert status != 0
    assert "Traceback" not in said
    assert "top-secret" not in said
    (line,) = [each for each in said.splitlines() if "DATABASE_URL" in each]
    assert "DATABASE_URL: the database cannot be used: " in line
    assert "Connection refused" in line
    errors = [each for each in said.splitlines() if " ERROR " in each]
    assert len(errors) == 2
    assert errors[0] == line
    assert "Application startup failed. Exiting." in errors[1]


def test_two_applications_with_different_settings_live_side_by_side(
    make_database: MakeDatabase, key_server: KeyServer
) -> None:
    first = create_app(make_settings(make_database(), key_server.url, cors_origins=("http://a",)))
    second = create_app(make_settings(make_database(), key_server.url))
    assert first is not second
    assert first.openapi() == second.openapi()
    assert first.openapi() is not second.openapi()
