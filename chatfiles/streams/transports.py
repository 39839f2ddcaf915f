"""
Which transports may be written to past Twisted's own buffers.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection

__all__ = ["is_plain"]


def is_plain(transport: Any) -> bool:
    """:return: whether it is a bare stream socket of Twisted: no TLS, nothing in memory."""
    return isinstance(transport, Connection) and not getattr(transport, "TLS", False)
