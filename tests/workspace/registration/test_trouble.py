"""
Tests for `chatfiles.workspace.registration`: platforms that fail, hang, or send too much; the log.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Any

from OpenSSL.SSL import Error as TLSError
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError, ConnectionDone, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from chatfiles.workspace.registration import client
from chatfiles.workspace.registration.client import RegistryClient
from chatfiles.workspace.registration.service import RegistrationService
from tests.workspace.registration.registration_case import (
    ADVERTISED,
    REGISTER,
    SECRET,
    TOKEN,
    WORKSPACE,
    RegistrationCase,
    at_once,
)


class Silent:
    """An HTTP client whose requests the test completes."""

    def __init__(self) -> None:
        self.pending: list[Deferred[Any]] = []
        self.cancelled = 0

    def request(self, method: str, url: str, **_: Any) -> Deferred[Any]:
        def cancel(_: object) -> None:
            self.cancelled += 1

        self.pending.append(Deferred(cancel))
        return self.pending[-1]


class Response:
    """A response whose body the test delivers."""

    def __init__(self, code: int = 200) -> None:
        self.code = code
        self.headers = Headers()
        self.protocol: Any = None
        self.stopped = 0

    def deliverBody(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def stopProducing(self) -> None:
        self.stopped += 1


class TroubleTests(RegistrationCase):
    """Requests without a complete response."""

    def setUp(self) -> None:
        super().setUp()
        self.silent = Silent()

    def test_no_answer(self) -> None:
        """
        A request without a response is cancelled and logged after 10 seconds, and another one
        follows.
        """
        with capturedLogs() as events:
            self.start(self.silent, interval=10_000.0)
            self.advance(9.9)
            self.assertEqual(self.silent.cancelled, 0)
            self.advance(0.1)
        self.assertEqual(self.silent.cancelled, 1)
        self.assertIn("no response (none within 10 seconds)", self.log(events))
        self.advance(1)
        self.assertEqual(len(self.silent.pending), 2)

    def test_body_stalls(self) -> None:
        """
        A response whose body stalls is closed and discarded after 10 seconds, and another request
        follows.
        """
        self.start(self.silent, interval=10_000.0)
        response = Response()
        self.silent.pending[0].callback(response)
        response.protocol.dataReceived(b'{"platform_inbound_secret": "x"')
        self.advance(10)
        self.assertEqual(response.stopped, 1)
        response.protocol.connectionLost(Failure(ResponseDone()))
        self.assertIsNone(self.secret_file.read())
        self.advance(1)
        self.assertEqual(len(self.silent.pending), 2)

    def test_body_too_long(self) -> None:
        """
        A response longer than `MAX_RESPONSE` is closed and discarded, so that it does not fill the
        memory.
        """
        enrolment = self.start(self.silent, interval=10_000.0)
        response = Response()
        self.silent.pending[0].callback(response)
        body = b'{"platform_inbound_secret": "x", "more": "' + b"m" * client.MAX_RESPONSE
        for at in range(0, len(body), 1000):
            response.protocol.dataReceived(body[at : at + 1000])
        self.assertEqual(response.stopped, 1)
        response.protocol.dataReceived(b'"}')
        response.protocol.connectionLost(Failure(ResponseDone()))
        self.assertFalse(enrolment.registered)
        self.assertIsNone(self.secret_file.read())
        self.advance(1)
        self.assertEqual(len(self.silent.pending), 2)

    def test_body_cut(self) -> None:
        """
        An interrupted response does not count; one that ends when its connection is closed does.
        """
        for reason, registered in (
            (ResponseDone(), True),
            (PotentialDataLoss(), True),
            (ResponseFailed([Failure(ResponseDone())]), False),
        ):
            silent = Silent()
            enrolment = self.start(silent, interval=10_000.0)
            response = Response()
            silent.pending[0].callback(response)
            response.protocol.dataReceived(b"{}")
            response.protocol.connectionLost(Failure(reason))
            self.assertIs(enrolment.registered, registered, reason)
            enrolment.stopService()

    def test_reasons(self) -> None:
        """The log says why a request failed, without what the other end has sent."""
        for error, told in (
            (Refused(), "no response (the connection was refused)"),
            (DNSLookupError("no such host"), "the host name could not be looked up"),
            (
                ResponseNeverReceived([Failure(TLSError([("SSL", "", "alert 116")]))]),
                "no response (TLS: alert 116)",
            ),
            (ResponseNeverReceived([Failure(TLSError())]), "no secure connection"),
            (ResponseNeverReceived([Failure(ConnectionDone())]), "the connection was closed"),
            (
                ResponseFailed([Failure(ValueError(f"bad line {SECRET}"))]),
                "an unexpected error, ValueError",
            ),
            (ConnectError(osError=errno.ENETUNREACH), "Network is unreachable"),
        ):
            with capturedLogs() as events:
                self.start(self.silent, interval=10_000.0)
                self.silent.pending[-1].errback(error)
            self.assertIn(told, self.log(events))
            self.assertNotIn(SECRET, self.log(events))

    def test_stop(self) -> None:
        """
        Stopping does not wait for the platform: it cancels the request or the retry, and logs
        nothing.
        """
        response = Response()
        for prepare, stopped in (
            (lambda: None, lambda: self.silent.cancelled),
            (lambda: self.silent.pending[0].callback(response), lambda: response.stopped),
            (lambda: self.silent.pending[0].errback(Refused()), lambda: 1),
        ):
            self.silent = Silent()
            enrolment = self.start(self.silent)
            prepare()
            with capturedLogs() as events:
                self.successResultOf(enrolment.stopService())
            self.assertEqual(stopped(), 1)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertEqual(self.log(events), "")
            self.assertFalse(enrolment.registered)
            self.successResultOf(enrolment.stopService())

    def test_stop_with_a_stubborn_client(self) -> None:
        """
        After a stop, no request follows even if the client reports another error than the
        cancellation.
        """
        asked: list[Deferred[Any]] = []

        class Stubborn:
            def request(self, method: str, url: str, **_: Any) -> Deferred[Any]:
                asked.append(
                    Deferred(lambda d: d.errback(ResponseNeverReceived([Failure(Refused())])))
                )
                return asked[-1]

        enrolment = self.start(Stubborn())
        self.successResultOf(enrolment.stopService())
        self.assertEqual((len(asked), self.clock.getDelayedCalls()), (1, []))

    def test_start_again(self) -> None:
        """A service that is started again registers again."""
        enrolment = self.start()
        self.successResultOf(enrolment.stopService())
        enrolment.startService()
        self.flush()
        self.assertEqual(self.platform.routes(), ["register", "register"])

    def test_thread_fails(self) -> None:
        """An unexpected failure is logged, and the registration is retried."""
        attempts: list[int] = []

        def broken(function: Callable[[], Any]) -> Awaitable[Any]:
            attempts.append(1)
            return fail(RuntimeError("no threads"))

        with capturedLogs() as events:
            self.start(in_thread=broken, interval=10_000.0)
            self.next_request()
        self.assertEqual(len(attempts), 2)
        self.assertIn("RuntimeError", self.log(events))


class SecrecyTests(RegistrationCase):
    """Secrets stay out of the log."""

    def test_never_logged(self) -> None:
        """
        Neither a token nor a secret is logged, whichever side has sent it, and no control
        character.
        """
        self.token_file.write(TOKEN)
        echo = {"error": f"bad token {TOKEN}\r\n\x1b[31mfake line", "auth_token": SECRET}
        good = {"platform_inbound_secret": SECRET, "auth_token": TOKEN}
        bad = {"platform_inbound_secret": SECRET + " x", "auth_token": [TOKEN]}
        with capturedLogs() as events:
            for status, body in ((400, echo), (200, good), (200, bad), (500, echo)):
                self.platform.replies[REGISTER] = [(status, {}, body)]
                self.start().stopService()
        told = self.log(events)
        self.assertIn("bad token …", told)
        self.assertNotIn("\x1b", told)
        for secret in (TOKEN, SECRET):
            self.assertNotIn(secret, told)
            self.assertNotIn(secret, repr(events))

    def test_answer_shows_nothing(self) -> None:
        """The ``repr`` of a response, as in a traceback, does not show the token."""
        self.platform.replies[REGISTER] = [(200, {}, {"auth_token": TOKEN})]
        client = RegistryClient(self.clock, self.platform.client, self.platform.base)
        waiting = Deferred.fromCoroutine(client.post("registry/register", {}, None))
        self.flush()
        answer = self.successResultOf(waiting)
        self.assertTrue(answer.good)
        self.assertNotIn(TOKEN, repr(answer))


class RealClientTests(RegistrationCase):
    """The service with treq's own client over Twisted's own agent."""

    def test_given_up(self) -> None:
        """
        The client can be used as it is, and stopping the service aborts its connection attempt.
        """
        reactor = MemoryReactorClock()
        client = HTTPClient(Agent(reactor))
        enrolment = RegistrationService(
            reactor,
            client,
            "http://192.0.2.7:8080",
            WORKSPACE,
            ADVERTISED,
            self.secrets,
            self.token_file,
            in_thread=at_once,
        )
        enrolment.startService()
        ((_, port, *_rest),) = reactor.tcpClients
        self.assertEqual(port, 8080)
        self.successResultOf(enrolment.stopService())
        self.assertTrue(reactor.connectors[0].stoppedConnecting)
        self.assertEqual(reactor.getDelayedCalls(), [])
