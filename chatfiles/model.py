"""
Frozen values that the roles share.
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
from typing import NamedTuple
from uuid import UUID

__all__ = [
    "ALL_SCOPES",
    "ONLINE",
    "ChannelPlace",
    "ChannelPlaces",
    "FileFacts",
    "LinkClock",
    "Scope",
    "Token",
    "Workspace",
    "new_secret",
    "parse_uuid",
    "token_hash",
    "token_prefix",
]

#: Random bytes in a token or secret (reference/registry, "Tokens").
SECRET_BYTES = 32
#: Length of a token's prefix in characters.  Only this part may be shown (reference/registry,
#: "Tokens").
PREFIX_LENGTH = 8

#: The status of a workspace that has registered.
ONLINE = "online"

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Scope(StrEnum):
    """What a token allows (reference/authentication, "Scopes")."""

    READ = "read"
    WRITE = "write"
    AGENT = "agent"


#: The scopes of a token that is created without a list of scopes.
ALL_SCOPES: frozenset[Scope] = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Workspace:
    """
    A workspace in the registry.  Its status is never ``removed``.

    :param url: the URL at which the platform reaches it; ``None`` or ``""`` if it is unknown.
    :param delivery_mode: ``push``, another word, or ``None``.
    :param inbound_secret: the secret that the platform presents to it; ``None`` or ``""`` before
        registration.
    :param next_secret: the secret that the platform presents once the workspace has it; ``None`` or
        ``""`` if none is pending.
    :param links_not_before: unix seconds; signed links that were issued earlier are revoked.
    :param channel_seen_at: when it was last known to be connected to the platform by itself; it may
        be older than that; ``None`` if it never was.
    """

    id: UUID
    name: str
    url: str | None
    status: str | None
    delivery_mode: str | None
    inbound_secret: str | None = field(repr=False)
    last_heartbeat_at: datetime | None = None
    links_not_before: int = 0
    next_secret: str | None = field(default=None, repr=False)
    channel_seen_at: datetime | None = None

    @property
    def connects(self) -> bool:
        """Whether it connects to the platform by itself."""
        return self.delivery_mode == "poll" and not self.url


class ChannelPlace(NamedTuple):
    """
    A node of the platform to which a workspace is connected.

    :param node_id: the id of the node.
    :param url: where other nodes reach it; ``None`` if they do not.
    :param silent: seconds since the node was last seen, by the clock of the registry.
    """

    node_id: UUID
    url: str | None
    silent: float


class ChannelPlaces(NamedTuple):
    """
    Where a workspace is connected to the platform by itself.

    :param nodes: the nodes, those that have died included; the latest connection first.
    :param seen_at: as `Workspace.channel_seen_at`.
    :param unseen: seconds since then, by the clock of the registry; ``None`` if it was never
        connected.
    """

    nodes: tuple[ChannelPlace, ...] = ()
    seen_at: datetime | None = None
    unseen: float | None = None


@dataclass(frozen=True, slots=True)
class LinkClock:
    """
    What the times of a link that is made now depend on.

    :param now: the time of the registry, in unix seconds.
    :param not_before: `Workspace.links_not_before`.
    """

    now: int
    not_before: int

    @property
    def issued(self) -> int:
        """When a link that is made now is issued: it must not be older than a revocation."""
        return max(self.now, self.not_before)


@dataclass(frozen=True, slots=True)
class Token:
    """
    A token of a workspace that is not revoked.  The text of the token itself is never stored.

    :param prefix: the first 8 characters of the token.
    """

    id: UUID
    workspace_id: UUID
    prefix: str
    scopes: frozenset[Scope]
    name: str | None = None
    created_at: datetime | None = None
    last_used_at: datetime | None = None


class FileFacts(NamedTuple):
    """
    The values of ``fstat`` from which an open regular file's validators are computed
    (reference/downloads, "Headers").

    :param size: in bytes.
    :param mtime_ns: in nanoseconds since the epoch, like *ctime_ns*.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileFacts:
        """
        :param stat: the result of ``fstat`` on the descriptor that is served.
        :return: the values that are needed of it.
        """
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def parse_uuid(text: str) -> UUID | None:
    """
    :param text: an id from a URL, a JSON body or an option.
    :return: the UUID; ``None`` unless *text* has the form 8-4-4-4-12, in upper or lower case,
        without braces and without ``urn:``.
    """
    return UUID(text) if _UUID.fullmatch(text) else None


def new_secret(entropy: Callable[[int], bytes] = os.urandom) -> str:
    """
    :param entropy: takes a number of bytes, and returns that many random bytes.
    :return: a new token or inbound secret: 32 random bytes in base64url without padding.
    """
    return base64.urlsafe_b64encode(entropy(SECRET_BYTES)).rstrip(b"=").decode("ascii")


def token_hash(token: str) -> bytes:
    """
    :return: the form in which the registry stores a token: its SHA-256, 32 bytes
        (reference/registry, "Tokens").
    """
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def token_prefix(token: str) -> str:
    """:return: the first characters of a token, which may be shown."""
    return token[:PREFIX_LENGTH]
