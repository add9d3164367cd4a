"""Entity tags and the conditions on them (RFC 9110 §8.8.3, §13)."""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

# A proxy that compresses a response changes its tag: nginx and Cloudflare to W/"x", Apache to
# "x-gzip", Jetty to "x--gzip", LiteSpeed to "x;gz". Our tags name a version and not its bytes, so
# all of these are "x", weak or not. No tag of ours may end in such a suffix.
_TAG: Final = re.compile(r'"([^"]*?)(?:(?:--?|;)(?:gzip|gz|br|zstd|deflate))?"')


def content_tag(content: bytes) -> str:
    """Return the entity tag of a response by its content, without quotes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def strong_tags(if_match: Sequence[str]) -> list[str] | None:
    """Return the tags that the values of `If-Match` accept; None for `*`, which accepts all."""
    values = ",".join(if_match)
    return None if values.strip() == "*" else _TAG.findall(values)


def is_known(if_none_match: Sequence[str], tag: str) -> bool:
    """Tell whether the values of `If-None-Match` have this tag: the caller has it already."""
    values = ",".join(if_none_match)
    return values.strip() == "*" or tag in _TAG.findall(values)
