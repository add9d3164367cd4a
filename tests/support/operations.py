"""The operations of the API, as its OpenAPI document lists them, with input that each accepts."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpx
import pytest

from application import create_app
from tests.support.service import Person, make_settings

METHODS: Final = {"GET", "POST", "PUT", "PATCH", "DELETE"}


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return create_app(make_settings("postgresql://x/x", "http://localhost/x")).openapi()


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow the reference to a schema, if it is one."""
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document()["components"]["schemas"][schema["$ref"].split("/")[-1]]
    return found


def example(schema: dict[str, Any]) -> Any:
    """Return a value that a schema accepts; None where it does not say."""
    schema = {**resolve(schema.get("anyOf", [schema])[0]), **schema}
    if "examples" in schema:
        return schema["examples"][0]
    if "properties" in schema:
        fields = {name: example(each) for name, each in schema["properties"].items()}
        return {name: value for name, value in fields.items() if value is not None}
    if schema.get("type") == "boolean":
        return True
    return schema["enum"][0] if "enum" in schema else None


@dataclass(frozen=True)
class Operation:
    """A method and a path, with what the document says about them."""

    method: str
    path: str

    def __str__(self) -> str:
        """Return its name in the table of the README."""
        return f"{self.method} {self.path}"

    @property
    def spec(self) -> dict[str, Any]:
        """What the document says about it."""
        spec: dict[str, Any] = document()["paths"][self.path][self.method.lower()]
        return spec

    @property
    def needs_token(self) -> bool:
        """Whether it has to be sent with a token."""
        return bool(self.spec["security"])

    @property
    def item(self) -> str | None:
        """The name of the path's parameter that identifies one task, say."""
        return next((name for name in re.findall(r"{(\w+)}", self.path) if name != "user_id"), None)

    @property
    def body(self) -> Any:
        """A valid body, if it takes one."""
        if "requestBody" not in self.spec:
            return None
        return example(self.spec["requestBody"]["content"]["application/json"]["schema"])

    def parameters(self, place: str) -> dict[str, dict[str, Any]]:
        """Return its parameters in the path, the query or the headers."""
        found = self.spec.get("parameters", [])
        return {each["name"]: each for each in found if each["in"] == place}

    def url(self, user: object = "me", item: object = 1) -> str:
        """Return its address, with the query parameters that it needs."""
        path = self.path.replace("{user_id}", str(user)).replace(f"{{{self.item}}}", str(item))
        params = {
            name: example(each["schema"])
            for name, each in self.parameters("query").items()
            if each["required"]
        }
        return str(httpx.URL(path, params=params)) if params else path

    def create_item(self, person: Person) -> int:
        """Create what `item` identifies, in the collection that it stands in."""
        if self.item is None:
            return 1
        collection = self.path.partition(f"/{{{self.item}}}")[0]
        create = Operation("POST", collection)
        response = person.call("POST", create.url(), json=create.body)
        assert response.status_code == 201, response.text
        return int(response.json()["id"])


OPERATIONS: Final = [
    Operation(method.upper(), path) for path, item in document()["paths"].items() for method in item
]
PROTECTED: Final = [each for each in OPERATIONS if each.needs_token]
OWNED: Final = [each for each in PROTECTED if "{user_id}" in each.path]
OF_AN_ITEM: Final = [each for each in OWNED if each.item]
WITH_A_BODY: Final = [each for each in OPERATIONS if each.body]


def for_each(operations: list[Operation]) -> pytest.MarkDecorator:
    """Run a test with each of these operations."""
    return pytest.mark.parametrize("operation", operations, ids=str)
