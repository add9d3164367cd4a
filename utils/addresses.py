"""E-mail addresses in the one form in which accounts keep them."""

import unicodedata
from typing import Final

import email_validator

MAX_ADDRESS_LENGTH: Final = 254
"""The most characters of an address (RFC 5321 §4.5.3.1.3)."""

# Its documented way to accept `dev@app.local` and `a@demo.test`: people try the service with them.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def normalise_address(email: str) -> str:
    """Return a valid address in lower case and NFC. Raises ValueError for any other text."""
    if len(email) > MAX_ADDRESS_LENGTH:
        raise ValueError("too long")
    return fold_address(
        email_validator.validate_email(email, check_deliverability=False).normalized
    )


def fold_address(email: str) -> str:
    """Return an address in lower case and NFC, in this order: lower case can undo NFC."""
    return unicodedata.normalize("NFC", email.lower())
