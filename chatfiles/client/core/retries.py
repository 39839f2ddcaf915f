"""
When a request is sent again, and how long to wait before that (reference/client, "Retries").
"""

from __future__ import annotations

from chatfiles.client.core.errors import ClientError, Refused
from chatfiles.client.core.steps import Sleep, Steps

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "LONGEST_WAIT", "Retries"]

#: Seconds before the first retry of a call, and the longest pause; each is twice the one before.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
#: The most seconds of a ``Retry-After`` that are waited for.
LONGEST_WAIT = 60.0


class Retries:
    """
    The retries of one call.

    :param most: how many there may be.
    :ivar left: how many there may still be.
    """

    def __init__(self, most: int) -> None:
        self.left = most
        self._pause = FIRST_PAUSE

    def again(self, error: ClientError) -> Steps[None]:
        """
        Wait until the request may be sent again.

        :raise ClientError: *error*, if it may not.
        """
        wait = error.retry_after if isinstance(error, Refused) else None
        if not error.transient or not self.left or (wait or 0) > LONGEST_WAIT:
            raise error
        self.left -= 1
        if wait is None:
            wait, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        yield Sleep(wait)
