"""
Timeouts that restart whenever the transfer makes progress: whenever the peer has taken bytes, even
slowly.

The calls that resume a producer do not show progress: a client that takes 10 kB/s from a full
buffer resumes its producer about once a minute.  So this module asks the kernel.
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

__all__ = [
    "PROXY_STALL_FACTOR",
    "StallTimeout",
    "acknowledged",
    "bytes_unacknowledged",
    "socket_of",
    "stall_timeout_for",
    "unsent",
]

#: The number of checks for progress during one timeout.
CHECKS = 8

#: For how many idle timeouts a proxy may take nothing.  A proxy has a timeout for its own client,
#: and applies back-pressure while that client is slow.  The bytes that it then takes at a time
#: depend on its buffers, up to some megabytes, and not on the client.
PROXY_STALL_FACTOR = 10

# struct tcp_info (linux/tcp.h): tcpi_bytes_acked is the u64 at offset 120.
_BYTES_ACKED = struct.Struct("=Q")
_BYTES_ACKED_AT = 120
# tcpi_snd_mss and, since Linux 5.4, tcpi_snd_wnd are u32.
_U32 = struct.Struct("=I")
_MSS_AT, _WINDOW_AT = 16, 228

#: Bytes per second of the slowest client that does not count as stalled.
ALIVE = 10_000
#: The most timeouts for which such a client may appear to take nothing.
MOST_TIMEOUTS = 4


def acknowledged(transport: Any) -> Callable[[], Hashable]:
    """
    :param transport: a connection of Twisted, TLS or not.
    :return: a callable.  Its result changes whenever the peer has taken bytes; without a socket it
        never changes.
    """
    handle = socket_of(transport)
    if handle is None:
        return lambda: 0
    if handle.family in (socket.AF_INET, socket.AF_INET6):
        return lambda: _tcp_acknowledged(handle)
    return lambda: bytes_unacknowledged(handle)


def stall_timeout_for(transport: Any, timeout: float) -> Callable[[], float]:
    """
    Estimate how long a slow client may appear to take nothing.  Its kernel announces free space
    only when about a sixteenth of the receive buffer is free, and at least one or two segments; of
    a small buffer, only when all of it is free (Linux, ``__tcp_select_window``).  The kernel of
    this machine may notice this only with its next window probe.  Measured on loopback, at
    10 kB/s: 2.5 s with a window of 16 KiB, 5 s with 32 KiB, 13 s with 92 KiB (the initial size on
    Linux) or 360 KiB, 20 s with 2.6 MB.

    :param transport: a connection of Twisted, TLS or not.
    :param timeout: seconds, if the buffers are small.
    :return: a callable that returns the timeout in seconds, computed from the largest window or
        burst until then.
    """
    handle = socket_of(transport)
    if handle is None or handle.family not in (socket.AF_INET, socket.AF_INET6):
        return lambda: timeout
    largest, before = 0, _tcp_acknowledged(handle)

    def seconds() -> float:
        nonlocal largest, before
        segment, window = _tcp_window(handle)
        # A burst is better evidence: the window may be full again before it is read here.
        taken = _tcp_acknowledged(handle)
        largest, before = max(largest, window, taken - before), taken
        gap = max(segment, min(largest, 2 * segment), largest / 12) / ALIVE
        return min(max(timeout, 1.75 * gap), MOST_TIMEOUTS * timeout)

    return seconds


def _tcp_window(handle: socket.socket) -> tuple[int, int]:
    """:return: the size of a segment and of the peer's window, in bytes."""
    try:
        fields = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return _U32.unpack_from(fields, _MSS_AT)[0], _U32.unpack_from(fields, _WINDOW_AT)[0]
    except (OSError, struct.error):
        return 0, 0


def unsent(transport: Any) -> int:
    """
    :param transport: a connection of Twisted, TLS or not.
    :return: the number of bytes in its socket that the peer has not taken; 0 without a socket.
    """
    handle = socket_of(transport)
    return 0 if handle is None else bytes_unacknowledged(handle)


def socket_of(transport: Any) -> socket.socket | None:
    """
    :param transport: a connection of Twisted, TLS or not.
    :return: its socket; ``None`` if it has none.
    """
    while hasattr(transport, "transport"):  # TLS: the socket is below
        transport = transport.transport
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    return handle if isinstance(handle, socket.socket) else None


def _tcp_acknowledged(handle: socket.socket) -> int:
    try:
        fields = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
        return int(_BYTES_ACKED.unpack_from(fields, _BYTES_ACKED_AT)[0])
    except (OSError, struct.error):
        return bytes_unacknowledged(handle)


def bytes_unacknowledged(handle: socket.socket) -> int:
    """
    :param handle: a socket.
    :return: the bytes in it that its peer has not acknowledged, or, of a Unix socket, not read.
    """
    try:
        # SIOCOUTQ has the number of TIOCOUTQ.
        pending = fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return int.from_bytes(pending, sys.byteorder)
    except (OSError, ValueError):  # closed
        return 0


class StallTimeout:
    """
    Calls *stalled* once when *state* has not changed for *timeout* seconds, and still has not when
    the reactor has read what has arrived: a process that stood still, such as one on a suspended
    machine, must not punish its peers.

    :param clock: for the timer.
    :param timeout: seconds.
    :param current_timeout: if given, returns the seconds to wait now instead.
    :param state: returns any value that changes with progress.
    :param stalled: called at most once, after the timer has stopped.
    """

    def __init__(
        self,
        clock: IReactorTime,
        timeout: float,
        state: Callable[[], Hashable],
        stalled: Callable[[], object],
        current_timeout: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._current_timeout = current_timeout or (lambda: timeout)
        self._state = state
        self._stalled = stalled
        self._seen = state()
        self._since = clock.seconds()
        self._passed = False
        self._timer: IDelayedCall = clock.callLater(timeout / CHECKS, self._check)

    def _check(self) -> None:
        now, state = self._clock.seconds(), self._state()
        if state != self._seen:
            self._seen, self._since = state, now
        left = self._since + self._current_timeout() - now
        if left <= 0 and self._passed:
            self._stalled()
            return
        self._passed = left <= 0
        wait = max(0, min(self._timeout / CHECKS, left))
        self._timer = self._clock.callLater(wait, self._check)

    def stop(self) -> None:
        """Stop the timer; idempotent."""
        if self._timer.active():
            self._timer.cancel()
