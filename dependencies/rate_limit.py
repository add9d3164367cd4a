"""Limits on the attempts of a client address."""

from typing import Annotated

from fastapi import Depends, Request

from dependencies.state import RateLimiterDep, SettingsDep


async def get_client_address(request: Request) -> str:
    """Return the address that the request came from, as the proxy names it."""
    return request.client.host if request.client else ""


ClientAddressDep = Annotated[str, Depends(get_client_address)]


async def limit_attempts(
    address: ClientAddressDep, limiter: RateLimiterDep, settings: SettingsDep
) -> None:
    """Raise TooManyRequestsError when the client address has made too many attempts."""
    await limiter.hit(settings.auth_rate_limit, address)


RateLimited = Depends(limit_attempts)
