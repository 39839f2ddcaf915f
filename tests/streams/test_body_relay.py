"""
Relaying an upstream's response to the client: every byte, with back-pressure; an interrupted
response never looks complete.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss

from chatfiles.http.server.request import Request
from chatfiles.streams.body_relay import BodyRelay
from tests.support.memory_client import Caller, get
from tests.support.resources import Endpoint

DONE = ResponseDone()
CUTS = (ResponseFailed([Failure(ConnectionLost())]), PotentialDataLoss(), ConnectionLost())


class Relaying(Endpoint):
    """Relays what the test lets the upstream send."""

    isLeaf = True
    operation = "relay"
    relay: BodyRelay
    request: Request

    def __init__(self, expected: int | None) -> None:
        super().__init__()
        self.expected = expected

    async def render_GET(self, request: Request) -> None:
        if self.expected is not None:
            request.setHeader(b"Content-Length", b"%d" % self.expected)
        request.write(b"")
        self.request = request
        self.relay = BodyRelay(request, self.expected)
        await self.relay.done


class Upstream(StringTransport):
    """Counts the calls of `stopProducing`."""

    stops = 0

    def stopProducing(self) -> None:
        self.stops += 1
        super().stopProducing()


class RelayTests(SynchronousTestCase):
    """`BodyRelay`, in memory."""

    def start(self, expected: int | None) -> None:
        self.root = Relaying(expected)
        self.caller = Caller(self.root).send(get())
        self.relay = self.root.relay
        self.upstream = Upstream()
        self.relay.makeConnection(self.upstream)

    def end(self, reason: Exception) -> None:
        self.relay.connectionLost(Failure(reason))
        self.caller.settle()

    def test_whole(self) -> None:
        """Every byte is relayed, the response is completed, and the connection is kept."""
        for expected in (10, None):
            self.start(expected)
            self.relay.dataReceived(b"01234")
            self.relay.dataReceived(b"56789")
            self.assertFalse(self.relay.done.called)
            self.end(DONE)
            answer = self.caller.answer()
            self.assertEqual((answer.body, answer.complete), (b"0123456789", True))
            self.assertEqual((self.upstream.stops, self.caller.lost), (0, False))
            self.assertEqual(len(self.caller.send(get()).answers()), 2)

    def test_cut(self) -> None:
        """
        An interrupted upstream response aborts the client's connection, chunked or not, so that a
        part never looks complete.
        """
        for expected in (10, None):
            for reason in CUTS:
                self.start(expected)
                self.relay.dataReceived(b"01234")
                self.end(reason)
                answer = self.caller.answer()
                self.assertEqual((answer.body, answer.complete), (b"01234", False))
                self.assertTrue(self.caller.wire.aborted)
                self.assertEqual(self.root.request.transfer.outcome, "upstream_cut")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_other_length(self) -> None:
        """
        A body of another length than announced is interrupted, even if the upstream ends it
        properly.
        """
        for data in (b"", b"012345678", b"0123456789a"):
            self.start(10)
            self.relay.dataReceived(data)
            self.end(DONE)
            self.assertTrue(self.caller.wire.aborted, data)
            self.assertEqual(self.root.request.transfer.outcome, "upstream_cut")

    def test_back_pressure(self) -> None:
        """A client that does not read pauses the upstream."""
        self.start(None)
        self.caller.channel.pauseProducing()
        self.assertEqual((self.upstream.producerState, self.relay.paused), ("paused", True))
        self.relay.dataReceived(b"on its way already")
        self.caller.channel.resumeProducing()
        self.assertEqual((self.upstream.producerState, self.relay.paused), ("producing", False))
        self.end(DONE)
        self.assertEqual(self.caller.answer().body, b"on its way already")

    def test_end_while_paused(self) -> None:
        """
        If the upstream ends while the client is paused, the transfer ends when the client resumes.
        """
        self.start(5)
        self.relay.dataReceived(b"01234")
        self.caller.channel.pauseProducing()
        self.end(DONE)
        self.assertFalse(self.relay.done.called)
        self.caller.channel.resumeProducing()
        self.assertTrue(self.relay.done.called)
        self.assertTrue(self.caller.answer().complete)
        self.assertEqual(self.upstream.producerState, "paused")  # it has ended, and is not resumed

    def test_cut_while_paused(self) -> None:
        """An interrupted upstream aborts the response at once, even while the client is paused."""
        self.start(10)
        self.relay.dataReceived(b"01234")
        self.caller.channel.pauseProducing()
        self.end(CUTS[0])
        self.assertTrue(self.caller.wire.aborted)

    def test_caller_leaves(self) -> None:
        """
        If the client disconnects, the upstream is stopped once, and its later bytes and end are
        ignored.
        """
        for paused in (False, True):
            self.start(10)
            if paused:
                self.caller.channel.pauseProducing()
            self.caller.leave()
            self.assertEqual((self.upstream.stops, self.relay.done.called), (1, True))
            self.relay.dataReceived(b"late")
            self.relay.connectionLost(Failure(ConnectionLost()))
            self.assertEqual(self.root.request.transfer.outcome, "client_left")
            self.assertEqual(self.caller.site.running, 0)

    def test_transport_stops(self) -> None:
        """
        The upstream is stopped as soon as the transport calls its producer's `stopProducing`, which
        is before it reports the disconnect.
        """
        self.start(10)
        self.caller.channel.stopProducing()
        self.assertEqual(self.upstream.stops, 1)
        self.caller.leave()
        self.relay.connectionLost(Failure(ConnectionLost()))
        self.assertTrue(self.relay.done.called)

    def test_caller_leaves_behind_the_end(self) -> None:
        """
        If the client disconnects after the upstream's end, before it has read the rest, the
        transfer ends as ``client_left``.
        """
        self.start(5)
        self.relay.dataReceived(b"01234")
        self.caller.channel.pauseProducing()
        self.end(DONE)
        self.caller.leave()
        self.assertEqual((self.relay.done.called, self.upstream.stops), (True, 0))
        self.assertEqual(self.root.request.transfer.outcome, "client_left")

    def test_given_up_early(self) -> None:
        """
        If the client disconnects before the upstream's body arrives, the relay ends without an
        error.
        """
        self.root = Relaying(5)
        caller = Caller(self.root).send(get())
        caller.leave()
        self.assertTrue(self.root.relay.done.called)

    def test_upstream_state(self) -> None:
        """
        The upstream's state changes with each byte, and all the time while the relay is paused: our
        own back-pressure does not count as the upstream's stall.
        """
        self.start(None)
        state = self.relay.upstream_state
        self.assertEqual(state(), state())
        silent = state()
        self.relay.dataReceived(b"x")
        self.assertNotEqual(state(), silent)
        self.caller.channel.pauseProducing()
        self.assertNotEqual(state(), state())
        self.caller.channel.resumeProducing()
        self.assertEqual(state(), state())
