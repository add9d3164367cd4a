"""The session of a request."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends

from core.database import Session
from dependencies.state import ConnectionsDep, EngineDep


async def get_session(engine: EngineDep, connections: ConnectionsDep) -> AsyncIterator[Session]:
    """Yield a session, which returns its connection to the pool before the response is sent."""
    async with Session(engine, connections) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session, scope="function")]
