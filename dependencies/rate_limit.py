"""The client of a request, and limits on its attempts."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Request

from core.networks import network_of
from dependencies.state import RateLimiterDep, SettingsDep


class Client(NamedTuple):
    """Where a request came from."""

    address: str
    """As the proxy names it."""
    network: str
    """The /24, or the /48 of IPv6: its passwords take turns with those of other networks."""


async def get_client(request: Request) -> Client:
    """Return the client of the request."""
    address = request.client.host if request.client else ""
    return Client(address, network_of(address, 24, 48))


ClientDep = Annotated[Client, Depends(get_client)]


async def limit_attempts(client: ClientDep, limiter: RateLimiterDep, settings: SettingsDep) -> None:
    """Raise TooManyRequestsError when the client has made too many attempts."""
    await limiter.hit(settings.auth_rate_limit, client.address)


RateLimited = Depends(limit_attempts)
