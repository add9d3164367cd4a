"""Tests that hold for every column: one that is forgotten anywhere fails here."""

from typing import Any

import httpx
import pytest

from models.task import Task
from schemas.task import TaskCreate
from tests.support.service import Person

VALUES: dict[str, tuple[Any, Any]] = {
    "title": ("one", "two"),
    "description": ("more", None),
    "completed": (True, False),
    "priority": ("urgent", "none"),
    "due_date": ("2026-12-31T09:30:00.000001Z", None),
    "tags": (["home", "Größe"], []),
}
"""Two values for each column that a caller may write."""

COLUMNS = list(TaskCreate.model_fields)
every_column = pytest.mark.parametrize("column", COLUMNS)


@every_column
def test_what_a_caller_writes_to_a_column_is_what_it_reads(alice: Person, column: str) -> None:
    for value, other in (VALUES[column], VALUES[column][::-1]):
        task = alice.create(**{column: value})
        assert task[column] == value
        path = task["id"]
        unchanged = {name: task[name] for name in COLUMNS if name != column}
        for method, new, rest in (
            ("PUT", other, {"title": task["title"]}),
            ("PATCH", value, {}),
            ("PUT", other, unchanged),
        ):
            response = alice.tasks(method, path, json={**rest, column: new})
            assert response.status_code == 200
            assert response.json()[column] == new
            (listed,) = [each for each in alice.tasks("GET").json() if each["id"] == path]
            assert response.json() == alice.tasks("GET", path).json() == listed
            assert {name: listed[name] for name in unchanged} == unchanged
        (exported,) = [each for each in alice.export()["tasks"] if each["id"] == path]
        assert exported[column] == other


@every_column
def test_a_column_can_be_left_out_of_a_change(alice: Person, column: str) -> None:
    task = alice.create(**{name: values[0] for name, values in VALUES.items()})
    others = {name: values[0] for name, values in VALUES.items() if name != column}
    assert alice.tasks("PATCH", task["id"], json=others).json()[column] == task[column]
    if column != "title":
        assert alice.tasks("PUT", task["id"], json=others).json()[column] == task[column]


def test_a_task_on_the_wire_has_the_columns_of_the_table(
    client: httpx.Client, alice: Person
) -> None:
    columns = [name for name, field in Task.model_fields.items() if not field.exclude]
    assert list(alice.create()) == columns
    (exported,) = alice.export()["tasks"]
    assert list(exported) == list(Task.model_fields)
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert list(schemas["TaskPublic"]["properties"]) == columns
    assert list(schemas["TaskExport"]["properties"]) == list(Task.model_fields)
