"""What the lifespan has created, as dependencies.

FastAPI takes about 40 µs for each dependency of a request, so what the session alone needs, the
engine and the limit of connections, has no getter of its own: override `get_session`.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from core.database import AccountLimiter, DatabaseHealth, Session
from core.rate_limit import RateLimiter
from core.settings import Settings
from models.accounts import AccountResolver
from models.task import TaskQuota
from utils.cursors import CursorCodec
from utils.jwks import KeySet
from utils.security import PasswordHasher
from utils.tokens import TokenVerifier


async def get_settings(request: Request) -> Settings:
    """Return the application's settings."""
    settings: Settings = request.app.state.settings
    return settings


async def get_session(request: Request) -> AsyncIterator[Session]:
    """Yield a session, which returns its connection to the pool before the response is sent."""
    state = request.app.state
    async with Session(state.engine, state.connections) as session:
        yield session


async def get_streams(request: Request) -> AccountLimiter:
    """Return what limits the streamed responses that each account reads."""
    streams: AccountLimiter = request.app.state.streams
    return streams


async def get_quota(request: Request) -> TaskQuota:
    """Return what limits the tasks of each account."""
    quota: TaskQuota = request.app.state.quota
    return quota


async def get_database_health(request: Request) -> DatabaseHealth:
    """Return what is known of the database."""
    health: DatabaseHealth = request.app.state.database_health
    return health


async def get_key_set(request: Request) -> KeySet:
    """Return the key set that tokens are checked with."""
    keys: KeySet = request.app.state.keys
    return keys


async def get_verifier(request: Request) -> TokenVerifier:
    """Return the verifier of tokens."""
    verifier: TokenVerifier = request.app.state.verifier
    return verifier


async def get_resolver(request: Request) -> AccountResolver:
    """Return what finds the account of a token."""
    resolver: AccountResolver = request.app.state.resolver
    return resolver


async def get_hasher(request: Request) -> PasswordHasher:
    """Return the password hasher."""
    hasher: PasswordHasher = request.app.state.hasher
    return hasher


async def get_rate_limiter(request: Request) -> RateLimiter:
    """Return the limiter of attempts to sign up and log in."""
    limiter: RateLimiter = request.app.state.rate_limiter
    return limiter


async def get_cursors(request: Request) -> CursorCodec:
    """Return the codec of the lists' cursors."""
    cursors: CursorCodec = request.app.state.cursors
    return cursors


SettingsDep = Annotated[Settings, Depends(get_settings)]
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
StreamsDep = Annotated[AccountLimiter, Depends(get_streams)]
QuotaDep = Annotated[TaskQuota, Depends(get_quota)]
DatabaseHealthDep = Annotated[DatabaseHealth, Depends(get_database_health)]
KeySetDep = Annotated[KeySet, Depends(get_key_set)]
VerifierDep = Annotated[TokenVerifier, Depends(get_verifier)]
ResolverDep = Annotated[AccountResolver, Depends(get_resolver)]
HasherDep = Annotated[PasswordHasher, Depends(get_hasher)]
RateLimiterDep = Annotated[RateLimiter, Depends(get_rate_limiter)]
CursorsDep = Annotated[CursorCodec, Depends(get_cursors)]
