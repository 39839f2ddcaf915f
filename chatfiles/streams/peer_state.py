"""
What the kernel knows about the peer of a connection that is not being read: whether the peer has
closed its side, or the connection was reset, and what the peer sent before.

The reactor notices neither until it reads, and while there is back-pressure it does not read.
"""

from __future__ import annotations

import fcntl
import select
import socket
import sys
import termios
from enum import Enum
from typing import Any

from chatfiles.streams.stall_timeout import socket_of

__all__ = ["PeerState", "peer_state", "unread", "unread_tail"]

#: Bytes at the end of the unread ones that are examined.
TAIL = 64 * 1024
#: Buffers that one call may fill (``IOV_MAX``).
_MOST_BUFFERS = 1024


class PeerState(Enum):
    """What the peer of a connection has done."""

    CONNECTED = "connected"
    HALF_CLOSED = "half closed"  # it sends no more (FIN), but may still read
    RESET = "reset"  # the connection has failed (RST, or a time-out)


def peer_state(transport: Any) -> PeerState:
    """
    :param transport: a connection of Twisted, TLS or not.
    :return: the state of its peer; `PeerState.CONNECTED` if it has no socket.
    """
    handle = socket_of(transport)
    if handle is None or handle.fileno() < 0:
        return PeerState.CONNECTED
    poll = select.poll()
    poll.register(handle, select.POLLRDHUP)
    events = poll.poll(0)
    if not events:
        return PeerState.CONNECTED
    return PeerState.RESET if events[0][1] & (select.POLLERR | select.POLLHUP) else PeerState.HALF_CLOSED


def unread(transport: Any) -> int:
    """:return: how many received bytes the kernel holds that have not been read."""
    handle = socket_of(transport)
    if handle is None:
        return 0
    return int.from_bytes(fcntl.ioctl(handle, termios.FIONREAD, b"\0" * 4), sys.byteorder)


def unread_tail(transport: Any) -> bytes | None:
    """
    Peek at the end of what the kernel has received and was not read, however much that is.  It takes
    `TAIL` bytes of memory: each part overwrites the one before.

    :return: at most `TAIL` bytes; ``None`` if the end cannot be determined.
    """
    handle = socket_of(transport)
    parts = -(-unread(transport) // TAIL)
    if handle is None or parts > _MOST_BUFFERS:
        return None
    buffer = bytearray(TAIL)
    count = 0
    if parts:
        flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
        count = handle.recvmsg_into([buffer] * parts, 0, flags)[0]
    end = count % TAIL
    return bytes(buffer[end:] + buffer[:end]) if count >= TAIL else bytes(buffer[:count])
