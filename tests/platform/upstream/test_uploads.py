"""
Requests with a body: how far it is sent, and what ends it.
"""

from __future__ import annotations

from twisted.internet import error
from twisted.web.iweb import UNKNOWN_LENGTH

from chatfiles.errors import TooLarge
from tests.platform.upstream.upstream_case import (
    FILLED,
    OK,
    Collector,
    Upload,
    UpstreamTestCase,
    deliver,
)


class UploadTests(UpstreamTestCase):
    """Uploads, which end with the workspace's response, whenever it arrives, or with an error."""

    def test_answered(self):
        """The usual order: the whole body, then the response, and the end of the connection."""
        for length in (3, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            upload.consumer.write(b"abc")
            upload.done.callback(None)
            self.assertNoResult(result)
            self.assertIn(b"\r\nConnection: close\r\n", self.wire.sent())
            self.wire.send(FILLED)
            self.assertEqual(self.take(result).outcome, "OK:3")
            # What has been written may still be unread, or unsent; it is discarded.
            self.assertTrue(self.wire.aborted)
            self.ask()
            self.assertEqual(len(self.wires), 2)

    def test_answered_early(self):
        """A response before the end of the body is accepted; the rest of the body is stopped."""
        refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge"
        for length in (9, UNKNOWN_LENGTH):
            for size in (len(refusal), 7, 1):
                self.make()
                upload = Upload(length)
                result = self.ask(b"POST", body=upload)
                upload.consumer.write(b"abc")
                self.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.assertFalse(upload.stopped)
                collector = Collector()
                result.addCallback(deliver, collector)
                for start in range(0, len(refusal), size):
                    self.wire.send(refusal[start : start + size])
                self.successResultOf(result)
                self.assertEqual(collector.outcome, "OK:5")
                self.assertTrue(upload.stopped)
                self.assertIsNone(self.wire.producer)
                self.assertTrue(self.wire.aborted)
                self.reactor.advance(0)
                self.assertFalse(self.wire.open)

    def test_stopped_producer_fails(self):
        """An error of a body that has been stopped is ignored."""
        upload = Upload()
        result = self.ask(b"POST", body=upload)
        self.wire.send(FILLED)
        self.assertEqual(self.take(result).outcome, "OK:3")
        upload.done.errback(ZeroDivisionError())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stopped_producer_ends(self):
        """A body that ends after the response starts no timeout."""
        for length in (3, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            upload.consumer.write(b"abc")
            self.wire.send(FILLED)
            self.assertEqual(self.take(result).outcome, "OK:3")
            upload.done.callback(None)
            self.reactor.advance(0)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_answered_early_and_cut(self):
        """An early response that is interrupted is reported as aborted."""
        result = self.ask(b"POST", body=Upload())
        self.wire.send(OK + b"Content-Length: 9\r\n\r\nabc")
        collector = self.take(result)
        self.wire.lose(error.ConnectionLost())
        self.assertEqual(collector.outcome, "ABORT")

    def test_answered_badly(self):
        """An invalid response during an upload ends it."""
        for length in (9, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            self.wire.send(b"nonsense\r\n")
            self.failed(result, "workspace_answered_badly")
            self.assertTrue(upload.stopped)
            self.assertTrue(self.wire.aborted)
            self.reactor.advance(0)
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_cut(self):
        """A workspace that closes the connection during an upload is unreachable."""
        for length in (9, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            self.wire.lose(error.ConnectionLost())
            self.failed(result, "workspace_unreachable")
            self.assertTrue(upload.stopped)

    def test_body_fails(self):
        """
        The error that stops a body, such as an exceeded limit, is reported to the client, not a
        502.
        """
        for length in (9, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            upload.done.errback(TooLarge())
            self.failureResultOf(result, TooLarge)
            self.assertTrue(self.wire.aborted)
