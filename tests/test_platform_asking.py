"""
CONTRACT 9: an upload is never sent twice, also when it is sent on a connection that was kept.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface.verify import verifyObject

from chatfiles.errors import TooLarge
from chatfiles.platform.asking import CONTINUE_TIMEOUT, SILENCE, AskedBody
from chatfiles.platform.connection import IWatchfulBody
from tests.test_platform_upstream import FILLED, OK, Collector, Upload, UpstreamTestCase

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


class Watchful(Upload):
    """Notes what it is told."""

    def __init__(self, length: Any = UNKNOWN_LENGTH) -> None:
        super().__init__(length)
        self.calls: list[object] = []

    def sending_to(self, transport: Any) -> None:
        self.calls.append("sending_to")

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")


class AskingTests(UpstreamTestCase):
    """With a connection that has served a request before."""

    def setUp(self) -> None:
        super().setUp()
        self.keep()

    def keep(self) -> None:
        """Have a connection that can be used."""
        result = self.ask()
        self.wire.send(FILLED)
        self.assertEqual(self.take(result).outcome, "OK:3")
        self.wire.sent()

    def upload(self, length: Any = 3) -> Deferred[Any]:
        """Begin an upload; `body` is what is sent."""
        self.body = Upload(length)
        self.dialled = len(self.wires)
        return self.ask(b"POST", headers=Headers({"X-A": ["b"]}), body=self.body)

    def assert_on_a_new_connection(self, result: Deferred[Any]) -> None:
        """It begins there as if it were the first time, and can be completed."""
        self.accept()
        self.assertEqual(len(self.wires), self.dialled + 1)
        sent = self.wire.sent()
        self.assertTrue(sent.startswith(b"POST "))
        self.assertIn(b"\r\nX-A: b\r\n", sent)
        self.assertNotIn(b"Expect", sent)
        self.assertFalse(self.body.stopped)
        self.finish(result)

    def assert_no_timer(self) -> None:
        """Nothing waits any more, but to look after kept connections one last time."""
        self.reactor.advance(0)
        self.reactor.advance(10)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def finish(self, result: Deferred[Any]) -> None:
        self.body.consumer.write(b"abc")
        self.body.done.callback(None)
        self.assertIn(b"abc", self.wire.sent())
        self.assertNoResult(result)
        self.wire.send(FILLED)
        self.assertEqual(self.take(result).outcome, "OK:3")

    def test_asked(self) -> None:
        """A small upload pays for a connection of its own; or sends what nobody has asked for."""
        for length in (3, UNKNOWN_LENGTH):
            result = self.upload(length)
            self.assertEqual(len(self.wires), 1)
            sent = self.wire.sent()
            self.assertIn(b"\r\nExpect: 100-continue\r\n", sent)
            self.assertTrue(sent.endswith(b"\r\n\r\n"))
            self.assertIsNone(self.body.consumer)
            self.wire.send(HINTS + CONTINUE[:9])
            self.assertIsNone(self.body.consumer)
            self.wire.send(CONTINUE[9:])
            self.wire.send(HINTS)
            self.finish(result)
            self.reactor.advance(CONTINUE_TIMEOUT)
            self.assertFalse(self.wire.aborted)

    def test_dead(self) -> None:
        """An upload fails because a kept connection had died; or its body is lost with that."""
        for reason in (error.ConnectionDone(), error.ConnectionLost()):
            for begins in (b"", HINTS, b"HTTP/1.1 100 Co"):
                self.setUp()
                result = self.upload()
                self.wire.send(begins)
                self.wire.lose(reason)
                self.assert_on_a_new_connection(result)

    def test_dead_twice(self) -> None:
        """An upload is tried again and again."""
        result = self.upload()
        self.wire.lose(error.ConnectionLost())
        self.accept().lose(error.ConnectionLost())
        self.failed(result, "workspace_unreachable")
        self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_never_twice(self) -> None:
        """An upload is sent twice, though some of it may have arrived."""
        for complete in (False, True):
            self.setUp()
            result = self.upload()
            self.wire.send(CONTINUE)
            if complete:
                self.body.consumer.write(b"abc")
                self.body.done.callback(None)
            self.wire.lose(error.ConnectionLost())
            told = "workspace_answered_badly" if complete else "workspace_unreachable"
            self.failed(result, told)
            self.assertEqual(len(self.reactor.tcpClients), 1)
            self.assertIs(self.body.stopped, not complete)

    def test_silent(self) -> None:
        """A workspace that does not ask is waited for without end, or each time anew."""
        result = self.upload()
        self.reactor.advance(CONTINUE_TIMEOUT / 2)
        self.assertFalse(self.wire.aborted)
        self.reactor.advance(CONTINUE_TIMEOUT / 2)
        self.assertTrue(self.wire.aborted)
        self.reactor.advance(0)
        self.assert_on_a_new_connection(result)
        result = self.upload()  # it is not tried again, while that connection would be there
        self.assertEqual(len(self.wires), self.dialled + 1)
        self.assertNotIn(b"Expect", self.wire.sent())
        self.finish(result)
        self.reactor.pump([1.0] * round(SILENCE))
        self.keep()
        self.upload()
        self.assertIn(b"Expect", self.wire.sent())

    def test_answered_unasked(self) -> None:
        """A refusal waits for a body that nobody wants; or the body is sent all the same."""
        refusal = b"HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\nabc"
        for answer in (refusal, CONTINUE + refusal):
            self.setUp()
            result = self.upload()
            self.wire.send(answer)
            collector = Collector()
            response = self.successResultOf(result)
            response.deliverBody(collector)
            self.assertEqual((response.code, collector.outcome), (401, "OK:3"))
            self.assertIsNone(self.body.consumer)
            self.assertTrue(self.wire.aborted)  # what would follow is not a request
            self.assert_no_timer()

    def test_answered_badly(self) -> None:
        """Nonsense makes the upload go elsewhere, as if nobody had answered."""
        result = self.upload()
        self.wire.send(b"nonsense\r\n")
        self.failed(result, "workspace_answered_badly")
        self.assertEqual(len(self.wires), 1)

    def test_cancelled(self) -> None:
        """A caller that leaves meanwhile has the upload begin on a new connection."""
        for asked in (False, True):
            self.setUp()
            result = self.upload()
            if asked:
                self.wire.send(CONTINUE)
            result.cancel()
            self.reactor.advance(0)
            self.failureResultOf(result, CancelledError)
            self.assertTrue(self.wire.aborted)
            self.assertEqual(len(self.reactor.tcpClients), 1)
            self.assert_no_timer()

    def test_body_fails(self) -> None:
        """What stops the body is told as a failure of the workspace."""
        result = self.upload()
        self.wire.send(CONTINUE)
        self.body.done.errback(TooLarge())
        self.failureResultOf(result, TooLarge)
        self.assertTrue(self.wire.aborted)

    def test_early(self) -> None:
        """An answer that comes while the body is sent is taken as on any other connection."""
        result = self.upload(9)
        self.wire.send(CONTINUE)
        self.body.consumer.write(b"abc")
        self.wire.send(OK + b"Content-Length: 0\r\n\r\n")
        self.assertEqual(self.take(result).outcome, "OK:0")
        self.assertTrue(self.body.stopped)
        self.assertTrue(self.wire.aborted)


class AskedBodyTests(SynchronousTestCase):
    """`AskedBody`."""

    def setUp(self) -> None:
        self.body = Watchful(7)
        self.asked = AskedBody(self.body)

    def test_interface(self) -> None:
        """The connection does not recognise it, or what it stands for."""
        verifyObject(IWatchfulBody, self.asked)
        self.assertEqual(self.asked.length, 7)

    def test_left_alone(self) -> None:
        """A body that has not begun is stopped, and cannot begin elsewhere."""
        consumer: Any = object()
        self.asked.startProducing(consumer)
        self.asked.pauseProducing()
        self.asked.resumeProducing()
        self.asked.stopProducing()
        self.asked.ask()
        self.assertFalse(self.asked.begun)
        self.assertEqual(
            (self.body.calls, self.body.stopped, self.body.consumer), ([], False, None)
        )

    def test_handed_on(self) -> None:
        """A body that has begun is not held back, or begins twice."""
        consumer: Any = object()
        done = self.asked.startProducing(consumer)
        self.asked.ask()
        self.asked.ask()
        self.assertTrue(self.asked.begun)
        self.assertIs(self.body.consumer, consumer)
        self.asked.pauseProducing()
        self.asked.resumeProducing()
        self.asked.stopProducing()
        self.assertEqual((self.body.calls, self.body.stopped), (["pause", "resume"], True))
        self.body.done.callback(None)
        self.successResultOf(done)
