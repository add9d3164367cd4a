"""The OpenAPI document: what FastAPI generates, and what it cannot know."""

from typing import Any, Final, override

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from core.problems import MEDIA_TYPE, Problem, ProblemError, http_problem

Responses = dict[int | str, dict[str, Any]]
"""What a route's `responses` takes: a description of each status."""

_TEXT: Final = {"type": "string"}
_HEADERS: Final = {
    "X-Request-ID": "The id of the request, as in the log: the caller's, or a new one",
    "ETag": "The version of this response",
    "Link": 'The next page, with `rel="next"` (RFC 8288)',
    "Location": "The address of the new task",
    "Retry-After": "Seconds after which to try again",
    "WWW-Authenticate": "`Bearer` (RFC 6750 §3)",
    "Content-Disposition": "`attachment`: a browser saves it as a file",
}
_BY_STATUS: Final = {
    "401": ["WWW-Authenticate"],
    "429": ["Retry-After"],
    "503": ["Retry-After"],
}


class DocumentedAPI(FastAPI):
    """FastAPI, with every response documented as it is: problems for errors, headers, no 422."""

    @override
    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, which is generated once."""
        if self.openapi_schema is None:
            _complete(super().openapi())
        return super().openapi()


def _complete(document: dict[str, Any]) -> None:
    components = document["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= {**problem.pop("$defs"), "Problem": problem}
    components["headers"] = {
        name: {"description": description, "schema": _TEXT}
        for name, description in _HEADERS.items()
    }
    for path in document["paths"].values():
        for operation in path.values():
            # The first paragraph of the docstring; FastAPI takes the function's name.
            summary = operation["description"].partition("\n\n")[0]
            operation["summary"] = " ".join(summary.split()).rstrip(".")
            for parameter in operation.get("parameters", ()):
                # Swagger UI fills in this example, and not those of the schema.
                if parameter["in"] == "path":
                    parameter["example"] = parameter["schema"]["examples"][0]
            # An operation that needs no token says so, instead of nothing.
            operation.setdefault("security", [])
            operation["responses"].pop("422", None)
            operation["responses"] = dict(sorted(operation["responses"].items()))
            for status, response in operation["responses"].items():
                names = [
                    "X-Request-ID",
                    *_BY_STATUS.get(status, ()),
                    *response.pop("x-headers", ()),
                ]
                response["headers"] = {
                    name: {"$ref": f"#/components/headers/{name}"} for name in names
                }


async def method_not_allowed(request: Request, error: Exception) -> Response:
    """Name all methods of the address (RFC 9110 §15.5.6); Starlette names those of one route."""
    response = await http_problem(request, error)
    path = getattr(request.scope.get("route"), "path", "")
    operations = request.app.openapi()["paths"].get(path)
    if operations:
        methods = {each.upper() for each in operations}
        methods |= {"HEAD"} if "GET" in methods else set()
        response.headers["Allow"] = ", ".join(sorted(methods))
    return response


def problems(*errors: ProblemError | type[ProblemError]) -> Responses:
    """Document the problems that a route may answer with, each by an example."""
    examples = [error() if isinstance(error, type) else error for error in errors]
    return {
        error.status.value: {
            "description": error.status.phrase,
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": error.problem.model_dump(exclude_none=True),
                }
            },
        }
        for error in examples
    }


def documented(
    status_code: int, *headers: str, description: str = "Successful response"
) -> Responses:
    """Document the headers of a response; `_HEADERS` describes each."""
    return {status_code: {"description": description, "x-headers": headers}}


def not_modified(*headers: str) -> Responses:
    """Document the response to a caller that has the newest version."""
    return documented(304, *headers, description="The caller has this version already")


def header_parameter(name: str, description: str, example: str, **schema: object) -> dict[str, Any]:
    """Document a header that a route reads from the request itself.

    That is a documented way of FastAPI's, and several times as fast as its `Header()`
    (docs/decisions/0008).
    """
    parameter = {"name": name, "in": "header", "description": description}
    schema = {"type": "string", "examples": [example], **schema}
    return {"parameters": [{**parameter, "schema": schema}]}


def query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Document the query parameters that a route reads by `routers.base.read_query`."""
    schema = model.model_json_schema()
    parameters = []
    for name, prop in schema["properties"].items():
        # A query has no null and no empty list: a parameter is left out.
        choices = [each for each in prop.pop("anyOf", ()) if each != {"type": "null"}]
        described = dict(item for each in (*choices, prop) for item in each.items())
        if not described.get("default"):
            described.pop("default", None)
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "description": described.pop("description"),
                "schema": described,
            }
        )
    return parameters
