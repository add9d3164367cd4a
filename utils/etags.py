"""Entity tags and the conditions on them (RFC 9110 §8.8.3, §13)."""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

_TAG: Final = re.compile(r'(W/)?"([^"]*)"')


def content_tag(content: bytes) -> str:
    """Return the entity tag of a response by its content, without quotes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def strong_tags(if_match: Sequence[str]) -> list[str] | None:
    """Return the tags that the values of `If-Match` accept; None for `*`, which accepts all.

    A weak tag never matches there, and neither does what is no tag.
    """
    values = ",".join(if_match)
    if values.strip() == "*":
        return None
    return [tag for weak, tag in _TAG.findall(values) if not weak]


def is_known(if_none_match: Sequence[str], tag: str) -> bool:
    """Tell whether the values of `If-None-Match` have this tag: the caller has it already."""
    values = ",".join(if_none_match)
    return values.strip() == "*" or any(tag == each for _, each in _TAG.findall(values))
