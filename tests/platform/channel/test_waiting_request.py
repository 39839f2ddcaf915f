"""
Tests for `chatfiles.platform.channel.waiting_request`.
"""

from __future__ import annotations

import gc

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import ChatfilesError
from chatfiles.platform.channel.relays import RelayedLine
from chatfiles.platform.channel.waiting_request import Waiter
from chatfiles.platform.error_texts import workspace_busy
from chatfiles.platform.upstream.connection import WorkspaceConnection
from chatfiles.streams.equal_timeouts import EqualTimeouts


class Stubborn:
    """
    A search that fails in its own way when it is cancelled.

    :param failure: how.
    """

    def __init__(self, failure: Exception) -> None:
        self.error: ChatfilesError = workspace_busy()
        self._result: Deferred[WorkspaceConnection] = Deferred(lambda it: it.errback(failure))

    def start(self) -> Deferred[WorkspaceConnection]:
        """See `Elsewhere`."""
        return self._result


class WaiterTests(SynchronousTestCase):
    """A request that searches elsewhere and leaves."""

    def leave(self, failure: Exception) -> None:
        """Cancel a request whose search then fails."""
        clock = Clock()
        moments, timeouts = EqualTimeouts(clock, 1.0), EqualTimeouts(clock, 10.0)
        waiter = Waiter(
            RelayedLine(lambda _: True), clock, 1.0, moments, timeouts, lambda: Stubborn(failure)
        )
        result = waiter.start()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        moments.stop()
        timeouts.stop()

    def test_search_fails(self) -> None:
        """A search that fails for a known reason when it is cancelled concerns nobody."""
        self.leave(workspace_busy())
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_fault(self) -> None:
        """A fault of the program is logged."""
        self.leave(ZeroDivisionError())
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
