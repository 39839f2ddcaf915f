"""
What the kernel knows of an other end that nothing is read from: whether it has ended its side, or
the connection, and what it has sent before.

A reactor notices neither before it reads, and it must not read what nobody can take yet.
"""

from __future__ import annotations

import fcntl
import select
import sys
import termios
from enum import Enum
from typing import Any

from chatfiles.streams.stall_timeout import socket_of

__all__ = ["HangUp", "hang_up", "unread"]


class HangUp(Enum):
    """How an other end has hung up."""

    NOT = "not"
    #: It sends no more (FIN).
    ENDED = "ended"
    #: The connection is no more (RST, or a time-out).
    RESET = "reset"


def hang_up(transport: Any) -> HangUp:
    """
    :param transport: a connection of Twisted, TLS or not.
    :return: what has become of it; without a socket, nothing.
    """
    handle = socket_of(transport)
    if handle is None or handle.fileno() < 0:
        return HangUp.NOT
    poll = select.poll()
    poll.register(handle, select.POLLRDHUP)
    events = poll.poll(0)
    if not events:
        return HangUp.NOT
    return HangUp.RESET if events[0][1] & (select.POLLERR | select.POLLHUP) else HangUp.ENDED


def unread(transport: Any) -> int:
    """:return: how many bytes the kernel holds for us."""
    handle = socket_of(transport)
    if handle is None:
        return 0
    return int.from_bytes(fcntl.ioctl(handle, termios.FIONREAD, b"\0" * 4), sys.byteorder)
