"""Tests of password hashing: how it shares the machine, and what it takes and refuses."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from passlib.context import CryptContext
from passlib.hash import bcrypt

from tests.support.keyserver import KeyServer
from tests.support.problems import assert_problem
from tests.support.service import Person, make_settings, running_service
from utils.security import (
    UNUSABLE_HASH,
    PasswordHasher,
    normalise_password,
    password_fault,
)


class HeldHashes:
    """Holds every hash back until it is let go, and counts how many run at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.started = threading.Event()
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        hashing = CryptContext.hash

        def hold(context: CryptContext, secret: str, **options: Any) -> str:
            with self._lock:
                self._running += 1
                self.most = max(self.most, self._running)
            self.started.set()
            self.go.wait(10)
            try:
                return str(hashing(context, secret, **options))
            finally:
                with self._lock:
                    self._running -= 1

        monkeypatch.setattr(CryptContext, "hash", hold)


def test_sign_ups_neither_block_other_requests_nor_take_more_threads_than_there_are_cores(
    client: httpx.Client, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldHashes(monkeypatch)
    many = (os.cpu_count() or 1) + 3

    def sign_up(_number: int) -> int:
        body = {"email": f"{uuid4().hex}@example.com", "password": "a long enough one"}
        return client.post("/api/auth/signup", json=body).status_code

    with ThreadPoolExecutor(many) as threads:
        answers = threads.map(sign_up, range(many))
        try:
            assert held.started.wait(10)
            # They would wait for ever, were the event loop or the way to the database taken.
            assert client.get("/health", timeout=5).status_code == 200
            for _ in range(20):
                assert alice.tasks("GET", timeout=5).status_code == 200
        finally:
            held.go.set()
        assert list(answers) == [201] * many
    assert 1 <= held.most <= (os.cpu_count() or 1)


def test_a_sign_up_that_waits_too_long_for_a_hash_is_503_and_makes_no_account(
    database_url: str, key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def adapt(app: FastAPI) -> AsyncIterator[None]:
        app.state.hasher = PasswordHasher(rounds=4, max_seconds=0.3)
        yield

    held = HeldHashes(monkeypatch)
    waiting = (os.cpu_count() or 1) + 3
    bodies = [
        {"email": f"{uuid4().hex}@example.com", "password": "a long enough one"}
        for _ in range(waiting)
    ]

    settings = make_settings(database_url, key_server.url)
    with (
        running_service(settings, adapt=adapt) as client,
        ThreadPoolExecutor(waiting) as threads,
    ):

        def sign_up(body: dict[str, str]) -> httpx.Response:
            return client.post("/api/auth/signup", json=body)

        responses = [threads.submit(sign_up, body) for body in bodies]
        try:
            done, running = wait(responses, 5)
            # Those that are being hashed are answered when that is over, no others.
            assert len(running) < (os.cpu_count() or 2)
        finally:
            held.go.set()
        assert len(done) + len(running) == waiting
        for response in responses:
            assert_problem(response.result(), 503)
            assert int(response.result().headers["retry-after"]) > 0
        assert [sign_up(body).status_code for body in bodies[:2]] == [201, 201]


def test_the_event_loop_goes_on_while_bcrypt_works() -> None:
    async def hash_and_count() -> int:
        hashing = asyncio.create_task(PasswordHasher().hash("a long enough one"))
        turns = 0
        while not hashing.done():
            await asyncio.sleep(0.005)
            turns += 1
        assert (await hashing).startswith("$2b$12$")
        return turns

    # Were the GIL held, there would be one or two.
    assert asyncio.run(hash_and_count()) > 5


def test_a_hash_is_checked_only_with_a_password_that_bcrypt_takes_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bytes] = []

    def note(_context: CryptContext, secret: str, password_hash: str) -> bool:
        seen.append(secret.encode())
        return bcrypt.identify(password_hash)

    monkeypatch.setattr(CryptContext, "verify", note)

    async def check() -> list[bool]:
        hasher = PasswordHasher()
        return [
            await hasher.verify("x" * 72, "$2b$12$" + "a" * 53),
            await hasher.verify("x" * 73, "$2b$12$" + "a" * 53),
            await hasher.verify("\U0001f511" * 19, "$2b$12$" + "a" * 53),
            await hasher.verify("a\0b", "$2b$12$" + "a" * 53),
            await hasher.verify("x" * 8, UNUSABLE_HASH),
            await hasher.verify("x" * 8, None),
        ]

    assert asyncio.run(check()) == [True, False, False, False, False, False]
    assert len(seen) == 6
    assert all(len(secret) <= 72 and b"\0" not in secret for secret in seen)


@pytest.mark.parametrize(
    "password",
    ["g7#kQ2x!", "x!9" * 24, "\U0001f511" * 18, "pässwöré", "        ", "correct horse battery"],
)
def test_a_password_of_8_characters_to_72_bytes_will_do(password: str) -> None:
    assert password_fault(normalise_password(password)) is None


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("", "at least 8 characters"),
        ("g7#kQ2x", "at least 8 characters"),
        ("x!9" * 24 + "y", "at most 72 bytes"),
        ("\U0001f511" * 18 + "y", "at most 72 bytes"),
        ("a good\0one", "no NUL"),
        ("Password1", "commonest"),
        ("QWERTYUIOP", "commonest"),
        ("iloveyou", "commonest"),
    ],
)
def test_any_other_password_is_refused_with_a_reason(password: str, fault: str) -> None:
    said = password_fault(password)
    assert said is not None
    assert fault in said
