"""
How a workspace says that it has the next secret, without saying the secret (reference/registration,
"Rotation of the inbound secret").
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

__all__ = ["acknowledgement", "acknowledges"]

#: Hexadecimal digits of an acknowledgement.
DIGITS: Final = 16


def acknowledgement(secret: str) -> str:
    """:return: the first digits of the SHA-256 of *secret*."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]


def acknowledges(given: object, secret: str | None) -> bool:
    """
    :param given: what a workspace sent: any JSON value.
    :param secret: the next secret; ``None`` or ``""`` if none is pending.
    :return: whether the workspace has the next secret.
    """
    if not isinstance(given, str) or not secret:
        return False
    expected = acknowledgement(secret).encode("ascii")
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected)
