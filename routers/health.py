"""Health checks, for whatever keeps the service running."""

from typing import Literal

from pydantic import BaseModel

from dependencies.auth import KeySetDep
from dependencies.database import SessionDep
from dependencies.migrations import is_newest
from routers.base import Router
from utils.problems import UnavailableError, problems

router = Router(prefix="/health", tags=["health"])


class Health(BaseModel):
    """The answer of a check that found nothing wrong."""

    status: Literal["ok"] = "ok"


@router.get("")
async def read_health() -> Health:
    """Say that the process runs."""
    return Health()


@router.get("/ready", responses=problems(503))
async def read_readiness(session: SessionDep, keys: KeySetDep) -> Health:
    """Say that requests can be served.

    The database answers, its schema is the newest, and there are keys to check tokens with. What
    was well is asked again once it has failed, and not at each probe: Neon would never sleep.
    """
    if not session.is_sound:
        session.is_sound = await is_newest(session)
    if not session.is_sound:
        raise UnavailableError("The database's schema is not the newest: run the migrations.")
    if not keys.is_sound:
        await keys.current()
    return Health()
