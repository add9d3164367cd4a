"""Accounts: sign up, check a password, read, export and delete one's own."""

from collections.abc import AsyncIterator
from functools import partial

from fastapi import status

from core.openapi import documented, problems
from core.problems import (
    AccountGoneError,
    BadRequestError,
    ConflictError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnverifiedEmailError,
    get_or_404,
)
from dependencies.auth import CurrentUserDep
from dependencies.rate_limit import ClientDep, RateLimited
from dependencies.state import HasherDep, RateLimiterDep, ResolverDep, SessionDep, StreamsDep
from models import task, user
from routers.base import AccountStream, make_router, stream_pages
from schemas.user import AccountExport, Credentials, UserCreate, UserExport, UserPublic
from utils.security import HashingBusyError

router = make_router("/api/auth", ["auth"])


class EmailTakenError(ConflictError):
    """409: the address has an account."""

    usual_detail = "There is an account with this e-mail address already."


class HashersBusyError(UnavailableError):
    """503: too many passwords wait for their hash."""

    usual_detail = "Too many passwords are waiting to be checked: try again shortly."


class WrongCredentialsError(UnauthorizedError):
    """401: no such account, or another password: the caller cannot tell which."""

    usual_detail = "The e-mail address or the password is wrong."


_MINE = problems(UnauthorizedError, UnverifiedEmailError, AccountGoneError, UnavailableError)
_ATTEMPT = problems(
    BadRequestError("email", "This is not a valid e-mail address"),
    TooLargeError,
    TooManyRequestsError,
    HashersBusyError,
)


@router.post(
    "/signup",
    status_code=status.HTTP_201_CREATED,
    response_model=UserPublic,
    responses={**_ATTEMPT, **problems(EmailTakenError)},
    dependencies=[RateLimited],
)
async def signup(
    new: UserCreate, session: SessionDep, hasher: HasherDep, client: ClientDep
) -> user.User:
    """Create an account; only a bcrypt hash of the password is stored."""
    try:
        password_hash = await hasher.hash(new.password, client.network)
    except HashingBusyError:
        raise HashersBusyError from None
    account = await user.create_user(session, new.email, password_hash)
    if account is None:
        raise EmailTakenError
    return account


@router.post(
    "/login",
    response_model=UserPublic,
    responses={**_ATTEMPT, **problems(WrongCredentialsError)},
    dependencies=[RateLimited],
)
async def login(
    credentials: Credentials,
    session: SessionDep,
    hasher: HasherDep,
    limiter: RateLimiterDep,
    client: ClientDep,
) -> user.User:
    """Check a password against the stored hash; issues nothing (Better Auth does)."""
    await limiter.check_login(credentials.email, client.address)
    account = await user.get_user_by_email(session, credentials.email)
    password_hash = account.password_hash if account else None
    try:
        is_right = await hasher.verify(credentials.password, password_hash, client.network)
    except HashingBusyError:
        raise HashersBusyError from None
    if not is_right or account is None:
        await limiter.hit_failed_login(credentials.email, client.address)
        raise WrongCredentialsError
    # Many guesses at once may tell no more than the same ones one after another.
    await limiter.check_login(credentials.email, client.address)
    return account


@router.get("/me", response_model=UserPublic, responses=_MINE)
async def read_me(current: CurrentUserDep, session: SessionDep) -> user.User:
    """Return the account that the token belongs to."""
    return get_or_404(await user.get_user(session, current.id), AccountGoneError)


@router.delete("/me", status_code=status.HTTP_204_NO_CONTENT, responses=_MINE)
async def delete_me(current: CurrentUserDep, session: SessionDep, resolver: ResolverDep) -> None:
    """Delete the account that the token belongs to, with all of its tasks."""
    account = await user.delete_user(session, current.id)
    resolver.forget(get_or_404(account, AccountGoneError))


@router.get(
    "/me/export",
    response_model=UserExport,
    responses={**documented(200, "Content-Disposition"), **_MINE},
)
async def export_me(
    current: CurrentUserDep, session: SessionDep, streams: StreamsDep
) -> AccountStream:
    """Return all that is stored about the caller, except the password's hash."""
    account = get_or_404(await user.get_user(session, current.id), AccountGoneError)
    page_of = partial(task.list_tasks, session, current.id, {}, has_all_columns=True)
    first = await page_of()

    async def document() -> AsyncIterator[bytes]:
        public = AccountExport.model_validate(account).model_dump_json()
        yield f'{{"account":{public},"tasks":'.encode()
        async for piece in stream_pages(first, lambda after: page_of(after=after)):
            yield piece
        yield b"}"

    return AccountStream(
        document(),
        await streams.acquire(str(current.id)),
        headers={"Content-Disposition": 'attachment; filename="todo-export.json"'},
    )
