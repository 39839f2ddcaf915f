"""
How many of the bytes that were written to a connection its peer has taken.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chatfiles.streams.stall_timeout import bytes_acknowledged, socket_of, unsent
from chatfiles.streams.transports import buffered

__all__ = ["Delivery", "delivery"]


class Delivery(NamedTuple):
    """
    The state of a connection.

    :param taken: bytes that the peer has acknowledged since the connection was made; ``None`` if
        the socket does not count them.
    :param pending: bytes that were written and that the peer has not acknowledged.
    """

    taken: int | None
    pending: int


def delivery(transport: Any) -> Delivery | None:
    """
    :param transport: a connection of Twisted, TLS or not.
    :return: its state; ``None`` if it has no socket, or is closed.
    """
    try:
        handle = socket_of(transport)
    except AttributeError:  # a closed transport of Twisted has no socket any more
        return None
    if handle is None or handle.fileno() < 0:
        return None
    return Delivery(bytes_acknowledged(handle), unsent(transport) + buffered(transport))
