"""
The values that the roles pass around: frozen, and valid once made.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

__all__ = [
    "ALL_SCOPES",
    "FileFacts",
    "Scope",
    "Token",
    "Workspace",
    "new_secret",
    "parse_uuid",
    "token_hash",
    "token_prefix",
]

#: Bytes of randomness in a token or secret (reference/registry, "Tokens").
SECRET_BYTES = 32
#: Characters of a token that may be shown to tell it from others (reference/registry, "Tokens").
PREFIX_LENGTH = 8

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Scope(StrEnum):
    """What a token allows (reference/authentication, "Scopes")."""

    READ = "read"
    WRITE = "write"
    AGENT = "agent"


#: The scopes of a token for which none were named.
ALL_SCOPES: frozenset[Scope] = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Workspace:
    """
    A row of the registry.  A workspace with status ``removed`` never becomes one of these.

    :param url: where the platform reaches it; ``None`` or ``""`` while unknown.
    :param delivery_mode: ``push``, another word, or ``None``.
    :param inbound_secret: what the platform presents to it; ``None`` or ``""`` before enrolment.
    """

    id: UUID
    name: str
    url: str | None
    status: str | None
    delivery_mode: str | None
    inbound_secret: str | None = field(repr=False)
    last_heartbeat_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """
    A live (not revoked) auth token of a workspace; the token itself is never kept.

    :param prefix: its first 8 characters.
    """

    id: UUID
    workspace_id: UUID
    prefix: str
    scopes: frozenset[Scope]
    name: str | None = None
    created_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """
    What ``fstat`` said of an open regular file: enough for validators (reference/downloads,
    "Headers").
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileFacts:
        """:param stat: the answer of ``fstat`` on the descriptor that will be served."""
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def parse_uuid(text: str) -> UUID | None:
    """
    :param text: an id, as it stands in a URL, a JSON body or an option.
    :return: the UUID; ``None`` unless *text* has the form 8-4-4-4-12, in either case of letters,
        without braces and without ``urn:``.
    """
    return UUID(text) if _UUID.fullmatch(text) else None


def new_secret(entropy: Callable[[int], bytes] = os.urandom) -> str:
    """
    :return: a new token or inbound secret: 32 random bytes, base64url without padding.
    """
    return base64.urlsafe_b64encode(entropy(SECRET_BYTES)).rstrip(b"=").decode("ascii")


def token_hash(token: str) -> bytes:
    """
    :return: what the registry keeps of a token: its SHA-256, 32 bytes (reference/registry,
        "Tokens").
    """
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def token_prefix(token: str) -> str:
    """:return: the characters of a token that may be shown."""
    return token[:PREFIX_LENGTH]
