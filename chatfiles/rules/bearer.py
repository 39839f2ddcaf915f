"""
Bearer tokens: their syntax, how a request presents one, and how two are compared.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TypeGuard

from chatfiles.rules.header_fields import HeaderFields

__all__ = ["bearer", "is_token", "same_secret"]

# The characters that every client can send and every server reads the same way in a header.
_TOKEN = re.compile(r"[\x21-\x7e]+")
# RFC 6750, 2.1; the scheme's case does not matter (RFC 9110, 11.1).
_BEARER = re.compile(rb"bearer +([^\x00-\x20\x7f]+)", re.IGNORECASE)


def is_token(value: object) -> TypeGuard[str]:
    """:return: whether *value* can be a bearer token: a string of visible ASCII, not empty."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def bearer(fields: HeaderFields) -> str | None:
    """
    :param fields: the headers of a request.
    :return: the token in its ``Authorization: Bearer`` header.  ``None`` if the request has no
        ``Authorization`` header, more than one, or another scheme.
    """
    values = fields.getRawHeaders(b"authorization", ())
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    return match[1].decode("utf-8", "surrogateescape") if match else None


def same_secret(presented: str, expected: str) -> bool:
    """
    Compare two secrets.  The time it takes reveals nothing about *expected*, not even its length.

    :param presented: the secret in a request.
    :param expected: the correct secret.
    :return: whether they are equal; always ``False`` if *expected* is empty.
    """
    digests = [
        hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        for secret in (presented, expected)
    ]
    return hmac.compare_digest(*digests) and bool(expected)
