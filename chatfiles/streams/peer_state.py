"""
Asks the kernel about the peer of a connection: whether it has closed its side, whether the
connection was reset, and how many bytes it sent before.

The reactor notices this only when it reads, and under back-pressure it does not read.
"""

from __future__ import annotations

import fcntl
import select
import sys
import termios
from enum import Enum
from typing import Any

from chatfiles.streams.stall_timeout import socket_of

__all__ = ["PeerState", "peer_state", "unread"]


class PeerState(Enum):
    """What the peer of a connection has done."""

    CONNECTED = "connected"
    HALF_CLOSED = "half closed"  # it has sent its FIN, but may still read
    RESET = "reset"  # the connection has failed (RST, or a timeout of TCP)


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
    return (
        PeerState.RESET
        if events[0][1] & (select.POLLERR | select.POLLHUP)
        else PeerState.HALF_CLOSED
    )


def unread(transport: Any) -> int:
    """
    :param transport: a connection of Twisted, TLS or not.
    :return: the number of bytes that the kernel has received and this process has not read; 0
        without a socket.
    """
    handle = socket_of(transport)
    if handle is None:
        return 0
    return int.from_bytes(fcntl.ioctl(handle, termios.FIONREAD, b"\0" * 4), sys.byteorder)
