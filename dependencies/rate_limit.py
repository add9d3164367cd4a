"""How often one address may try to sign up or log in."""

import time
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil

import limits
from fastapi import Depends, Request
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import storage_from_string

from utils.problems import TooManyRequestsError


class RateLimit:
    """A limit a client address, such as `60/minute`."""

    def __init__(self, limit: str, storage_url: str) -> None:
        self._limit = limits.parse(limit)
        self._limiter = MovingWindowRateLimiter(storage_from_string(f"async+{storage_url}"))

    async def spend(self, address: str) -> None:
        """Count one attempt; raises TooManyRequestsError when there were enough of them."""
        client = _network(address)
        if not await self._limiter.hit(self._limit, client):
            window = await self._limiter.get_window_stats(self._limit, client)
            raise TooManyRequestsError(
                "Too many attempts: try again later.",
                retry_after=max(1, ceil(window.reset_time - time.time())),
            )


def _network(address: str) -> str:
    """Give the address, or its /64 for IPv6, of which one client has them all.

    `::ffff:192.0.2.1` is IPv4, as a socket for both kinds of addresses spells it.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Network((int(parsed), 64), strict=False))
    return address


async def limit_attempts(request: Request) -> None:
    """Refuse the request when its client has made too many of its kind."""
    rate_limit: RateLimit = request.app.state.rate_limit
    await rate_limit.spend(request.client.host if request.client else "")


RateLimited = Depends(limit_attempts)
