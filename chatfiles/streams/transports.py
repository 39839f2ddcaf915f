"""
The sockets below Twisted's connections.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection

__all__ = ["SMALL_READ", "TINY_READ", "is_plain", "read_at_most"]

#: Bytes of one read; Twisted's own default.
SMALL_READ = 64 * 1024
#: Bytes of one read of a body in tiny chunks, so that parsing them does not take long.
TINY_READ = 8 * 1024


def is_plain(transport: Any) -> bool:
    """:return: whether it is a bare stream socket: no TLS, and no transport in memory."""
    return isinstance(transport, Connection) and not getattr(transport, "TLS", False)


def read_at_most(transport: Any, size: int) -> None:
    """
    :param transport: a connection, TLS or not.
    :param size: bytes that one read of its socket takes from now on.
    """
    while getattr(transport, "transport", None) is not None:  # TLS: the socket is below
        transport = transport.transport
    if hasattr(transport, "bufferSize"):
        transport.bufferSize = size
