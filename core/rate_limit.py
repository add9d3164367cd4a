"""How often a client address may try to sign up or log in, and how often log-ins may fail."""

import asyncio
import hashlib
import logging
import time
from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil
from typing import Final, Protocol, override

import limits
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.util import WindowStats
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.problems import TooManyRequestsError

IN_MEMORY: Final = "memory://"
FAILED_LOGINS: Final = limits.parse("10 per 10 minutes")
"""How many log-ins may fail for an account from one client address …"""
ACCOUNT_FAILED_LOGINS: Final = limits.parse("100 per 10 minutes")
"""… and from all of them: a stranger's ten guesses do not lock the owner out."""
KEPT_IN_MEMORY: Final = 50_000
"""How many addresses, and how many accounts, are counted in memory: those that tried last."""
REDIS_SECONDS: Final = 0.5
"""How long a request waits for Redis, before it is counted in memory."""
RETRY_SECONDS: Final = 2
"""How long Redis is left alone once it could not be reached."""

logger = logging.getLogger(__name__)


class Limiter(Protocol):
    """Counts attempts by kind and name, in a window that moves with time."""

    async def hit(self, limit: limits.RateLimitItem, kind: str, name: str, /) -> bool:
        """Count an attempt; False, and nothing counted, when there were enough of them."""

    async def test(self, limit: limits.RateLimitItem, kind: str, name: str, /) -> bool:
        """Tell whether there may be another attempt."""

    async def get_window_stats(
        self, limit: limits.RateLimitItem, kind: str, name: str, /
    ) -> WindowStats:
        """Tell how many attempts are left, and when the oldest that counts ceases to."""


class MemoryLimiter(Limiter):
    """Counts attempts in this process, at a cost that does not grow with the number of clients.

    limits' own memory looks through all that it holds after each attempt. Here an attempt drops
    the two that are over for longest, or else the oldest where there are `max_kept` of its
    kind. Each kind has room of its own: many addresses do not make an account forgotten.
    """

    def __init__(self, max_kept: int = KEPT_IN_MEMORY) -> None:
        self._max_kept = max_kept
        # The times of the attempts by kind and name, most recent last. (A plain dict
        # takes ever longer to find its first key when those before it were deleted.)
        self._kinds: defaultdict[str, OrderedDict[str, list[float]]] = defaultdict(OrderedDict)

    @override
    async def hit(self, limit: limits.RateLimitItem, kind: str, name: str, /) -> bool:
        attempts = self._window(limit, kind, name)
        if len(attempts) >= limit.amount:
            return False
        now = time.monotonic()
        attempts.append(now)
        kept = self._kinds[kind]
        kept[name] = attempts
        kept.move_to_end(name)
        # Evict two entries per insert, so that expired ones drain.
        for _ in range(2):
            oldest = next(iter(kept.values()))
            if len(kept) > self._max_kept or not oldest or oldest[-1] < now - limit.get_expiry():
                kept.popitem(last=False)
        return True

    @override
    async def test(self, limit: limits.RateLimitItem, kind: str, name: str, /) -> bool:
        return len(self._window(limit, kind, name)) < limit.amount

    @override
    async def get_window_stats(
        self, limit: limits.RateLimitItem, kind: str, name: str, /
    ) -> WindowStats:
        attempts = self._window(limit, kind, name)
        age = time.monotonic() - attempts[0] if attempts else limit.get_expiry()
        return WindowStats(time.time() + limit.get_expiry() - age, limit.amount - len(attempts))

    def _window(self, limit: limits.RateLimitItem, kind: str, name: str) -> list[float]:
        """Return the times of the attempts that count, oldest first, without expired ones."""
        attempts = self._kinds[kind].get(name, [])
        del attempts[: bisect_left(attempts, time.monotonic() - limit.get_expiry())]
        return attempts


class FallbackLimiter:
    """Counts attempts in this process, or in Redis for as long as it can be reached.

    While it cannot, attempts are counted in memory, and every `RETRY_SECONDS` one of them tries
    Redis again. The log has a line when that begins and one when it ends.
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

    async def run[T](self, operation: Callable[[Limiter], Awaitable[T]]) -> T:
        """Run an operation on Redis, or in memory where Redis does not answer in time."""
        now = time.monotonic()
        if self._pool and (self._retry_at is None or now >= self._retry_at):
            if self._retry_at is not None:
                # One request finds out; the others do not wait for it.
                self._retry_at = now + RETRY_SECONDS
            try:
                async with asyncio.timeout(REDIS_SECONDS):
                    result = await operation(self._redis)
            except (RedisError, OSError) as error:
                if self._retry_at is None:
                    # The message could quote the address, with the password in it.
                    logger.warning(
                        "Redis cannot be used (%s): attempts are counted in this process alone"
                        " until it can",
                        type(error).__name__,
                    )
                self._retry_at = time.monotonic() + RETRY_SECONDS
            else:
                if self._retry_at is not None:
                    logger.info("Redis can be used again: attempts are counted there")
                    self._retry_at = None
                return result
        return await operation(self._memory)

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        if self._pool:
            await self._pool.aclose()


class RateLimiter:
    """Limits attempts by client address, and failed log-ins by account and by both.

    Accounts are named by a digest of their e-mail address, so that Redis holds no addresses.
    """

    def __init__(self, storage_url: str) -> None:
        self._limiter = FallbackLimiter(storage_url)

    async def hit(self, limit: str, address: str) -> None:
        """Count one attempt, by a limit such as `60/minute`.

        Raises TooManyRequestsError when there were enough of them.
        """
        await self._hit(limits.parse(limit), "address", _network(address))

    async def check_login(self, email: str, address: str) -> None:
        """Raise TooManyRequestsError when enough log-ins to this account failed."""
        for limit, kind, name in _login_limits(email, address):

            async def full_until(limiter: Limiter) -> float | None:
                if await limiter.test(limit, kind, name):  # noqa: B023 - it runs in this turn
                    return None
                return (await limiter.get_window_stats(limit, kind, name)).reset_time  # noqa: B023

            _refuse(await self._limiter.run(full_until))

    async def hit_failed_login(self, email: str, address: str) -> None:
        """Count one failed log-in; raises TooManyRequestsError when there were enough before it."""
        for limit, kind, name in _login_limits(email, address):
            await self._hit(limit, kind, name)

    async def _hit(self, limit: limits.RateLimitItem, kind: str, name: str) -> None:
        async def full_until(limiter: Limiter) -> float | None:
            if await limiter.hit(limit, kind, name):
                return None
            return (await limiter.get_window_stats(limit, kind, name)).reset_time

        _refuse(await self._limiter.run(full_until))

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        await self._limiter.aclose()


def _login_limits(email: str, address: str) -> list[tuple[limits.RateLimitItem, str, str]]:
    account = hashlib.sha256(email.encode()).hexdigest()
    return [
        (FAILED_LOGINS, "account-address", f"{account} {_network(address)}"),
        (ACCOUNT_FAILED_LOGINS, "account", account),
    ]


def _refuse(full_until: float | None) -> None:
    if full_until is not None:
        raise TooManyRequestsError(
            "Too many attempts: try again later.",
            retry_after=max(1, ceil(full_until - time.time())),
        )


def _network(address: str) -> str:
    """Return the address, or its /64 for IPv6: one client has all addresses in it.

    `::ffff:192.0.2.1` is IPv4, as a socket for both kinds of addresses spells it.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Network((int(parsed), 64), strict=False))
    return address
