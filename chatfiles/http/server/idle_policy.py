"""
How long a connection waits for requests, and whether another request may follow one.
"""

from __future__ import annotations

__all__ = ["IdlePolicy"]


class IdlePolicy:
    """
    The policy for connections that clients have made: the next request must begin within the idle
    timeout.  A subclass is for connections with another life; then each connection has its own.

    :param idle_timeout: seconds.
    :ivar first_is_due: whether the first request must be complete within the header timeout.
    """

    first_is_due = True

    def __init__(self, idle_timeout: float) -> None:
        self._idle_timeout = idle_timeout

    def request_begins(self, target: bytes) -> bool:
        """
        A request is about to be served.  If the fast path declines it, this is called twice.

        :param target: of the request.
        :return: whether another request may follow it.
        """
        return True

    def request_awaited(self) -> float:
        """
        No request is being received or served.  This may be called several times in a row.

        :return: seconds to wait for the next request.
        """
        return self._idle_timeout

    def connection_lost(self) -> None:
        """The connection is closed."""
