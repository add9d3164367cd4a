"""Limits on the attempts of a client address."""

from typing import Annotated

from fastapi import Depends, Request

from core.rate_limit import RateLimiter
from dependencies.settings import SettingsDep


async def get_rate_limiter(request: Request) -> RateLimiter:
    """Return the application's rate limiter."""
    limiter: RateLimiter = request.app.state.rate_limiter
    return limiter


async def get_client_address(request: Request) -> str:
    """Return the address that the request came from, as the proxy names it."""
    return request.client.host if request.client else ""


RateLimiterDep = Annotated[RateLimiter, Depends(get_rate_limiter)]
ClientAddressDep = Annotated[str, Depends(get_client_address)]


async def limit_attempts(
    address: ClientAddressDep, limiter: RateLimiterDep, settings: SettingsDep
) -> None:
    """Raise TooManyRequestsError when the client address has made too many attempts."""
    await limiter.hit(settings.auth_rate_limit, address)


RateLimited = Depends(limit_attempts)
