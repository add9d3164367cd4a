"""Password rules, hashing and verification."""

import asyncio
import functools
import logging
import os
import re
import unicodedata
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from anyio import CapacityLimiter, to_thread
from passlib.context import CryptContext

MIN_PASSWORD_CHARACTERS: Final = 8
MAX_PASSWORD_BYTES: Final = 72
"""The longest password in bytes of UTF-8: bcrypt ignores what follows."""
QUEUE_SECONDS: Final = 10
"""How long a password waits for its turn to be hashed."""
UNUSABLE_HASH: Final = "!"
"""Stored where an account has no password; no password matches it."""

_BCRYPT_HASH: Final = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
# The salt and digest of an unknown password, which is checked where there is no hash.
_DUMMY_DIGEST: Final = "wX7NTi9kc9B2vpkpElFXuOIgnU2mlYSNzGj9p/E5Y9VHKikA0l512"

logger = logging.getLogger(__name__)


class HashingBusyError(Exception):
    """A password waited too long for its turn to be hashed."""


class PasswordHasher:
    """bcrypt in threads, with turns between the networks whose passwords wait.

    A hash of 12 rounds costs a quarter of a second of one core. bcrypt releases the GIL meanwhile,
    so a thread is enough to keep the event loop free; one core is left to everything else, where
    there are two. Networks with waiting passwords take turns, so that many passwords of one delay
    another's by one hash. A password that waits for more than `max_seconds` is HashingBusyError.
    """

    def __init__(self, rounds: int = 12, max_seconds: float = QUEUE_SECONDS) -> None:
        self._context = CryptContext(schemes=["bcrypt"], bcrypt__rounds=rounds)
        self._dummy_hash = f"$2b${rounds:02}${_DUMMY_DIGEST}"
        self._max_seconds = max_seconds
        self._free = max(1, (os.cpu_count() or 1) - 1)
        self._threads = CapacityLimiter(self._free)
        # Those that wait, by network; the network whose turn is next comes first.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def hash(self, password: str, network: str) -> str:
        """Hash a password in which `password_fault` finds none. Raises HashingBusyError."""
        return await self._run(network, self._context.hash, password)

    async def verify(self, password: str, password_hash: str | None, network: str) -> bool:
        """Return whether the password belongs to the hash, after the same work in every case.

        No hash, a hash that is not bcrypt's and a password that bcrypt would cut off cost one
        check too, so that the time of a response tells nothing of the account. Raises
        HashingBusyError.
        """
        is_usable = password_hash is not None and _BCRYPT_HASH.fullmatch(password_hash) is not None
        if not is_usable and password_hash not in {None, UNUSABLE_HASH}:
            logger.warning("the stored hash of an account is not bcrypt: its log-in fails")
        if not is_usable or not _fits_bcrypt(password):
            await self._run(network, self._context.verify, "", self._dummy_hash)
            return False
        return await self._run(network, self._context.verify, password, password_hash)

    async def _run[T](self, network: str, work: Callable[..., T], *args: str | None) -> T:
        async with self._turn(network):
            return await to_thread.run_sync(work, *args, limiter=self._threads)

    @asynccontextmanager
    async def _turn(self, network: str) -> AsyncIterator[None]:
        turn = asyncio.get_running_loop().create_future()
        if self._free:
            self._free -= 1
            turn.set_result(None)
        else:
            self._waiting.setdefault(network, deque()).append(turn)
        try:
            async with asyncio.timeout(self._max_seconds):
                await turn
            yield
        except TimeoutError:
            raise HashingBusyError from None
        finally:
            # If it was granted in the moment when the wait timed out, pass it on too.
            if not turn.cancelled():
                self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            network, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[network] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def normalise_password(password: str) -> str:
    """Return a password in Unicode's NFC, so that every keyboard types the same one.

    A password longer than bcrypt's 72 bytes in every form is returned as it is, because
    normalising takes quadratic time: no character of NFC has more than four in another form.
    """
    if len(password) > 4 * MAX_PASSWORD_BYTES:
        return password
    return unicodedata.normalize("NFC", password)


def password_fault(password: str) -> str | None:
    """Return in one phrase why a normalised password is refused, or None when it is accepted."""
    if len(password) < MIN_PASSWORD_CHARACTERS:
        return f"A password has at least {MIN_PASSWORD_CHARACTERS} characters"
    if not _fits_bcrypt(password):
        return f"A password has at most {MAX_PASSWORD_BYTES} bytes of UTF-8, and no NUL character"
    if password.lower() in _commonest_passwords():
        return "This password is one of the commonest, and the first that attackers try"
    return None


def _fits_bcrypt(password: str) -> bool:
    return (
        len(password) <= MAX_PASSWORD_BYTES
        and "\0" not in password
        and len(password.encode()) <= MAX_PASSWORD_BYTES
    )


@functools.cache
def _commonest_passwords() -> frozenset[str]:
    return frozenset(Path(__file__).with_name("common_passwords.txt").read_text().split())
