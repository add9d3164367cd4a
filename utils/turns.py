"""Turns: requests that arrive all at once are begun a few at a time."""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

AT_ONCE: Final = 16
"""How many requests begin before the event loop looks for more."""


class TurnMiddleware:
    """Let the event loop look for new requests between the beginnings of many others.

    asyncio would begin all that have arrived before it looks again, and what must be quick, though
    the process is busy, would wait for all of them: requests for the path `first` wait for no turn.
    """

    def __init__(self, app: ASGIApp, first: str) -> None:
        self.app = app
        self._first = first
        self._places = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, in its turn; the next pass of the event loop has its place free."""
        if scope["type"] == "http" and _path(scope) != self._first:
            await self._places.acquire()
            asyncio.get_running_loop().call_soon(self._places.release)
        await self.app(scope, receive, send)


def _path(scope: Scope) -> str:
    """Give the path as routes have it: behind a proxy that has a part of it, it is longer."""
    path: str = scope["path"]
    return path.removeprefix(scope["root_path"])
