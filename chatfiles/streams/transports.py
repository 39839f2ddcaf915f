"""
Properties of the sockets below Twisted's connections.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.tcp import Connection

__all__ = [
    "SMALL_READ",
    "TINY_READ",
    "buffered",
    "close_when_sent",
    "hand_over",
    "is_plain",
    "read_as_usual",
    "read_at_most",
    "read_with",
    "send_now",
    "unsent_here",
]

#: Bytes of one read; Twisted's own default.
SMALL_READ = 64 * 1024
#: Bytes of one read of a body in tiny chunks.  A larger read would block the reactor for too long.
TINY_READ = 8 * 1024
#: Bytes that are sooner copied than passed to the kernel beside others.
_JOINED = 16 * 1024


def is_plain(transport: Any) -> bool:
    """
    :param transport: a connection.
    :return: whether it is a bare stream socket: no TLS, and no transport in memory.
    """
    return isinstance(transport, Connection) and not getattr(transport, "TLS", False)


def read_at_most(transport: Any, size: int) -> None:
    """
    :param transport: a connection, TLS or not.
    :param size: the most bytes that one read of its socket takes from now on.
    """
    below = _below(transport)
    if hasattr(below, "bufferSize"):
        below.bufferSize = size


def close_when_sent(transport: Any) -> None:
    """
    Close a connection when everything written has been sent.  Over TLS, the peer might never
    confirm the end, so it is not waited for (RFC 8446, 6.1).

    :param transport: a connection, TLS or not.
    """
    transport.loseConnection()
    _below(transport).loseConnection()


def read_with(transport: Any, read: Callable[[], object]) -> None:
    """
    :param transport: a bare stream socket, see `is_plain`.
    :param read: is called instead of the transport's own ``doRead``, until `read_as_usual`.  If it
        leaves what has arrived in the socket, it is called again.
    """
    transport.doRead = read


def read_as_usual(transport: Any, read: Callable[[], object]) -> None:
    """Undo `read_with`, unless *transport* does not read any more because it is being aborted."""
    if vars(transport).get("doRead") == read:
        del transport.doRead


def unsent_here(transport: Any) -> bool:
    """
    :param transport: a bare stream socket, see `is_plain`.
    :return: whether bytes were written that its socket has not taken.
    """
    return bool(transport.dataBuffer or transport._tempDataBuffer)


def buffered(transport: Any) -> Callable[[], int]:
    """
    :param transport: a connection, TLS or not.
    :return: returns the number of bytes that were written and that its socket has not taken.
    """
    below = _below(transport)
    if not isinstance(below, Connection):
        return lambda: 0
    return lambda: len(below.dataBuffer) - below.offset + below._tempDataLen


def hand_over(transport: Any, protocol: Any) -> None:
    """
    Let a protocol use a connection that is open, in place of the one that has used it.

    :param transport: the connection, TLS or not.
    :param protocol: receives what arrives from now on.
    """
    if hasattr(transport, "wrappedProtocol"):  # TLS
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)


def send_now(transport: Any, *pieces: bytes | bytearray) -> None:
    """
    Send bytes before this returns, as far as the socket takes them.  ``transport.write`` would wait
    for the reactor, which has to ask the kernel first whether the socket can take them, and would
    copy them.

    :param transport: a connection.
    :param pieces: are sent in order, behind everything that was written before.
    """
    if len(pieces) > 1 and sum(map(len, pieces[1:])) <= _JOINED:
        pieces = (b"".join(pieces),)
    sent = 0
    if is_plain(transport) and not unsent_here(transport):
        with suppress(OSError):  # the socket is full, or the transport will notice that it is gone
            socket = transport.socket
            sent = socket.sendmsg(pieces) if len(pieces) > 1 else socket.send(pieces[0])
    for piece in pieces:
        if sent < len(piece):
            transport.write(bytes(memoryview(piece)[sent:]) if sent else bytes(piece))
        sent = max(0, sent - len(piece))


def _below(transport: Any) -> Any:
    """:return: the transport of the socket, which is below that of TLS."""
    while getattr(transport, "transport", None) is not None:
        transport = transport.transport
    return transport
