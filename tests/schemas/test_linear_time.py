"""Tests that no input costs more than linear time: the worst 64 KiB for every field."""

import time
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError

from schemas.task import TaskCreate, TaskDeleteParams, TaskListParams, TaskReplace, TaskUpdate
from schemas.user import Credentials, UserCreate
from tests.support.service import Person
from tests.support.tokens import SigningKey

pytestmark = pytest.mark.slow

SIZE = 64 * 1024
MAX_SECONDS = 0.05
"""The first of these texts keeps Python's NFC busy for two seconds."""

TEXTS: dict[str, Callable[[int], str]] = {
    "combining marks": lambda size: "a" + "\u0301" * (size // 4) + "\u0323" * (size // 4),
    "Hangul": lambda size: "\u1100\u1161\u11a8" * (size // 9),
    "ligatures that grow": lambda size: "\ufdfa" * (size // 3),
    "blanks": lambda size: " " * size,
    "blanks with a letter": lambda size: " " * (size // 2) + "a" + " " * (size // 2),
    "letters": lambda size: "a" * size,
    "letters that grow in lower case": lambda size: "\u0130" * (size // 2),
    "at signs": lambda size: "@" * size,
    "dots": lambda size: "a." * (size // 2),
    "an address with a long name": lambda size: f"{'a' * size}@example.com",
    "an address with a long domain": lambda size: f"a@{'b.' * (size // 2)}com",
    "an address with a domain of marks": lambda size: (
        f"a@b{'\u0301' * (size // 4)}{'\u0323' * (size // 4)}.com"
    ),
    "quotes": lambda size: '"' * size,
    "backslashes": lambda size: "\\" * size,
    "digits": lambda size: "9" * size,
}
MODELS: list[type[BaseModel]] = [
    *(TaskCreate, TaskReplace, TaskUpdate, TaskListParams, TaskDeleteParams),
    *(Credentials, UserCreate),
]
FIELDS = [(model, name) for model in MODELS for name in model.model_fields]
GOOD = {
    "title": "a task",
    "status": "all",
    "email": "a@example.com",
    "password": "a password of some length",
}


def seconds(work: Callable[[], object]) -> float:
    """Return the least processor time of three runs; the service runs in this process too."""
    return min(timeit.repeat(work, timer=time.process_time, number=1, repeat=3))


@pytest.mark.parametrize(
    ("model", "name"), FIELDS, ids=[f"{model.__name__}.{name}" for model, name in FIELDS]
)
def test_a_field_takes_no_more_than_linear_time(model: type[BaseModel], name: str) -> None:
    def validate(text: str) -> None:
        try:
            model.model_validate({**GOOD, name: text})
        except ValidationError as error:
            error.errors(include_input=False)

    for kind, make in TEXTS.items():
        text = make(SIZE)
        assert len(text.encode()) > SIZE * 0.9
        assert seconds(partial(validate, text)) < MAX_SECONDS, kind


@pytest.mark.parametrize("claim", ["sub", "email", "iss", "aud", "exp", "x"])
def test_a_claim_takes_no_more_than_linear_time(
    client: httpx.Client, key: SigningKey, claim: str
) -> None:
    """A token has 16 KiB at most."""
    for kind, make in TEXTS.items():
        claims: dict[str, Any] = {claim: make(4_000 if make(9).isascii() else 2_000)}
        headers = {"Authorization": f"Bearer {key.token(**claims)}"}
        assert len(headers["Authorization"]) < 16 * 1024
        taken = seconds(partial(client.get, "/api/auth/me", headers=headers))
        assert taken < 2 * MAX_SECONDS, kind


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match", "Idempotency-Key", "X-Request-ID"])
def test_a_header_takes_no_more_than_linear_time(alice: Person, header: str) -> None:
    for text in ('"' * 32_000, "W/" * 16_000, 'W/"a",' * 5_000, "a" * 32_000, "," * 32_000):
        taken = seconds(partial(alice.tasks, "GET", headers={header: text}))
        assert taken < 2 * MAX_SECONDS, text[:9]
