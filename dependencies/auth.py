"""The caller: from a bearer token to an account, and to the owner that a path names."""

from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from opentelemetry import metrics

from core.problems import ForbiddenError, UnauthorizedError, UnavailableError
from dependencies.state import ResolverDep, SessionDep, VerifierDep
from models.accounts import UNKNOWN_ID, CurrentUser
from utils.jwks import KeysUnavailableError
from utils.tokens import InvalidTokenError

_refused = metrics.get_meter(__name__).create_counter(
    "auth.tokens.refused", description="Requests answered with 401, by the reason given."
)

_bearer = HTTPBearer(
    bearerFormat="JWT",
    description="A token that Better Auth issued: `GET /api/auth/token` of the front end. In the"
    " sandbox, sign up here, call `POST /api/auth/token`, and paste the `token` of its response.",
    auto_error=False,
)


async def get_current_user(
    request: Request,
    verifier: VerifierDep,
    resolver: ResolverDep,
    session: SessionDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> CurrentUser:
    """Return the account that the request's bearer token belongs to (RFC 6750 §2.1).

    Raises UnauthorizedError, ForbiddenError (an account that may not be linked) and
    UnavailableError (no key to check the token with).
    """
    try:
        if credentials is None or len(request.headers.getlist("authorization")) > 1:
            raise InvalidTokenError("Send one token: Authorization: Bearer …")  # noqa: TRY301 - counted as the others
        claims = await verifier.verify(credentials.credentials)
        session.account = claims.subject
        current = resolver.recall(claims) or await resolver.resolve(session, claims)
    except (InvalidTokenError, UnauthorizedError) as error:
        reason = error.detail if isinstance(error, UnauthorizedError) else str(error)
        _refused.add(1, {"reason": reason})
        raise UnauthorizedError(reason) from None
    except KeysUnavailableError as error:
        raise UnavailableError(str(error)) from None
    request.state.user_id = current.id
    return current


CurrentUserDep = Annotated[CurrentUser, Depends(get_current_user)]


async def get_owner(
    user_id: Annotated[
        str,
        Path(
            description="The caller: `me`, the account's `id`, or the token's `sub`",
            examples=["me"],
        ),
    ],
    current: CurrentUserDep,
) -> int:
    """Return the caller's id where `user_id` in the path is theirs: `me`, `User.id` or `sub`.

    Raises ForbiddenError for any other, whether there is such a user or not.
    """
    is_own_id = current.id != UNKNOWN_ID and user_id == str(current.id)
    if not is_own_id and user_id not in ("me", current.subject):
        raise ForbiddenError
    return current.id


OwnerDep = Annotated[int, Depends(get_owner)]
