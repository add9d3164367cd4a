"""Accounts: signing up, checking a password, and who am I."""

from fastapi import status

from dependencies.auth import CurrentUserDep, HasherDep
from dependencies.database import SessionDep
from dependencies.rate_limit import RateLimitDep, RateLimited
from models import user
from routers.base import Router
from schemas.user import Credentials, UserCreate, UserPublic
from utils.problems import ConflictError, UnauthorizedError, found, problems

router = Router(prefix="/api/auth", tags=["auth"])


@router.post(
    "/signup",
    status_code=status.HTTP_201_CREATED,
    response_model=UserPublic,
    responses=problems(400, 409, 413, 429, 503),
    dependencies=[RateLimited],
)
async def signup(new: UserCreate, session: SessionDep, hasher: HasherDep) -> user.User:
    """Make an account; only a bcrypt hash of the password is kept."""
    password_hash = await hasher.hash(new.password)
    account = await user.create(session, new.email, password_hash)
    if account is None:
        raise ConflictError("There is an account with this e-mail address already.")
    return account


@router.post(
    "/login",
    response_model=UserPublic,
    responses=problems(400, 401, 413, 429, 503),
    dependencies=[RateLimited],
)
async def login(
    who: Credentials, session: SessionDep, hasher: HasherDep, rate_limit: RateLimitDep
) -> user.User:
    """Check a password against the stored hash; issues nothing (Better Auth does)."""
    await rate_limit.check_account(who.email)
    account = await user.by_email(session, who.email)
    password_hash = account.password_hash if account else None
    if not await hasher.verify(who.password, password_hash) or account is None:
        await rate_limit.note_failure(who.email)
        raise UnauthorizedError("The e-mail address or the password is wrong.")
    # Of many guesses at once none may tell more than the same ones in turn.
    await rate_limit.check_account(who.email)
    return account


@router.get("/me", response_model=UserPublic, responses=problems(401, 403, 404, 503))
async def read_me(current: CurrentUserDep, session: SessionDep) -> user.User:
    """Give the account that the token belongs to."""
    return found(await user.read(session, current.id), "This account is gone.")
