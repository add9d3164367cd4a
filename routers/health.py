"""Health checks, for the orchestrator."""

from typing import Literal

from fastapi import Request
from pydantic import BaseModel

from core.migrations import is_newest
from core.problems import UnavailableError, problems
from dependencies.auth import KeySetDep
from dependencies.database import SessionDep
from routers.base import Router
from utils.jwks import KeysUnavailableError

router = Router(prefix="/health", tags=["health"])


class Health(BaseModel):
    """The response of a check that found nothing wrong."""

    status: Literal["ok"] = "ok"


@router.get("")
async def read_health() -> Health:
    """Tell that the process runs."""
    return Health()


@router.get(
    "/ready",
    responses=problems(503, _503="The database's schema is not the newest: run the migrations."),
)
async def read_readiness(request: Request, session: SessionDep, keys: KeySetDep) -> Health:
    """Tell that requests can be served.

    The database answers, its schema is the newest, and there are keys to check tokens with. What
    was healthy is checked again once it has failed, not at each probe: Neon would never suspend.
    """
    state = request.app.state
    if not state.is_database_healthy:
        state.is_database_healthy = await is_newest(session)
    if not state.is_database_healthy:
        raise UnavailableError("The database's schema is not the newest: run the migrations.")
    if not keys.is_healthy:
        try:
            await keys.current()
        except KeysUnavailableError as error:
            raise UnavailableError(str(error)) from None
    return Health()
