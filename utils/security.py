"""Passwords: judged, hashed and checked here and nowhere else."""

import asyncio
import functools
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from passlib.context import CryptContext

MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_BYTES = 72
"""The longest password in bytes of UTF-8: bcrypt looks no further."""

HASH_SECONDS = 10

UNUSABLE_HASH = "!"
"""Stands where an account has no password; no password matches it."""

# The salt and digest of an unknown password: what a login is checked against when there
# is no hash.
_NOBODYS = "wX7NTi9kc9B2vpkpElFXuOIgnU2mlYSNzGj9p/E5Y9VHKikA0l512"


class HashingBusyError(Exception):
    """More passwords are waiting to be hashed than can be in time."""


class PasswordHasher:
    """bcrypt at 12 rounds, in threads of its own.

    A hash costs a quarter of a second of one core. bcrypt lets go of the GIL meanwhile, so a thread
    is enough to keep the event loop free; one core is left to everything else, where there are two.
    A request waits for its hash, those before it included, for `max_seconds`.
    """

    def __init__(self, rounds: int = 12, max_seconds: float = HASH_SECONDS) -> None:
        self._context = CryptContext(schemes=["bcrypt"], bcrypt__rounds=rounds)
        self._nobodys_hash = f"$2b${rounds:02}${_NOBODYS}"
        self._max_seconds = max_seconds
        self._limiter = CapacityLimiter(max(1, (os.cpu_count() or 1) - 1))

    async def hash(self, password: str) -> str:
        """Hash a password in which `password_fault` finds none. Raises HashingBusyError."""
        return await self._run(self._context.hash, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Tell whether the password belongs to the hash, with the same work whatever the result.

        No hash, a hash that no password matches and a password that bcrypt would not take whole
        cost one check too, so that the time of a response tells nothing of the account. Raises
        HashingBusyError.
        """
        hopeless = password_hash in (None, UNUSABLE_HASH) or not _fits_bcrypt(password)
        if hopeless:
            password, password_hash = "", self._nobodys_hash
        return await self._run(self._context.verify, password, password_hash) and not hopeless

    async def _run[T](self, work: Callable[..., T], *args: str | None) -> T:
        try:
            async with asyncio.timeout(self._max_seconds):
                return await to_thread.run_sync(work, *args, limiter=self._limiter)
        except TimeoutError:
            raise HashingBusyError from None


def normalise_password(password: str) -> str:
    """Return a password in Unicode's NFC, so that every keyboard types the same one.

    One that is too long in any case is returned as it is, because normalising takes quadratic time:
    no character of NFC has more than four in another form.
    """
    if len(password) > 4 * MAX_PASSWORD_BYTES:
        return password
    return unicodedata.normalize("NFC", password)


def password_fault(password: str) -> str | None:
    """Return in one phrase why a (normalised) password is refused; None when it will do."""
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
