"""Who is asking: from a bearer token to an account."""

import logging
import re
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, override

from email_validator import EmailNotValidError, validate_email
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from opentelemetry import metrics

from models import user
from models.session import Session
from utils.jwks import KeySet
from utils.problems import ForbiddenError, UnauthorizedError
from utils.security import UNUSABLE_HASH, PasswordHasher
from utils.tokens import Claims, InvalidTokenError, TokenVerifier

MAX_REMEMBERED: Final = 100_000
"""How many subjects are remembered at most."""

_DECIMAL: Final = re.compile(r"[1-9][0-9]*", re.ASCII)
_NO_SUBJECT: Final = re.compile(
    # What a getSubject that went wrong gives, the same for every user; and what no id looks like.
    r"undefined|null|NaN|\[object Object\]|"
    r"|\s.*|.*\s|.*[\x00-\x1f\x7f-\x9f\ud800-\udfff].*|.{256,}",
    re.DOTALL,
)

_MISNUMBERED: Final = (
    "a token's sub is %s, but %s. Does Better Auth number its users itself (serial ids)? Have"
    " jwt.getSubject return this service's id, or let Better Auth make its own kind of ids"
)

logger = logging.getLogger(__name__)
_refused = metrics.get_meter(__name__).create_counter(
    "auth.tokens.refused", description="Requests answered with 401, by the reason given."
)


@dataclass(frozen=True)
class CurrentUser:
    """The account that a token belongs to, and the token's `sub`."""

    id: int
    subject: str


class Identities:
    """Finds the account of a token, and remembers it: a known subject costs no query."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[tuple[str, str | None], CurrentUser] = OrderedDict()

    async def resolve(self, session: Session, claims: Claims) -> CurrentUser:
        """Give the account that the claims belong to, or the UnauthorizedError or ForbiddenError.

        It remembers by subject and e-mail address: a token with another address is looked at anew.
        """
        key = (claims.subject, claims.email)
        known = self._remembered.get(key)
        if known is not None:
            return known
        if _NO_SUBJECT.fullmatch(claims.subject):
            raise UnauthorizedError("The token's sub is no user's id: see jwt.getSubject.")
        find = _numbered if _DECIMAL.fullmatch(claims.subject) else _linked
        current = CurrentUser(await find(session, claims), claims.subject)
        if current.id != user.NOBODY:
            while len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.popitem(last=False)
            self._remembered[key] = current
        return current


async def _numbered(session: Session, claims: Claims) -> int:
    """Take the subject for our own id, which Better Auth sends when it was told to.

    An e-mail address in the token has to be that account's: Better Auth may number its users too.
    """
    user_id = int(claims.subject)
    account = await user.read(session, user_id) if user_id <= user.MAX_ID else None
    if account is None:
        logger.warning(_MISNUMBERED, user_id, "there is no such account")
        return user.NOBODY
    if claims.email is not None and account.email != _normalised(claims.email):
        logger.warning(_MISNUMBERED, user_id, "its e-mail address is not that account's")
        raise UnauthorizedError("The token's sub and e-mail address are of different accounts.")
    return user_id


async def _linked(session: Session, claims: Claims) -> int:
    """Find the account that is linked to Better Auth's own id, or link or make one."""
    known = await user.by_subject(session, claims.subject)
    return (known or await _adopted(session, claims)).id


async def _adopted(session: Session, claims: Claims) -> user.User:
    """Make an account for a subject that has none, or link the one with its e-mail address.

    Safe when a user's first requests come at once: whoever loses the race looks again.
    """
    if claims.email is None:
        raise UnauthorizedError("The token has no e-mail address, and its sub is not known.")
    email = _normalised(claims.email)
    account = await user.create(session, email, UNUSABLE_HASH, claims.subject)
    if account is None and claims.email_verified:
        account = await user.link(session, email, claims.subject)
    if account is not None:
        return account
    owner = await user.by_email(session, email)
    # In this order: had another request linked the owner before we read it, it is found here.
    account = await user.by_subject(session, claims.subject)
    if account is not None:
        return account
    if owner is not None and owner.auth_subject is None:
        raise ForbiddenError(
            "There is an account with this e-mail address: verify your e-mail address first"
            " to use it."
        )
    raise ForbiddenError("The account with this e-mail address is linked to another user.")


def _normalised(email: str) -> str:
    """Bring an e-mail address to the form in which accounts keep it."""
    try:
        return validate_email(
            email, check_deliverability=False, globally_deliverable=False
        ).normalized.lower()
    except EmailNotValidError:
        raise UnauthorizedError("The token's email is no e-mail address.") from None


class _CurrentUser(HTTPBearer):
    """A dependency that the OpenAPI document shows as a bearer token.

    One of FastAPI's security classes, called once: a function that depended on one, and others that
    depended on that, would be a tree that FastAPI walks for every request.
    """

    def __init__(self) -> None:
        super().__init__(
            bearerFormat="JWT",
            scheme_name="HTTPBearer",
            description="A token that Better Auth issued: `GET /api/auth/token` of the front end.",
        )

    async def __call__(self, request: Request) -> CurrentUser:  # type: ignore[override] # more than credentials
        """Give the account that the request's bearer token belongs to (RFC 6750 §2.1).

        Raises UnauthorizedError, ForbiddenError (an account that may not be linked) and
        KeysUnavailableError (no key to check the token with).
        """
        try:
            current = await _identify(request)
        except UnauthorizedError as error:
            _refused.add(1, {"reason": error.detail})
            raise
        request.state.user_id = current.id
        return current


get_current_user = _CurrentUser()


@dataclass(frozen=True, slots=True)
class OwnSession(Session):
    """A session for what is one user's: each statement that it sends carries who the `owner` is."""

    session: Session
    owner: int

    @override
    def first(
        self, statement: str, params: Mapping[str, object]
    ) -> Coroutine[Any, Any, tuple[Any, ...] | None]:
        return self.session.first(statement, {**params, "owner": self.owner})


class _Owner(_CurrentUser):
    async def __call__(self, request: Request, user_id: str) -> OwnSession:  # type: ignore[override] # more than credentials
        """Give the caller's session where `user_id` in the path is theirs: `User.id` or `sub`.

        Raises ForbiddenError for anybody else's, whether there is such a user or not.
        """
        current = await get_current_user(request)
        is_own_id = current.id != user.NOBODY and user_id == str(current.id)
        if not is_own_id and user_id != current.subject:
            raise ForbiddenError("The path names another user.")
        return OwnSession(request.app.state.database, current.id)


async def _identify(request: Request) -> CurrentUser:
    headers = request.headers.getlist("authorization")
    if not headers:
        raise UnauthorizedError("Send a token: Authorization: Bearer …")
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer":
        raise UnauthorizedError("Send one Authorization header, with the scheme Bearer.")
    verifier: TokenVerifier = request.app.state.verifier
    identities: Identities = request.app.state.identities
    try:
        claims = await verifier.verify(token.strip(" "))
    except InvalidTokenError as error:
        raise UnauthorizedError(str(error)) from None
    return await identities.resolve(request.app.state.database, claims)


CurrentUserDep = Annotated[CurrentUser, Depends(get_current_user)]


async def get_hasher(request: Request) -> PasswordHasher:
    """Give the application's password hasher."""
    hasher: PasswordHasher = request.app.state.hasher
    return hasher


async def get_key_set(request: Request) -> KeySet:
    """Give the application's key set."""
    keys: KeySet = request.app.state.keys
    return keys


KeySetDep = Annotated[KeySet, Depends(get_key_set)]
HasherDep = Annotated[PasswordHasher, Depends(get_hasher)]


# One dependency for both, because each that FastAPI has to look at costs as much as the statement.
OwnSessionDep = Annotated[OwnSession, Depends(_Owner())]
