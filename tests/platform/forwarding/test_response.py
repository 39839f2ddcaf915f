"""
Relaying the body of a workspace's response.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.platform.forwarding.response import relay_body
from chatfiles.streams.outcome import ClientLeft
from tests.support.memory_client import Caller, Held, get


class Response:
    """A response whose body waits to be delivered."""

    length = 10
    stopped = False

    def deliverBody(self, protocol: Any) -> None:
        protocol.makeConnection(self)

    def stopProducing(self) -> None:
        self.stopped = True

    loseConnection = abortConnection = stopProducing


class RelayTests(SynchronousTestCase):
    """A client that disconnects just before the body begins."""

    def test_aborted_before_the_body(self) -> None:
        """The connection to the workspace is closed, as nothing reads it any more."""
        root, response = Held(), Response()
        Caller(root).send(get())
        root.requests[0].transfer.abort("client_left")
        work: Any = relay_body(root.requests[0], response, Clock(), 60.0)  # type: ignore[arg-type]
        self.failureResultOf(Deferred.fromCoroutine(work), ClientLeft)
        self.assertTrue(response.stopped)
