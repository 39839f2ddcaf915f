"""
Deadlines of progress: what counts is that the other end took a byte, however slowly (CONTRACT 9).

How often a producer is resumed tells nothing of that: a caller that takes 10 kB/s from a full
buffer resumes its producer every minute or so.  The kernel knows better.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["RELAYED_PATIENCE", "ProgressWatch", "acknowledged", "socket_of", "unsent"]

#: How often a watch looks, as a part of its timeout.
LOOKS = 8

#: How many idle timeouts an intermediary may take nothing.  It watches its own caller, and holds us
#: back while that one is slow; how much it takes at a time, up to some megabytes, depends on its
#: buffers and not on the caller.
RELAYED_PATIENCE = 10

# struct tcp_info (linux/tcp.h): tcpi_bytes_acked is the u64 at offset 120.
_BYTES_ACKED = struct.Struct("=Q")
_BYTES_ACKED_AT = 120


def acknowledged(transport: Any) -> Callable[[], Hashable]:
    """
    :param transport: a connection of Twisted, TLS or not.
    :return: a callable whose answer changes whenever the other end has taken bytes; for a transport
        without a socket it never changes.
    """
    handle = socket_of(transport)
    if handle is None:
        return lambda: 0
    if handle.family in (socket.AF_INET, socket.AF_INET6):
        return lambda: _tcp_acknowledged(handle)
    return lambda: _unsent(handle)


def unsent(transport: Any) -> int:
    """
    :param transport: a connection of Twisted, TLS or not.
    :return: how many bytes its socket holds that the other end has not taken; 0 without a socket.
    """
    handle = socket_of(transport)
    return 0 if handle is None else _unsent(handle)


def socket_of(transport: Any) -> socket.socket | None:
    """
    :param transport: a connection of Twisted, TLS or not.
    :return: its socket, if there is one.
    """
    while hasattr(transport, "transport"):  # TLS: the socket is below
        transport = transport.transport
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    return handle if isinstance(handle, socket.socket) else None


def _tcp_acknowledged(handle: socket.socket) -> int:
    try:
        fields = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return int(_BYTES_ACKED.unpack_from(fields, _BYTES_ACKED_AT)[0])
    except (OSError, struct.error):
        return _unsent(handle)


def _unsent(handle: socket.socket) -> int:
    try:
        # SIOCOUTQ has the number of TIOCOUTQ.
        pending = fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return int.from_bytes(pending, sys.byteorder)
    except (OSError, ValueError):  # closed
        return 0


class ProgressWatch:
    """
    Calls *stalled* once when *state* has not changed for *timeout* seconds.

    :param clock: for the timer.
    :param timeout: seconds.
    :param state: any value that changes with progress.
    :param stalled: called at most once; the watch has ended by then.
    """

    def __init__(
        self,
        clock: IReactorTime,
        timeout: float,
        state: Callable[[], Hashable],
        stalled: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._state = state
        self._stalled = stalled
        self._seen = state()
        self._since = clock.seconds()
        self._timer: IDelayedCall = clock.callLater(timeout / LOOKS, self._look)

    def _look(self) -> None:
        now, state = self._clock.seconds(), self._state()
        if state != self._seen:
            self._seen, self._since = state, now
        left = self._since + self._timeout - now
        if left <= 0:
            self._stalled()
            return
        self._timer = self._clock.callLater(min(self._timeout / LOOKS, left), self._look)

    def stop(self) -> None:
        """End the watch; idempotent."""
        if self._timer.active():
            self._timer.cancel()
