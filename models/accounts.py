"""The account of a token: found, linked or created."""

import logging
import re
from dataclasses import dataclass
from typing import Final

from cachetools import TTLCache

from core.database import Session
from core.problems import UnauthorizedError, UnverifiedEmailError
from models import user
from models.base import MAX_ID
from utils.addresses import MAX_ADDRESS_LENGTH, fold_address, normalise_address
from utils.tokens import Claims

MAX_REMEMBERED: Final = 100_000
"""How many subjects are remembered at most."""
REMEMBERED_SECONDS: Final = 60
"""How long: after a restore or a deletion elsewhere, no user keeps access for longer."""
MAX_SUBJECT_LENGTH: Final = 255

UNKNOWN_ID: Final = 0
"""An id that no account has: that of a token whose account is gone."""

_DECIMAL: Final = re.compile(r"[1-9][0-9]*", re.ASCII)
# What a broken getSubject returns, the same for every user; and what no id looks like.
_BROKEN_SUBJECTS: Final = frozenset({"", "undefined", "null", "NaN", "[object Object]"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_MISNUMBERED: Final = (
    "a token's sub is %s, but %s. Does Better Auth number its users itself (serial ids)? Have"
    " jwt.getSubject return this service's id, or let Better Auth make its own kind of ids"
)

logger = logging.getLogger(__name__)


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
        self._remembered: TTLCache[str, tuple[Claims, CurrentUser]] = TTLCache(
            max_remembered, remembered_seconds
        )

    def recall(self, claims: Claims) -> CurrentUser | None:
        """Return the account that the claims belong to, if it is remembered.

        Accounts are remembered by subject: a token with another e-mail address, or one that is
        verified now, is resolved anew.
        """
        before, current = self._remembered.get(claims.subject, (None, None))
        is_same = before is not None and (before.email, before.email_verified) == (
            claims.email,
            claims.email_verified,
        )
        return current if is_same else None

    async def resolve(self, session: Session, claims: Claims) -> CurrentUser:
        """Find the account that the claims belong to, or link or create it, and remember it.

        Raises UnauthorizedError or ForbiddenError.
        """
        if not _is_subject(claims.subject):
            raise UnauthorizedError("The token's sub is no user's id: see jwt.getSubject.")
        find = _find_numbered if _DECIMAL.fullmatch(claims.subject) else _find_linked
        current = CurrentUser(await find(session, claims), claims.subject)
        if current.id != UNKNOWN_ID:
            self._remembered[claims.subject] = (claims, current)
        return current

    def forget(self, account: user.User) -> None:
        """Forget an account that was deleted."""
        for subject in (str(account.id), account.auth_subject):
            if subject is not None:
                self._remembered.pop(subject, None)


def _is_subject(subject: str) -> bool:
    return (
        len(subject) <= MAX_SUBJECT_LENGTH
        and subject not in _BROKEN_SUBJECTS
        and subject.strip() == subject
        and not _CONTROL.search(subject)
    )


async def _find_numbered(session: Session, claims: Claims) -> int:
    """Take the subject for our own id, which Better Auth sends when it was told to.

    An e-mail address in the token has to be that account's: Better Auth may number its users too.
    """
    user_id = int(claims.subject)
    account = await user.get_user(session, user_id) if user_id <= MAX_ID else None
    if account is None:
        logger.warning(_MISNUMBERED, user_id, "there is no such account")
        return UNKNOWN_ID
    if claims.email and account.email not in (None, _stored_form(claims.email)):
        logger.warning(_MISNUMBERED, user_id, "its e-mail address is not that account's")
        raise UnauthorizedError("The token's sub and e-mail address are of different accounts.")
    return user_id


async def _find_linked(session: Session, claims: Claims) -> int:
    """Find the account that is linked to Better Auth's own id, or link or create one."""
    account = await user.get_user_by_subject(session, claims.subject)
    email = _stored_form(claims.email) if claims.email and claims.email.strip() else None
    if account is not None and (
        email in (None, account.email) or not (claims.email_verified or account.email is None)
    ):
        return account.id
    if email is None:
        raise UnauthorizedError("The token has no e-mail address, and its sub is not known.")
    try:
        account = await user.claim_account(
            session,
            claims.subject,
            email,
            is_verified=claims.email_verified,
            issued_at=claims.issued_at,
        )
    except user.AddressHeldError:
        raise UnverifiedEmailError from None
    except user.DeletedAccountError:
        raise UnauthorizedError("The account of this token has been deleted.") from None
    return account.id


def _stored_form(email: str) -> str:
    """Return an address of the issuer as accounts keep it: the issuer has checked it.

    Raises UnauthorizedError for one that cannot be stored.
    """
    if len(email) > MAX_ADDRESS_LENGTH or _CONTROL.search(email):
        raise UnauthorizedError("The token's email is no e-mail address.")
    try:
        return normalise_address(email)
    except ValueError:
        return fold_address(email)
