"""The caller: from a bearer token to an account."""

import logging
import re
from dataclasses import dataclass
from typing import Annotated, Final

from cachetools import TTLCache
from email_validator import EmailNotValidError, validate_email
from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from opentelemetry import metrics

from core.database import Session
from core.problems import ForbiddenError, UnauthorizedError, UnavailableError
from dependencies.settings import SettingsDep
from models import user
from utils.jwks import KeySet, KeysUnavailableError
from utils.security import UNUSABLE_HASH, PasswordHasher
from utils.tokens import Claims, InvalidTokenError, TokenVerifier

MAX_REMEMBERED: Final = 100_000
"""How many subjects are remembered at most."""
REMEMBERED_SECONDS: Final = 60
"""How long: after a restore or a deletion elsewhere, no user keeps access for longer."""
MAX_SUBJECT_LENGTH: Final = 255
MAX_EMAIL_LENGTH: Final = 254

_DECIMAL: Final = re.compile(r"[1-9][0-9]*", re.ASCII)
# What a getSubject that went wrong returns, the same for every user; and what no id looks like.
_NO_SUBJECTS: Final = frozenset({"", "undefined", "null", "NaN", "[object Object]"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

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


class AccountResolver:
    """Finds the account of a token, and remembers it: a known subject costs no query."""

    def __init__(
        self, remembered_seconds: float = REMEMBERED_SECONDS, max_remembered: int = MAX_REMEMBERED
    ) -> None:
        self._remembered: TTLCache[str, tuple[str | None, CurrentUser]] = TTLCache(
            max_remembered, remembered_seconds
        )

    def recall(self, claims: Claims) -> CurrentUser | None:
        """Return the account that the claims belong to, if it is remembered.

        Accounts are remembered by subject, with the token's e-mail address: a token with another
        address is resolved anew.
        """
        email, known = self._remembered.get(claims.subject, (None, None))
        return known if email == claims.email else None

    async def resolve(self, session: Session, claims: Claims) -> CurrentUser:
        """Find the account that the claims belong to, or link or create it, and remember it.

        Raises UnauthorizedError or ForbiddenError.
        """
        if not _is_subject(claims.subject):
            raise UnauthorizedError("The token's sub is no user's id: see jwt.getSubject.")
        find = _find_numbered if _DECIMAL.fullmatch(claims.subject) else _find_linked
        current = CurrentUser(await find(session, claims), claims.subject)
        if current.id != user.NOBODY:
            self._remembered[claims.subject] = (claims.email, current)
        return current

    def forget(self, account: user.User) -> None:
        """Forget an account that was deleted."""
        for subject in (str(account.id), account.auth_subject):
            if subject is not None:
                self._remembered.pop(subject, None)


def _is_subject(subject: str) -> bool:
    return (
        len(subject) <= MAX_SUBJECT_LENGTH
        and subject not in _NO_SUBJECTS
        and subject.strip() == subject
        and not _CONTROL.search(subject)
    )


async def _find_numbered(session: Session, claims: Claims) -> int:
    """Take the subject for our own id, which Better Auth sends when it was told to.

    An e-mail address in the token has to be that account's: Better Auth may number its users too.
    """
    user_id = int(claims.subject)
    account = await user.get_user(session, user_id) if user_id <= user.MAX_ID else None
    if account is None:
        logger.warning(_MISNUMBERED, user_id, "there is no such account")
        return user.NOBODY
    if claims.email is not None and account.email != _normalised(claims.email):
        logger.warning(_MISNUMBERED, user_id, "its e-mail address is not that account's")
        raise UnauthorizedError("The token's sub and e-mail address are of different accounts.")
    return user_id


async def _find_linked(session: Session, claims: Claims) -> int:
    """Find the account that is linked to Better Auth's own id, or link or create one."""
    known = await user.get_user_by_subject(session, claims.subject)
    return (known or await _link_or_create(session, claims)).id


async def _link_or_create(session: Session, claims: Claims) -> user.User:
    """Create an account for a subject that has none, or link the one with its e-mail address.

    Safe when the first requests of a user arrive at once: one that loses the race looks again.
    """
    if claims.email is None:
        raise UnauthorizedError("The token has no e-mail address, and its sub is not known.")
    email = _normalised(claims.email)
    try:
        account = await user.create_linked_user(
            session, email, UNUSABLE_HASH, claims.subject, issued_at=claims.issued_at
        )
        if account is None and claims.email_verified:
            account = await user.link_user(
                session, email, claims.subject, issued_at=claims.issued_at
            )
    except user.DeletedAccountError:
        raise UnauthorizedError("The account of this token has been deleted.") from None
    if account is not None:
        return account
    owner = await user.get_user_by_email(session, email)
    # In this order: had another request linked the owner before we read it, it is found here.
    account = await user.get_user_by_subject(session, claims.subject)
    if account is not None:
        return account
    if owner is not None and owner.auth_subject is None:
        raise ForbiddenError(
            "There is an account with this e-mail address: verify your e-mail address first"
            " to use it."
        )
    raise ForbiddenError("The account with this e-mail address is linked to another user.")


def _normalised(email: str) -> str:
    """Return an e-mail address in the form in which accounts keep it."""
    refused = UnauthorizedError("The token's email is no e-mail address.")
    if len(email) > MAX_EMAIL_LENGTH:
        raise refused
    try:
        return validate_email(
            email, check_deliverability=False, globally_deliverable=False
        ).normalized.lower()
    except EmailNotValidError:
        raise refused from None


_bearer = HTTPBearer(
    bearerFormat="JWT",
    description="A token that Better Auth issued: `GET /api/auth/token` of the front end.",
    auto_error=False,
)


async def get_current_user(
    request: Request,
    settings: SettingsDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> CurrentUser:
    """Return the account that the request's bearer token belongs to (RFC 6750 §2.1).

    Raises UnauthorizedError, ForbiddenError (an account that may not be linked) and
    UnavailableError (no key to check the token with).
    """
    verifier: TokenVerifier = request.app.state.verifier
    resolver: AccountResolver = request.app.state.resolver
    try:
        token = _single_token(request, credentials)
        claims = await verifier.verify(token, settings.jwt_issuer, settings.jwt_audience)
        current = resolver.recall(claims)
        if current is None:
            async with Session(request.app.state.engine) as session:
                current = await resolver.resolve(session, claims)
    except InvalidTokenError as error:
        raise _refuse(str(error)) from None
    except UnauthorizedError as error:
        raise _refuse(error.detail) from None
    except KeysUnavailableError as error:
        raise UnavailableError(str(error)) from None
    request.state.user_id = current.id
    return current


def _refuse(reason: str) -> UnauthorizedError:
    _refused.add(1, {"reason": reason})
    return UnauthorizedError(reason)


def _single_token(request: Request, credentials: HTTPAuthorizationCredentials | None) -> str:
    if credentials is None or len(request.headers.getlist("authorization")) > 1:
        raise InvalidTokenError("Send one token: Authorization: Bearer …")
    return credentials.credentials


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
    is_own_id = current.id != user.NOBODY and user_id == str(current.id)
    if not is_own_id and user_id not in ("me", current.subject):
        raise ForbiddenError("The path names another user.")
    return current.id


OwnerDep = Annotated[int, Depends(get_owner)]


async def get_hasher(request: Request) -> PasswordHasher:
    """Return the application's password hasher."""
    hasher: PasswordHasher = request.app.state.hasher
    return hasher


HasherDep = Annotated[PasswordHasher, Depends(get_hasher)]


async def get_resolver(request: Request) -> AccountResolver:
    """Return the application's account resolver."""
    resolver: AccountResolver = request.app.state.resolver
    return resolver


ResolverDep = Annotated[AccountResolver, Depends(get_resolver)]


async def get_key_set(request: Request) -> KeySet:
    """Return the application's key set."""
    keys: KeySet = request.app.state.keys
    return keys


KeySetDep = Annotated[KeySet, Depends(get_key_set)]
