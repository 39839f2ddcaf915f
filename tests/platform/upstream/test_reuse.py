"""
Reuse of connections: when, for which requests, and without mixing up responses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from chatfiles.errors import UpstreamTimeout
from tests.platform.upstream.upstream_case import (
    CHUNKED,
    FILLED,
    INJECTED,
    OK,
    Collector,
    Upload,
    UpstreamTestCase,
)


class ReuseTests(UpstreamTestCase):
    """Kept connections, which save connecting again and never cost a response."""

    def exchange(self, answer: bytes = FILLED) -> Collector:
        """:return: the collector of the body of a whole exchange."""
        result = self.ask()
        self.wire.send(answer)
        return self.take(result)

    def test_reused(self):
        """One connection serves one request after another."""
        for _ in range(5):
            self.assertEqual(self.exchange().outcome, "OK:3")
        self.assertEqual(len(self.wires), 1)
        self.assertEqual(self.wire.sent().count(b"GET "), 5)

    def test_not_shared(self):
        """A connection serves one request at a time, and only one host and port."""
        self.exchange()
        self.ask()
        self.ask()
        self.ask(url=b"http://8.8.8.8:8001/x")
        self.ask(url=b"http://8.8.4.4:8000/x")
        self.assertEqual(len(self.wires), 4)

    def test_not_kept(self):
        """
        A connection that the server closes after the response, as it says or implies, is not
        reused.
        """
        for answer in (
            OK + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc",
            OK + b"Connection: Keep-Alive, CLOSE\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        ):
            self.make()
            self.exchange(answer)
            self.exchange()
            self.assertEqual(len(self.wires), 2, answer)
            self.assertTrue(self.wires[0].disconnecting)

    def test_injected_behind(self):
        """
        A response after the response is not served to the next client; its connection is not
        reused.
        """
        for answer in (
            FILLED + INJECTED,
            CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + INJECTED,
            OK + b"Content-Length: 0\r\n\r\n" + INJECTED,
            b"HTTP/1.1 304 Not Modified\r\n\r\n" + INJECTED,
            FILLED + b"\r\n",
        ):
            self.make()
            self.assertNotIn(b"EVIL", b"".join(self.exchange(answer).pieces))
            self.assertEqual(b"".join(self.exchange().pieces), b"abc")
            self.assertEqual(len(self.wires), 2, answer)
            self.assertTrue(self.wires[0].disconnecting)

    def test_injected_later(self):
        """A response on an idle connection closes it at once, before a request can receive it."""
        self.exchange()
        self.wire.send(INJECTED)
        self.assertTrue(self.wire.aborted)
        self.assertEqual(b"".join(self.exchange().pieces), b"abc")
        self.assertEqual(len(self.wires), 2)

    def test_body_in_two_reads(self):
        """Bytes after a body are also detected when the body arrives in several reads."""
        result = self.ask()
        self.wire.send(FILLED[:-2])
        collector = self.take(result)
        self.wire.send(b"bc" + INJECTED)
        self.assertEqual(collector.outcome, "OK:3")
        self.assertTrue(self.wire.disconnecting)

    def test_closed_while_idle(self):
        """An idle connection that the workspace closes is forgotten at once."""
        self.exchange()
        self.wire.lose(error.ConnectionDone())
        self.reactor.advance(10)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.exchange().outcome, "OK:3")
        self.assertEqual(len(self.wires), 2)

    def test_too_long_idle(self):
        """The platform closes an idle connection well before servers usually do."""
        self.exchange()
        self.reactor.pump([1.0] * 31)
        self.assertFalse(self.wire.open)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_dead_connection(self):
        """
        A download on a kept connection that turns out to be dead is sent once more on a new one.
        """
        for method, reason in [
            (b"GET", error.ConnectionDone()),
            (b"GET", error.ConnectionLost()),
            (b"HEAD", error.ConnectionLost()),
        ]:
            self.make()
            self.exchange()
            result = self.ask(method)
            self.assertEqual(len(self.wires), 1)
            self.wire.lose(reason)
            self.accept()
            self.assertTrue(self.wire.sent().startswith(method))
            self.wire.send(FILLED if method == b"GET" else OK + b"\r\n")
            self.successResultOf(result)
            self.assertEqual(len(self.wires), 2)

    def test_dead_twice(self):
        """If the new connection is lost too, the workspace is unreachable."""
        self.exchange()
        self.exchange()
        result = self.ask()
        self.wire.lose(error.ConnectionLost())
        self.accept().lose(error.ConnectionLost())
        self.failed(result, "workspace_unreachable")
        self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_silent(self):
        """
        If a kept connection is silent for a third of the header timeout, the request is also sent
        on a new one. The other end may have vanished without closing, or may hang in an earlier
        request.
        """
        for method in (b"GET", b"HEAD"):
            self.make()
            self.exchange()
            result = self.ask(method)
            self.reactor.advance(9.9)
            self.assertEqual(len(self.reactor.tcpClients), 1)
            self.reactor.advance(0.1)
            self.accept()
            self.assertTrue(self.wire.sent().startswith(method))
            self.reactor.advance(19.9)
            self.assertNoResult(result)
            self.wire.send(FILLED if method == b"GET" else OK + b"\r\n")
            self.successResultOf(result)
            self.assertEqual([wire.aborted for wire in self.wires], [True, False])

    def test_slow(self):
        """
        A kept connection that is only slow can still respond; the new connection is then aborted.
        """
        for connected in (True, False):
            self.make()
            self.exchange()
            result = self.ask()
            self.reactor.advance(10)
            if connected:
                self.accept()
            self.reactor.advance(19.9)
            self.wires[0].send(FILLED)
            self.assertEqual(self.take(result).outcome, "OK:3")
            self.assertEqual(len(self.reactor.tcpClients), 2)
            if connected:
                self.assertTrue(self.wires[1].aborted)
            self.reactor.advance(0)
            self.ask()
            self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_silent_and_refused(self):
        """If the second connection cannot be made, the request continues on the first one."""
        for ends in ("answer", "loss", "time"):
            self.make()
            self.exchange()
            result = self.ask()
            self.reactor.advance(10)
            factory = self.reactor.tcpClients[-1][2]
            reason = Failure(error.ConnectionRefusedError())
            factory.clientConnectionFailed(self.reactor.connectors[-1], reason)
            self.assertNoResult(result)
            if ends == "answer":
                self.wire.send(FILLED)
                self.successResultOf(result)
            elif ends == "loss":
                self.wire.lose(error.ConnectionLost())
                self.failed(result, "workspace_unreachable")
            else:
                self.reactor.advance(20)
                self.failureResultOf(result, UpstreamTimeout)
            self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_silent_and_cancelled(self):
        """Cancelling aborts both connections."""
        self.exchange()
        result = self.ask()
        self.reactor.advance(10)
        self.accept()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual([wire.aborted for wire in self.wires], [True, True])
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_silent_twice(self):
        """Both connections share one header timeout."""
        self.exchange()
        result = self.ask()
        self.reactor.advance(10)
        self.accept()
        self.reactor.advance(19.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.failureResultOf(result, UpstreamTimeout)
        self.assertEqual([wire.aborted for wire in self.wires], [True, True])
        self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_not_silent(self):
        """A response that has begun has the whole header timeout."""
        self.exchange()
        result = self.ask()
        self.wire.send(b"H")
        self.reactor.advance(10)
        self.assertFalse(self.wire.disconnecting)
        self.reactor.advance(19.9)
        self.wire.send(FILLED[1:])
        self.assertEqual(self.take(result).outcome, "OK:3")
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_dead_after_an_octet(self):
        """Once a response has begun, the request is not sent again."""
        for octets in (b"H", b"HTTP/1.1 100 Continue\r\n\r\n"):
            self.make()
            self.exchange()
            result = self.ask()
            self.wire.send(octets)
            self.wire.lose(error.ConnectionLost())
            self.failed(result, "workspace_answered_badly")
            self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_new_connection_dies(self):
        """A request on a new connection is sent once."""
        result = self.ask()
        self.wire.lose(error.ConnectionLost())
        self.failed(result, "workspace_unreachable")
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_upload_once(self):
        """An upload uses a new connection, as it cannot be sent twice."""
        self.exchange()
        upload = Upload()
        result = self.ask(b"POST", body=upload)
        self.assertEqual(len(self.wires), 2)
        self.wire.lose(error.ConnectionLost())
        self.failed(result, "workspace_unreachable")
        self.assertTrue(upload.stopped)
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.ask(b"POST")
        self.assertEqual(len(self.wires), 3)

    def asking_again(self, nested: list[Deferred[Any]]) -> Callable[[Any], Any]:
        """:return: a callback that makes a request and passes its argument on."""

        def ask_again(response: Any) -> Any:
            nested.append(self.ask())
            return response

        return ask_again

    def test_again_within_the_answer(self):
        """A request made while a response still arrives uses another connection."""
        nested: list[Deferred[Any]] = []
        result = self.ask().addCallback(self.asking_again(nested))
        self.wire.send(FILLED[:-1])
        self.assertEqual(len(self.wires), 2)
        self.wires[0].send(FILLED[-1:])
        self.wire.send(FILLED)
        self.assertEqual(self.take(result).outcome, "OK:3")
        self.assertEqual(self.take(nested[0]).outcome, "OK:3")

    def test_again_within_an_empty_answer(self):
        """
        Bytes after an empty response are not taken for the response to a request made meanwhile.
        """
        nested: list[Deferred[Any]] = []
        self.ask().addCallback(self.asking_again(nested))
        self.wire.send(OK + b"Content-Length: 0\r\n\r\n" + INJECTED)
        self.assertEqual(len(self.wires), 2)
        self.wire.send(FILLED)
        self.assertEqual(b"".join(self.take(nested[0]).pieces), b"abc")

    def test_close(self):
        """
        Closing the agent closes the kept connections; one that becomes idle later is not kept.
        """
        result = self.ask()
        self.ask()
        self.wires[0].send(FILLED)
        self.take(result)
        closing = self.agent.close()
        self.assertNoResult(closing)
        self.reactor.advance(0)
        self.successResultOf(closing)
        self.assertEqual([wire.open for wire in self.wires], [False, True])
        self.wires[1].send(FILLED)
        self.reactor.advance(0)
        self.assertFalse(self.wires[1].open)
