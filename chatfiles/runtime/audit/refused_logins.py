"""
Counts credentials that were refused, so that a client that guesses cannot fill the audit log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.internet.interfaces import IReactorTime

from chatfiles.http.server.observers import TransferEnded
from chatfiles.streams.equal_timeouts import EqualTimeouts

__all__ = ["RefusedLogins"]

#: Seconds between two lines about one client.
INTERVAL: Final = 1.0
#: Clients that are counted on their own.  All others together have one line in each interval.
MOST_CLIENTS: Final = 10_000
OTHERS: Final = "others"


@dataclass(slots=True)
class _Counted:
    last: TransferEnded
    count: int = 0


class RefusedLogins:
    """
    Tells the first refusal of a client at once, and those that follow once in each `INTERVAL`.

    :param clock: for timers.
    :param tell: takes the last refused request, its client, and how many there were.
    """

    def __init__(
        self, clock: IReactorTime, tell: Callable[[TransferEnded, str, int], object]
    ) -> None:
        self._tell = tell
        self._intervals = EqualTimeouts(clock, INTERVAL)
        self._counted: dict[str, _Counted] = {}

    def refused(self, event: TransferEnded) -> None:
        """:param event: a request whose credential was refused."""
        client = event.client
        if client not in self._counted and len(self._counted) >= MOST_CLIENTS:
            client = OTHERS
        counted = self._counted.get(client)
        if counted is not None:
            counted.last = event
            counted.count += 1
            return
        self._counted[client] = _Counted(event)
        self._tell(event, client, 1)
        self._intervals.start(lambda: self._passed(client))

    def stop(self) -> None:
        """Tell what has been counted; idempotent."""
        self._intervals.stop()
        counted, self._counted = self._counted, {}
        for client, each in counted.items():
            if each.count:
                self._tell(each.last, client, each.count)

    def _passed(self, client: str) -> None:
        counted = self._counted.pop(client, None)
        if counted is not None and counted.count:
            self._counted[client] = _Counted(counted.last)
            self._tell(counted.last, client, counted.count)
            self._intervals.start(lambda: self._passed(client))
