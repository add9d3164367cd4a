"""The session of a request."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from core.database import Session


async def get_session(request: Request) -> AsyncIterator[Session]:
    """Yield a session, which returns its connection to the pool before the response is sent."""
    async with Session(request.app.state.engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session, scope="function")]
