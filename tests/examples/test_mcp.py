"""Tests of examples/mcp by the official client, over HTTP."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import pytest
from mcp import types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from core.problems import InternalError, NotFoundError
from examples.mcp.service import create_mcp_app
from models import task
from sandbox.server import serving
from schemas.task import TaskCreate
from tests.support.keyserver import KeyServer
from tests.support.service import make_settings
from tests.support.tokens import AUDIENCE, ISSUER, SigningKey

pytestmark = pytest.mark.slow

METADATA = "/.well-known/oauth-protected-resource/mcp"
QUOTA = 5


@contextmanager
def running_mcp(database_url: str, key_server: KeyServer) -> Iterator[str]:
    """Run the service with `/mcp`, and yield the address of that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        changes = {"jwt_audience": f"{AUDIENCE},{address}", "tasks_per_account": QUOTA}
        settings = make_settings(database_url, key_server.url, **changes)
        with serving(create_mcp_app(settings), listener):
            yield address


@pytest.fixture(scope="module")
def resource(database_url: str, key_server: KeyServer) -> Iterator[str]:
    with running_mcp(database_url, key_server) as address:
        yield address


class Assistant:
    """An official client with a user's token; `mode` is the era of the protocol."""

    def __init__(self, resource: str, token: str, mode: str = "auto") -> None:
        self.resource = resource
        self.mode: Any = mode
        self.headers = {"Authorization": f"Bearer {token}"}

    def connected(self, use: Callable[[Client], Any]) -> Any:
        """Connect, and return what a method of the client does."""

        async def main() -> Any:
            async with httpx2.AsyncClient(headers=self.headers) as http:
                transport = streamable_http_client(self.resource, http_client=http)
                async with Client(transport, mode=self.mode) as client:
                    return await use(client)

        return asyncio.run(main())

    def ask(self, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """Call a tool; return what it says, and whether that is an error."""
        result = self.connected(lambda client: client.call_tool(name, arguments))
        (content,) = result.content
        assert isinstance(content, types.TextContent)
        return content.text, result.is_error

    def call(self, name: str, **arguments: Any) -> Any:
        """Call a tool that succeeds; return its JSON."""
        text, is_error = self.ask(name, arguments)
        assert not is_error, text
        return json.loads(text)

    def refused(self, name: str, **arguments: Any) -> str:
        """Call a tool that fails; return what it says."""
        text, is_error = self.ask(name, arguments)
        assert is_error, text
        return text

    def tools(self) -> dict[str, types.Tool]:
        """Return the tools by their names."""
        return {each.name: each for each in self.connected(Client.list_tools).tools}


@pytest.fixture
def assistant(resource: str, key: SigningKey) -> Assistant:
    return Assistant(resource, key.token(aud=resource))


@pytest.fixture
def other(resource: str, key: SigningKey) -> Assistant:
    """Return the assistant of another user, with an older client."""
    return Assistant(resource, key.token(aud=resource), "legacy")


def test_an_assistant_works_on_its_users_tasks(
    assistant: Assistant, other: Assistant, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for each in (assistant, other):
            milk = each.call("add_task", title="Buy milk", description="Two litres")
            assert (milk["title"], milk["completed"]) == ("Buy milk", False)
            assert each.call("list_tasks") == [milk]
            done = each.call("complete_task", task_id=milk["id"])
            assert done == {**milk, "completed": True}
            changed = each.call("update_task", task_id=milk["id"], title="Buy oat milk")
            assert changed == {**done, "title": "Buy oat milk"}
            assert each.call("list_tasks", status="pending") == []
            assert each.call("delete_task", task_id=milk["id"]) == changed
            assert each.call("list_tasks") == []
            assert each.headers["Authorization"].rpartition(".")[2] not in caplog.text
    assert "/mcp" in caplog.text


def test_the_tools_are_described_and_none_takes_a_user(assistant: Assistant) -> None:
    tools = assistant.tools()
    arguments = {name: set(tool.input_schema["properties"]) for name, tool in tools.items()}
    assert set(tools) == {"list_tasks", "add_task", "update_task", "complete_task", "delete_task"}
    columns = set(TaskCreate.model_fields)
    assert arguments["add_task"] == columns
    assert arguments["update_task"] == columns | {"task_id"}
    assert {"status", "search", "sort", "limit"} <= arguments["list_tasks"]
    assert "cursor" not in arguments["list_tasks"]
    assert all(tool.description for tool in tools.values())
    assert {"user_id", "owner", "sub"}.isdisjoint(set.union(*arguments.values()))


def test_users_in_parallel_see_their_own_tasks_only(resource: str, key: SigningKey) -> None:
    def work(name: str) -> tuple[list[str], set[str]]:
        assistant = Assistant(resource, key.token(aud=resource))
        titles = [f"{name} {number}" for number in range(QUOTA)]
        for title in titles:
            assistant.call("add_task", title=title)
        assert "as many tasks" in assistant.refused("add_task", title="One more")
        return titles, {each["title"] for each in assistant.call("list_tasks")}

    with ThreadPoolExecutor() as threads:
        for titles, seen in threads.map(work, ["alice", "bob", "carol"]):
            assert seen == set(titles)


def test_somebody_elses_task_is_not_there(assistant: Assistant, other: Assistant) -> None:
    task = assistant.call("add_task", title="Private")
    for tool in ("update_task", "complete_task", "delete_task"):
        theirs = other.refused(tool, task_id=task["id"])
        assert theirs == other.refused(tool, task_id=2**62)
        assert "Private" not in theirs
    assert assistant.call("list_tasks") == [task]


def test_errors_are_the_services_own(
    assistant: Assistant, caplog: pytest.LogCaptureFixture
) -> None:
    for said, tool, arguments in (
        ("title: ", "add_task", {}),
        ("title: ", "add_task", {"title": " "}),
        ("sort: ", "list_tasks", {"sort": "colour"}),
        ("completed: ", "complete_task", {"task_id": 1, "completed": "perhaps"}),
        (NotFoundError.usual_detail, "drop_table", {}),
    ):
        assert said in assistant.refused(tool, **arguments)
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


def test_an_unhandled_error_is_logged_and_not_told(
    other: Assistant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ValueError("SELECT secret")

    monkeypatch.setattr(task, "create_task", fail)
    assert other.refused("add_task", title="x") == InternalError.usual_detail
    assert "SELECT secret" in caplog.text


def test_long_texts_are_cut_and_long_lists_have_a_limit(assistant: Assistant) -> None:
    long = assistant.call("add_task", title="Long", description="x" * 10_000)
    assert len(long["description"]) < 1100
    assistant.call("add_task", title="Second")
    text, is_error = assistant.ask("list_tasks", {"limit": 1})
    assert not is_error
    assert "more" in text


def test_a_call_without_a_good_token_says_where_to_get_one(
    resource: str, key: SigningKey, caplog: pytest.LogCaptureFixture
) -> None:
    refused = {
        "no token": "",
        "expired": key.token(aud=resource, exp=int(time.time()) - 60),
        "the front end's": key.token(),
        "for another service": key.token(aud="http://127.0.0.1:1/mcp"),
        "of another issuer": key.token(aud=resource, iss="http://localhost:1"),
    }
    metadata = resource.removesuffix("/mcp") + METADATA
    with caplog.at_level(logging.DEBUG):
        for token in refused.values():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            response = httpx.post(resource, json={}, headers=headers)
            assert response.status_code == response.json()["status"] == 401
            assert f'resource_metadata="{metadata}"' in response.headers["WWW-Authenticate"]
            assert not token or token not in caplog.text
    described = httpx.get(metadata).json()
    assert described == {"resource": resource, "authorization_servers": [ISSUER]}


def test_a_token_for_mcp_works_at_no_other_route_and_from_no_other_origin(
    resource: str, key: SigningKey
) -> None:
    service = resource.removesuffix("/mcp")
    for audience, status in ((resource, 401), (AUDIENCE, 200)):
        headers = {"Authorization": f"Bearer {key.token(aud=audience)}"}
        assert httpx.get(f"{service}/api/me/tasks", headers=headers).status_code == status
    headers = {"Authorization": f"Bearer {key.token(aud=resource)}", "Origin": "http://evil.test"}
    assert httpx.post(resource, json={}, headers=headers).status_code == 403


def test_read_only_has_one_tool(
    database_url: str, key_server: KeyServer, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_READ_ONLY", "true")
    with running_mcp(database_url, key_server) as resource:
        assistant = Assistant(resource, key.token(aud=resource))
        assert set(assistant.tools()) == {"list_tasks"}
        assistant.refused("add_task", title="x")
        assert assistant.call("list_tasks") == []
