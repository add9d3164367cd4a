"""Tests of examples/mcp by the official client, over HTTP."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
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

METADATA = "/.well-known/oauth-protected-resource/mcp"


@contextmanager
def running_mcp(database_url: str, key_server: KeyServer, **changes: Any) -> Iterator[str]:
    """Run the service with `/mcp`, and yield the address of that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        audiences = f"{AUDIENCE},{address}"
        settings = make_settings(database_url, key_server.url, jwt_audience=audiences, **changes)
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

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        async with httpx2.AsyncClient(headers=self.headers) as http:
            transport = streamable_http_client(self.resource, http_client=http)
            async with Client(transport, mode=self.mode) as client:
                yield client

    async def ask(self, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """Call a tool; return what it says, and whether that is an error."""
        async with self.connected() as client:
            result = await client.call_tool(name, arguments)
        (content,) = result.content
        assert isinstance(content, types.TextContent)
        return content.text, result.is_error

    def call(self, name: str, **arguments: Any) -> Any:
        """Call a tool that succeeds; return its JSON."""
        text, is_error = asyncio.run(self.ask(name, arguments))
        assert not is_error, text
        return json.loads(text)

    def refused(self, name: str, **arguments: Any) -> str:
        """Call a tool that fails; return what it says."""
        text, is_error = asyncio.run(self.ask(name, arguments))
        assert is_error, text
        return text

    def tools(self) -> dict[str, types.Tool]:
        async def listed() -> types.ListToolsResult:
            async with self.connected() as client:
                return await client.list_tools()

        return {each.name: each for each in asyncio.run(listed()).tools}


@pytest.fixture
def sign_in_assistant(resource: str, key: SigningKey) -> Callable[..., Assistant]:
    return lambda **options: Assistant(resource, key.token(aud=resource), **options)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_assistant_works_on_its_users_tasks(
    sign_in_assistant: Callable[..., Assistant], mode: str
) -> None:
    assistant = sign_in_assistant(mode=mode)
    milk = assistant.call("add_task", title="Buy milk", description="Two litres")
    assert (milk["title"], milk["completed"]) == ("Buy milk", False)
    assert assistant.call("list_tasks") == [milk]
    done = assistant.call("complete_task", task_id=milk["id"])
    assert done == {**milk, "completed": True}
    changed = assistant.call("update_task", task_id=milk["id"], title="Buy oat milk")
    assert changed == {**done, "title": "Buy oat milk"}
    assert assistant.call("list_tasks", status="pending") == []
    assert assistant.call("delete_task", task_id=milk["id"]) == changed
    assert assistant.call("list_tasks") == []


def test_the_tools_are_described_and_none_takes_a_user(
    sign_in_assistant: Callable[..., Assistant],
) -> None:
    tools = sign_in_assistant().tools()
    assert set(tools) == {"list_tasks", "add_task", "update_task", "complete_task", "delete_task"}
    columns = set(TaskCreate.model_fields)
    assert set(tools["add_task"].input_schema["properties"]) == columns
    assert set(tools["update_task"].input_schema["properties"]) == columns | {"task_id"}
    assert {"status", "search", "sort", "limit"} <= set(
        tools["list_tasks"].input_schema["properties"]
    )
    assert "cursor" not in tools["list_tasks"].input_schema["properties"]
    for tool in tools.values():
        assert tool.description
        assert not {"user_id", "owner", "sub"} & set(tool.input_schema["properties"])


def test_two_users_in_parallel_see_their_own_tasks_only(
    sign_in_assistant: Callable[..., Assistant],
) -> None:
    def work(name: str) -> tuple[list[str], set[str]]:
        assistant = sign_in_assistant()
        titles = [f"{name} {number}" for number in range(5)]
        for title in titles:
            assistant.call("add_task", title=title)
        return titles, {each["title"] for each in assistant.call("list_tasks")}

    with ThreadPoolExecutor() as threads:
        for titles, seen in threads.map(work, ["alice", "bob", "carol"]):
            assert seen == set(titles)


def test_somebody_elses_task_is_not_there(sign_in_assistant: Callable[..., Assistant]) -> None:
    alice, mallory = sign_in_assistant(), sign_in_assistant()
    task = alice.call("add_task", title="Private")
    for tool in ("update_task", "complete_task", "delete_task"):
        theirs = mallory.refused(tool, task_id=task["id"])
        assert theirs == mallory.refused(tool, task_id=2**62)
        assert "Private" not in theirs
    assert alice.call("list_tasks") == [task]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("add_task", {}, "title: This is required"),
        ("add_task", {"title": " "}, "title: Write a title"),
        ("list_tasks", {"sort": "colour"}, "sort: This must be one of"),
        ("complete_task", {"task_id": 1, "completed": "perhaps"}, "completed: "),
        ("drop_table", {}, NotFoundError.usual_detail),
    ],
)
def test_errors_are_the_services_own(
    sign_in_assistant: Callable[..., Assistant],
    caplog: pytest.LogCaptureFixture,
    tool: str,
    arguments: dict[str, Any],
    said: str,
) -> None:
    assert said in sign_in_assistant().refused(tool, **arguments)
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


def test_an_unhandled_error_is_logged_and_not_told(
    sign_in_assistant: Callable[..., Assistant],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ValueError("SELECT secret")

    monkeypatch.setattr(task, "create_task", fail)
    assert sign_in_assistant(mode="legacy").refused("add_task", title="x") == (
        InternalError.usual_detail
    )
    assert "SELECT secret" in caplog.text


def test_long_texts_are_cut_and_long_lists_have_a_limit(
    sign_in_assistant: Callable[..., Assistant],
) -> None:
    assistant = sign_in_assistant()
    long = assistant.call("add_task", title="Long", description="x" * 10_000)
    assert len(long["description"]) < 1100
    assistant.call("add_task", title="Second")
    text, is_error = asyncio.run(assistant.ask("list_tasks", {"limit": 1}))
    assert not is_error
    assert "more" in text


def test_a_call_without_a_good_token_says_where_to_get_one(
    resource: str, key: SigningKey, caplog: pytest.LogCaptureFixture
) -> None:
    refused = {
        "no token": None,
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
            assert token is None or token not in caplog.text
    described = httpx.get(metadata).json()
    assert described == {"resource": resource, "authorization_servers": [ISSUER]}


def test_a_token_for_mcp_works_at_no_other_route(resource: str, key: SigningKey) -> None:
    service = resource.removesuffix("/mcp")
    for audience, status in ((resource, 401), (AUDIENCE, 200)):
        headers = {"Authorization": f"Bearer {key.token(aud=audience)}"}
        assert httpx.get(f"{service}/api/me/tasks", headers=headers).status_code == status


def test_the_token_is_not_logged(
    sign_in_assistant: Callable[..., Assistant], caplog: pytest.LogCaptureFixture
) -> None:
    assistant = sign_in_assistant()
    with caplog.at_level(logging.INFO):
        assistant.call("add_task", title="Buy milk")
    assert "/mcp" in caplog.text
    assert assistant.headers["Authorization"].rpartition(".")[2] not in caplog.text


def test_a_page_of_another_origin_is_refused(resource: str, key: SigningKey) -> None:
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


def test_the_quota_holds(database_url: str, key_server: KeyServer, key: SigningKey) -> None:
    with running_mcp(database_url, key_server, tasks_per_account=1) as resource:
        assistant = Assistant(resource, key.token(aud=resource))
        assistant.call("add_task", title="First")
        assert "as many tasks" in assistant.refused("add_task", title="Second")
