"""Accounts: sign up, check a password, read, export and delete one's own."""

from collections.abc import AsyncIterator
from functools import partial

from fastapi import status
from fastapi.responses import StreamingResponse

from core.problems import ConflictError, UnauthorizedError, UnavailableError, get_or_404, problems
from dependencies.auth import CurrentUserDep, HasherDep, ResolverDep
from dependencies.database import SessionDep
from dependencies.rate_limit import ClientAddressDep, RateLimited, RateLimiterDep
from models import task, user
from routers.base import Router, documented
from schemas.user import AccountExport, Credentials, UserCreate, UserExport, UserPublic
from utils.security import HashingBusyError

router = Router(prefix="/api/auth", tags=["auth"])

_NO_ACCOUNT = "This account is gone."
_BUSY = "Too many passwords are waiting to be checked: try again shortly."
_WRONG = "The e-mail address or the password is wrong."
_NOT_VERIFIED = (
    "There is an account with this e-mail address: verify your e-mail address first to use it."
)
_MINE = problems(401, 403, 404, 503, _403=_NOT_VERIFIED, _404=_NO_ACCOUNT)
_NO_ADDRESS = {"field": "email", "message": "This is not a valid e-mail address"}


@router.post(
    "/signup",
    status_code=status.HTTP_201_CREATED,
    response_model=UserPublic,
    responses=problems(400, 409, 413, 429, 503, **_NO_ADDRESS, _503=_BUSY),
    dependencies=[RateLimited],
)
async def signup(new: UserCreate, session: SessionDep, hasher: HasherDep) -> user.User:
    """Create an account; only a bcrypt hash of the password is stored."""
    try:
        password_hash = await hasher.hash(new.password)
    except HashingBusyError:
        raise UnavailableError(_BUSY) from None
    account = await user.create_user(session, new.email, password_hash)
    if account is None:
        raise ConflictError("There is an account with this e-mail address already.")
    return account


@router.post(
    "/login",
    response_model=UserPublic,
    responses=problems(400, 401, 413, 429, 503, **_NO_ADDRESS, _401=_WRONG, _503=_BUSY),
    dependencies=[RateLimited],
)
async def login(
    credentials: Credentials,
    session: SessionDep,
    hasher: HasherDep,
    limiter: RateLimiterDep,
    address: ClientAddressDep,
) -> user.User:
    """Check a password against the stored hash; issues nothing (Better Auth does)."""
    await limiter.check_login(credentials.email, address)
    account = await user.get_user_by_email(session, credentials.email)
    password_hash = account.password_hash if account else None
    try:
        is_right = await hasher.verify(credentials.password, password_hash)
    except HashingBusyError:
        raise UnavailableError(_BUSY) from None
    if not is_right or account is None:
        await limiter.hit_failed_login(credentials.email, address)
        raise UnauthorizedError(_WRONG)
    # Many guesses at once may tell no more than the same ones one after another.
    await limiter.check_login(credentials.email, address)
    return account


@router.get("/me", response_model=UserPublic, responses=_MINE)
async def read_me(current: CurrentUserDep, session: SessionDep) -> user.User:
    """Return the account that the token belongs to."""
    return get_or_404(await user.get_user(session, current.id), _NO_ACCOUNT)


@router.delete("/me", status_code=status.HTTP_204_NO_CONTENT, responses=_MINE)
async def delete_me(current: CurrentUserDep, session: SessionDep, resolver: ResolverDep) -> None:
    """Delete the account that the token belongs to, with all of its tasks."""
    resolver.forget(get_or_404(await user.delete_user(session, current.id), _NO_ACCOUNT))


@router.get(
    "/me/export",
    response_model=UserExport,
    responses={**documented(200, "Content-Disposition"), **_MINE},
)
async def export_me(current: CurrentUserDep, session: SessionDep) -> StreamingResponse:
    """Return all that is stored about the caller, except the password's hash."""
    account = get_or_404(await user.get_user(session, current.id), _NO_ACCOUNT)
    page_of = partial(task.list_tasks, session, current.id, {}, has_all_columns=True)
    first = await page_of()

    async def document() -> AsyncIterator[str]:
        yield f'{{"account":{AccountExport.model_validate(account).model_dump_json()},"tasks":'
        async for piece in task.stream_tasks(first, lambda after: page_of(after=after)):
            yield piece
        yield "}"

    return StreamingResponse(
        document(),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="todo-export.json"'},
    )
