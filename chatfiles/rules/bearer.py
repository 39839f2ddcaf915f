"""
Bearer credentials: read from a request in one place, compared in one place.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from chatfiles.rules.header_fields import HeaderFields

__all__ = ["bearer", "same_secret"]

# RFC 6750, 2.1; the scheme's case does not matter (RFC 9110, 11.1).
_BEARER = re.compile(rb"bearer +([^\x00-\x20\x7f]+)", re.IGNORECASE)


def bearer(fields: HeaderFields) -> str | None:
    """
    :param fields: the header fields of a request.
    :return: the token of its ``Authorization: Bearer``; ``None`` without one, with another scheme,
        or with more than one such field.
    """
    values = fields.getRawHeaders(b"authorization", ())
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    return match[1].decode("utf-8", "surrogateescape") if match else None


def same_secret(presented: str, expected: str) -> bool:
    """
    Compare in a time that tells nothing of *expected*, its length included.

    :return: whether they are equal; never for an empty one.
    """
    digests = [
        hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        for secret in (presented, expected)
    ]
    return hmac.compare_digest(*digests) and bool(expected)
