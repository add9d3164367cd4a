"""Limits on attempts to sign up or log in from a network, and on failed log-ins to an account."""

import asyncio
import hashlib
import logging
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Final, Protocol, override

import limits
from cachetools import TTLCache
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.util import WindowStats
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core.networks import network_of
from core.problems import TooManyRequestsError

IN_MEMORY: Final = "memory://"
FAILED_LOGINS: Final = limits.parse("10 per 10 minutes")
"""How many log-ins to an account may fail from one client …"""
ACCOUNT_FAILED_LOGINS: Final = limits.parse("100 per 10 minutes")
"""… and from all of them: a stranger's ten guesses do not lock the owner out."""
WIDE_FACTOR: Final = 10
"""How many times the limit of a /64 a /48 has: a provider gives one customer up to 65,536 /64s."""
KEPT_IN_MEMORY: Final = 50_000
"""How many clients, and how many accounts, are counted in memory: the most recent."""
REDIS_SECONDS: Final = 0.5
"""How long a request waits for Redis before it is counted in memory."""
RETRY_SECONDS: Final = 2
"""How long Redis is not asked after it failed."""

logger = logging.getLogger(__name__)


class Limiter(Protocol):
    """Counts attempts by kind and name in a moving window, as `limits` does."""

    async def hit(self, limit: limits.RateLimitItem, kind: str, name: str, /) -> bool:
        """Count an attempt. Return False, and count nothing, when the limit is reached."""

    async def test(self, limit: limits.RateLimitItem, kind: str, name: str, /) -> bool:
        """Return whether there may be another attempt."""

    async def get_window_stats(
        self, limit: limits.RateLimitItem, kind: str, name: str, /
    ) -> WindowStats:
        """Return when the window next frees an attempt, and how many are left."""


class MemoryLimiter(Limiter):
    """Counts attempts in this process, at a cost that does not grow with the number of clients.

    limits' own memory storage looks through all that it holds after each attempt. Each kind has
    `max_kept` names of its own, so that many addresses do not evict an account.
    """

    def __init__(self, max_kept: int = KEPT_IN_MEMORY) -> None:
        self._max_kept = max_kept
        # The times of the attempts by kind and name. All limits of a kind have the same period.
        self._kinds: dict[str, TTLCache[str, list[float]]] = {}

    @override
    async def hit(self, limit: limits.RateLimitItem, kind: str, name: str, /) -> bool:
        attempts = self._attempts(limit, kind, name)
        if len(attempts) >= limit.amount:
            return False
        attempts.append(time.monotonic())
        self._kinds[kind][name] = attempts
        return True

    @override
    async def test(self, limit: limits.RateLimitItem, kind: str, name: str, /) -> bool:
        return len(self._attempts(limit, kind, name)) < limit.amount

    @override
    async def get_window_stats(
        self, limit: limits.RateLimitItem, kind: str, name: str, /
    ) -> WindowStats:
        attempts = self._attempts(limit, kind, name)
        age = time.monotonic() - attempts[0] if attempts else limit.get_expiry()
        return WindowStats(time.time() + limit.get_expiry() - age, limit.amount - len(attempts))

    def _attempts(self, limit: limits.RateLimitItem, kind: str, name: str) -> list[float]:
        """Return the times of the attempts that count, oldest first."""
        if kind not in self._kinds:
            self._kinds[kind] = TTLCache(self._max_kept, limit.get_expiry())
        attempts = self._kinds[kind].get(name, [])
        del attempts[: bisect_left(attempts, time.monotonic() - limit.get_expiry())]
        return attempts


class RateLimiter:
    """Limits attempts by network, and failed log-ins by account.

    Attempts are counted in Redis or, without it, in this process. While Redis fails they are
    counted in this process too, and every `RETRY_SECONDS` one of them tries Redis again; the log
    has a line when that begins and one when it ends. Accounts are named by a digest of their
    e-mail address, so that Redis holds no addresses.
    """

    def __init__(self, storage_url: str) -> None:
        self._memory = MemoryLimiter()
        self._retry_at: float | None = None
        self._pool: BlockingConnectionPool | None = None
        if storage_url != IN_MEMORY:
            self._pool = BlockingConnectionPool.from_url(
                storage_url, max_connections=20, retry=Retry(NoBackoff(), 0)
            )
            storage = RedisStorage(
                "redis://",  # the pool has the address
                implementation="redispy",
                key_prefix="todo-backend",
                connection_pool=self._pool,  # type: ignore[arg-type] # limits documents that it may
            )
            self._redis = MovingWindowRateLimiter(storage)

    async def hit(self, limit: str, address: str) -> None:
        """Count one attempt, by a limit such as `60/minute`.

        Raises TooManyRequestsError when the limit of the client's network is reached: its address
        or /64, or its /48 at `WIDE_FACTOR` times the limit.
        """
        narrow = limits.parse(limit)
        await self._limit(narrow, "address", network_of(address, 32, 64), is_attempt=True)
        if ":" in (network := network_of(address, 32, 48)):
            wide = type(narrow)(WIDE_FACTOR * narrow.amount, narrow.multiples)
            await self._limit(wide, "network", network, is_attempt=True)

    async def check_login(self, email: str, address: str) -> None:
        """Raise TooManyRequestsError when enough log-ins to this account failed."""
        await self._limit_login(email, address, is_attempt=False)

    async def hit_failed_login(self, email: str, address: str) -> None:
        """Count one failed log-in. Raises TooManyRequestsError when enough failed before."""
        await self._limit_login(email, address, is_attempt=True)

    async def _limit_login(self, email: str, address: str, *, is_attempt: bool) -> None:
        account = hashlib.sha256(email.encode()).hexdigest()
        # A /48 at ten times the limit would be the limit of the account.
        client = f"{account} {network_of(address, 32, 64)}"
        await self._limit(FAILED_LOGINS, "account-address", client, is_attempt=is_attempt)
        await self._limit(ACCOUNT_FAILED_LOGINS, "account", account, is_attempt=is_attempt)

    async def _limit(
        self, limit: limits.RateLimitItem, kind: str, name: str, *, is_attempt: bool
    ) -> None:
        """Raise TooManyRequestsError when the limit is reached; count an attempt if it is one."""

        async def wait_seconds(limiter: Limiter) -> int:
            has_room = limiter.hit if is_attempt else limiter.test
            if await has_room(limit, kind, name):
                return 0
            stats = await limiter.get_window_stats(limit, kind, name)
            return min(max(1, ceil(stats.reset_time - time.time())), limit.get_expiry())

        seconds = await self._ask_redis(wait_seconds)
        if seconds is None:
            seconds = await wait_seconds(self._memory)
        if seconds:
            raise TooManyRequestsError(retry_after=seconds)

    async def _ask_redis[T](self, operation: Callable[[Limiter], Awaitable[T]]) -> T | None:
        """Run an operation on Redis. Return None where there is none, or while it fails."""
        now = time.monotonic()
        if self._pool is None or (self._retry_at is not None and now < self._retry_at):
            return None
        if self._retry_at is not None:
            # One request finds out; the others do not wait for it.
            self._retry_at = now + RETRY_SECONDS
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                result = await operation(self._redis)
        except Exception as error:  # noqa: BLE001 - a broken server makes redis-py raise anything
            if self._retry_at is None:
                # The message could quote the address, with the password in it.
                logger.warning(
                    "Redis cannot be used (%s): attempts are counted in this process alone"
                    " until it can",
                    type(error).__name__,
                )
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return None
        if self._retry_at is not None:
            logger.info("Redis can be used again: attempts are counted there")
            self._retry_at = None
        return result

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        if self._pool:
            await self._pool.aclose()
