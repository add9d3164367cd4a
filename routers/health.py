"""Health checks, for whatever keeps the service running."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from dependencies.auth import KeySetDep
from dependencies.database import SessionDep
from dependencies.migrations import is_newest
from utils.problems import UnavailableError, problems

router = APIRouter(prefix="/health", tags=["health"])


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

    The database answers, its schema is the newest, and there are keys to check tokens with.
    """
    if not await session.run_sync(is_newest):
        raise UnavailableError("The database's schema is not the newest: run the migrations.")
    await keys.current()
    return Health()
