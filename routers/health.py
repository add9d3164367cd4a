"""Health checks, for the orchestrator."""

from typing import Literal

from pydantic import BaseModel, Field

from core.migrations import OUTDATED, find_fault
from core.openapi import problems
from core.problems import UnavailableError
from dependencies.state import DatabaseHealthDep, KeySetDep, SessionDep
from routers.base import make_router
from utils.jwks import KeysUnavailableError

router = make_router(prefix="/health", tags=["health"])


class Health(BaseModel):
    """The response of a check that found nothing wrong."""

    status: Literal["ok"] = Field(default="ok", description="Always `ok`", examples=["ok"])


@router.get("")
async def read_health() -> Health:
    """Check that the process runs."""
    return Health()


@router.get("/ready", responses=problems(UnavailableError(OUTDATED)))
async def read_readiness(
    database: DatabaseHealthDep, session: SessionDep, keys: KeySetDep
) -> Health:
    """Check that requests can be served.

    The database answers and can be written, its schema is the newest, and there are keys to check
    tokens with. What was healthy is checked again once it has failed, not at each probe: Neon would
    never suspend.
    """
    if not database.is_good:
        if fault := await find_fault(session):
            raise UnavailableError(fault)
        database.is_good = True
    if not keys.is_healthy:
        try:
            await keys.current()
        except KeysUnavailableError as error:
            raise UnavailableError(str(error)) from None
    return Health()
