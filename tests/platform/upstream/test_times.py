"""
Timeouts of a request to a workspace, and its cancellation.
"""

from __future__ import annotations

from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.web.iweb import UNKNOWN_LENGTH

from chatfiles.errors import UpstreamTimeout
from tests.platform.upstream.upstream_case import (
    FILLED,
    OK,
    Upload,
    UpstreamTestCase,
)


class TimeTests(UpstreamTestCase):
    """The header timeout, and cancellation at any time."""

    def test_total(self):
        """The header timeout applies to the headers as a whole, not to each byte."""
        result = self.ask()
        for octet in FILLED[:29]:
            self.reactor.advance(1)
            self.wire.send(bytes([octet]))
        self.assertNoResult(result)
        self.reactor.advance(1)
        told = self.failureResultOf(result, UpstreamTimeout).value
        self.assertEqual((told.status, told.text), (504, "workspace did not answer"))
        self.assertTrue(self.wire.aborted)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_body_has_its_own_time(self):
        """The header timeout ends with the headers; a body can take longer."""
        result = self.ask()
        self.wire.send(OK + b"Content-Length: 2\r\n\r\na")
        collector = self.take(result)
        self.reactor.advance(1000)
        self.wire.send(b"b")
        self.assertEqual(collector.outcome, "OK:2")

    def test_includes_the_second_attempt(self):
        """Both attempts of a download share one header timeout."""
        result = self.ask()
        self.wire.send(FILLED)
        self.take(result)
        result = self.ask()
        self.reactor.advance(12)
        self.wire.lose(error.ConnectionLost())
        self.accept()
        self.reactor.advance(17.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.failureResultOf(result, UpstreamTimeout)

    def test_upload(self):
        """The header timeout of an upload begins when its body has been sent."""
        for length in (3, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            self.reactor.advance(1000)
            upload.consumer.write(b"abc")
            upload.done.callback(None)
            self.reactor.advance(29.9)
            self.assertNoResult(result)
            self.reactor.advance(0.1)
            self.failureResultOf(result, UpstreamTimeout)
            self.assertTrue(self.wire.aborted)

    def test_cancel(self):
        """Cancelling a request before its response aborts its connection at once."""
        for octets in (b"", b"HTTP/1.1 200 OK\r\n"):
            self.make()
            result = self.ask()
            self.wire.send(octets)
            result.cancel()
            self.failureResultOf(result, CancelledError)
            self.assertTrue(self.wire.aborted)
            self.reactor.advance(0)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancel_on_a_kept_connection(self):
        """A cancelled request is not sent again."""
        result = self.ask()
        self.wire.send(FILLED)
        self.take(result)
        result = self.ask()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_cancel_an_upload(self):
        """Cancelling an upload before its body is complete aborts its connection."""
        for length in (3, UNKNOWN_LENGTH):
            self.make()
            upload = Upload(length)
            result = self.ask(b"POST", body=upload)
            result.cancel()
            self.failureResultOf(result, CancelledError)
            self.assertTrue(self.wire.aborted)
