"""
Tests for `chatfiles.workspace.registration.service` and `chatfiles.workspace.registration.client`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

from OpenSSL.SSL import Error as TLSError
from treq.client import HTTPClient
from treq.testing import StringStubbingResource, StubTreq
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from chatfiles.workspace.registration import client
from chatfiles.workspace.registration.client import RegistryClient
from chatfiles.workspace.registration.service import RegistrationService
from chatfiles.workspace.secret_file import SecretFile
from tests.contract.file_store import scratch

WORKSPACE = "0b6c2c4e-7d4f-4b0e-9a36-1f0b9f5a2d11"
ADVERTISED = "http://ws.example:8000"
REGISTER = "/registry/register"
HEARTBEAT = "/registry/heartbeat"
SECRET, TOKEN = "inbound-" + "s" * 35, "token-" + "t" * 37

#: Status, headers, JSON body (or the body itself, bytes).
Reply = tuple[int, dict[bytes, bytes], object]


def at_once(function: Callable[[], Any]) -> Awaitable[Any]:
    return maybeDeferred(function)


class Platform:
    """
    A platform that sends scripted responses, beneath the real treq.

    :ivar asked: method, URL, headers and JSON body of every request.
    :ivar replies: route → its responses, in order; the last one stays.
    """

    def __init__(self, base: str = "https://platform.example") -> None:
        self.asked: list[tuple[bytes, str, dict[bytes, list[bytes]], Any]] = []
        self.replies: dict[str, list[Reply]] = {
            REGISTER: [(200, {}, {"status": "registered", "platform_inbound_secret": SECRET})],
            HEARTBEAT: [(200, {}, {"status": "ok", "platform_inbound_secret": SECRET})],
        }
        self.base = base
        self.client: Any = StubTreq(StringStubbingResource(self._answer))

    def _answer(
        self, method: bytes, url: str, params: object, headers: Any, data: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        self.asked.append(
            (method, url, {k.lower(): v for k, v in headers.items()}, json.loads(data))
        )
        replies = self.replies[url.removeprefix(self.base)]
        status, fields, body = replies.pop(0) if len(replies) > 1 else replies[0]
        return status, fields, body if isinstance(body, bytes) else json.dumps(body).encode()

    def routes(self) -> list[str]:
        """:return: the requested routes, in order; the record is then cleared."""
        routes = [url.removeprefix(self.base).rsplit("/", 1)[1] for _, url, _, _ in self.asked]
        self.asked.clear()
        return routes


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.top = scratch(self)
        self.secret_file = SecretFile(self.top + b"/.platform_inbound_secret")
        self.token_file = SecretFile(self.top + b"/.auth_token")
        self.platform = Platform()
        self.jitter = 1.0

    def enrolment(
        self, client: Any = None, base: str | None = None, **more: Any
    ) -> RegistrationService:
        enrolment = RegistrationService(
            self.clock,
            client or self.platform.client,
            self.platform.base if base is None else base,
            WORKSPACE,
            ADVERTISED,
            self.secret_file,
            self.token_file,
            in_thread=more.pop("in_thread", at_once),
            jitter=lambda: self.jitter,
            **more,
        )
        self.addCleanup(enrolment.stopService)
        return enrolment

    def start(self, client: Any = None, **more: Any) -> RegistrationService:
        enrolment = self.enrolment(client, **more)
        enrolment.startService()
        self.flush()
        return enrolment

    def flush(self) -> None:
        for _ in range(3):
            self.platform.client.flush()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.flush()

    def next_request(self) -> float:
        """:return: seconds until the next request, which is then made."""
        before = self.clock.seconds()
        due = min(call.getTime() for call in self.clock.getDelayedCalls())
        self.advance(due - before)
        return due - before

    def log(self, events: Any) -> str:
        return "\n".join(formatEvent(event) for event in events)


class RegisterTests(_Case):
    """Registration when the service starts."""

    def test_request(self) -> None:
        """The registration is a POST with the token and the JSON body that the platform expects."""
        self.token_file.write(TOKEN)
        enrolment = self.start()
        (asked,) = self.platform.asked
        method, url, headers, body = asked
        self.assertEqual((method, url), (b"POST", "https://platform.example/registry/register"))
        self.assertEqual(headers[b"authorization"], [b"Bearer " + TOKEN.encode()])
        self.assertEqual(headers[b"content-type"], [b"application/json"])
        self.assertEqual(
            body,
            {
                "id": WORKSPACE,
                "url": ADVERTISED,
                "agent_card": {"name": "chatfiles workspace"},
                "delivery_mode": "push",
            },
        )
        self.assertTrue(enrolment.registered)

    def test_without_token(self) -> None:
        """A workspace without a token sends no ``Authorization`` header."""
        self.start()
        self.assertNotIn(b"authorization", self.platform.asked[0][2])

    def test_base_path(self) -> None:
        """The path of the platform's base URL is kept, with or without a slash at its end."""
        for base in ("https://platform.example/a/b", "https://platform.example/a/b/"):
            self.platform = Platform("https://platform.example/a/b")
            self.start(base=base)
            self.assertEqual(
                self.platform.asked[0][1], "https://platform.example/a/b/registry/register"
            )

    def test_secrets_are_stored(self) -> None:
        """
        The secret and the token, which the platform sends once, are stored, accessible to the owner
        only, and the token is used.
        """
        reply = {"status": "registered", "platform_inbound_secret": SECRET, "auth_token": TOKEN}
        self.platform.replies[REGISTER] = [(200, {}, reply)]
        self.start()
        self.assertEqual((self.secret_file.read(), self.token_file.read()), (SECRET, TOKEN))
        for file in (self.secret_file, self.token_file):
            self.assertEqual(os.stat(file.path).st_mode & 0o777, 0o600)
        self.advance(30)
        self.assertEqual(
            self.platform.asked[-1][2][b"authorization"], [b"Bearer " + TOKEN.encode()]
        )

    def test_rubbish_is_not_stored(self) -> None:
        """A malformed secret or token in a response does not overwrite a valid one."""
        self.secret_file.write("good")
        self.token_file.write("good")
        for rubbish in ("", "a b", "a\r\nb", "é", "x" * 4097, 17, ["x"], {"a": 1}, True, None):
            self.platform = Platform()
            reply = {"platform_inbound_secret": rubbish, "auth_token": rubbish}
            self.platform.replies[REGISTER] = [(200, {}, reply)]
            self.start().stopService()
            self.assertEqual((self.secret_file.read(), self.token_file.read()), ("good", "good"))

    def test_not_json(self) -> None:
        """A response whose body is no JSON object does not count as a registration."""
        for body in (b"", b"<html>", b"[]", b'"x"', b"\xff", b"[" * 60000):
            self.platform = Platform()
            self.platform.replies[REGISTER] = [(200, {}, body)]
            enrolment = self.start()
            self.assertFalse(enrolment.registered)
            enrolment.stopService()


class RetryTests(_Case):
    """Retries when the platform does not accept the registration."""

    def test_backoff(self) -> None:
        """The delay between attempts doubles, from 1 second up to 60 seconds."""
        self.platform.replies[REGISTER] = [(503, {}, {"error": "no"})]
        self.start(interval=10_000.0)
        delays = [self.next_request() for _ in range(9)]
        self.assertEqual(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60])
        self.assertEqual(set(self.platform.routes()), {"register"})

    def test_jitter(self) -> None:
        """
        Jitter shortens delays by up to half, so that workspaces do not all return to a platform at
        the same moment.
        """
        self.platform.replies[REGISTER] = [(503, {}, {"error": "no"})]
        self.jitter = 0.0
        self.start(interval=10_000.0)
        self.assertEqual([self.next_request() for _ in range(5)], [1, 1, 2, 4, 8])

    def test_retry_after(self) -> None:
        """
        ``Retry-After`` in seconds adds to the delay, up to 300 seconds; an invalid value or a date
        is ignored.
        """
        for value, expected in (
            (b"7", 8),
            (b"0", 1),
            (b"99999999999999999999", 301),
            (b"-5", 1),
            (b"1.5", 1),
            ("²".encode(), 1),
            (b"Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ):
            self.platform = Platform()
            self.platform.replies[REGISTER] = [(503, {b"Retry-After": value}, {})]
            enrolment = self.start(interval=10_000.0)
            self.assertEqual(self.next_request(), expected, value)
            enrolment.stopService()

    def test_recovers(self) -> None:
        """A registration that succeeds ends the retries and resets the backoff."""
        no: Reply = (500, {}, b"")
        yes: Reply = (200, {}, {"platform_inbound_secret": SECRET})
        self.platform.replies[REGISTER] = [no, no, yes]
        enrolment = self.start()
        self.assertEqual([self.next_request(), self.next_request()], [1, 2])
        self.assertTrue(enrolment.registered)
        self.assertEqual(self.secret_file.read(), SECRET)
        self.platform.asked.clear()
        self.assertEqual([self.next_request() for _ in range(3)], [27, 30, 30])
        self.assertEqual(self.platform.routes(), ["heartbeat"] * 3)
        self.platform.replies = {REGISTER: [no], HEARTBEAT: [(404, {}, {})]}
        self.assertEqual([self.next_request() for _ in range(3)], [30, 1, 2])

    def test_heartbeats_go_on(self) -> None:
        """
        Heartbeats continue while the registration is refused, so that the platform does not take
        the workspace for dead.
        """
        self.platform.replies[REGISTER] = [(400, {}, {"error": "workspace URL not allowed"})]
        self.start()
        for _ in range(130):
            self.advance(1)
        self.assertEqual(self.platform.routes().count("heartbeat"), 4)

    def test_no_redirects(self) -> None:
        """A redirect is logged and not followed, as it may take the token to another host."""
        for status in (301, 302, 303, 307, 308):
            self.platform = Platform()
            self.token_file.write(TOKEN)
            elsewhere = {b"Location": b"https://platform.example/registry/heartbeat"}
            self.platform.replies[REGISTER] = [(status, elsewhere, b"")]
            with capturedLogs() as events:
                enrolment = self.start()
            self.assertEqual(self.platform.routes(), ["register"])
            self.assertIn("redirect", self.log(events))
            self.assertFalse(enrolment.registered)
            enrolment.stopService()

    def test_token_put_later(self) -> None:
        """
        A token that the operator stores later is used without a restart; the refusal is logged
        once, with the path of the token's file.
        """
        self.platform.replies[REGISTER] = [(401, {}, {"error": "missing workspace auth token"})]
        with capturedLogs() as events:
            self.start()
            self.next_request()
        text = self.log(events)
        self.assertEqual(text.count("refused, 401"), 1)
        self.assertIn("/.auth_token", text)
        self.token_file.write(TOKEN)
        self.next_request()
        self.assertEqual(
            self.platform.asked[-1][2][b"authorization"], [b"Bearer " + TOKEN.encode()]
        )


class HeartbeatTests(_Case):
    """Heartbeats of a registered workspace."""

    def test_request(self) -> None:
        """A heartbeat is sent every 30 seconds, with the ID of the workspace."""
        self.start()
        self.platform.asked.clear()
        self.assertEqual([self.next_request() for _ in range(3)], [30, 30, 30])
        method, url, _, body = self.platform.asked[0]
        self.assertEqual((method, url), (b"POST", "https://platform.example/registry/heartbeat"))
        self.assertEqual(body, {"workspace_id": WORKSPACE})
        self.assertEqual(self.platform.routes(), ["heartbeat"] * 3)

    def test_new_secret(self) -> None:
        """A new secret in the response to a heartbeat is stored."""
        self.start()
        self.platform.replies[HEARTBEAT] = [(200, {}, {"platform_inbound_secret": "fresh"})]
        self.advance(30)
        self.assertEqual(self.secret_file.read(), "fresh")

    def test_secret_restored(self) -> None:
        """
        A secret file that was removed is written again; one that is up to date is not rewritten.
        """
        self.start()
        inode = os.stat(self.secret_file.path).st_ino
        self.advance(30)
        self.assertEqual(os.stat(self.secret_file.path).st_ino, inode)
        os.unlink(self.secret_file.path)
        self.advance(30)
        self.assertEqual(self.secret_file.read(), SECRET)

    def test_forgotten(self) -> None:
        """
        A 404 to a heartbeat, as from a platform that has lost its registry, starts a new
        registration.
        """
        enrolment = self.start()
        self.platform.replies[HEARTBEAT] = [(404, {}, {"error": "workspace not found"})]
        self.platform.asked.clear()
        self.advance(30)
        self.assertEqual(self.platform.routes(), ["heartbeat", "register"])
        self.assertTrue(enrolment.registered)
        self.platform.replies[REGISTER] = [(503, {}, {})]
        self.advance(30)
        self.assertFalse(enrolment.registered)
        self.platform.asked.clear()
        for _ in range(30):
            self.advance(1)
        # Further 404 responses to heartbeats do not restart the backoff.
        self.assertEqual(self.platform.routes().count("register"), 4)

    def test_refused(self) -> None:
        """
        Heartbeats continue after a refusal; the refusal and the recovery are each logged once.
        """
        self.start()
        self.platform.replies[HEARTBEAT] = [(401, {}, {"error": "invalid"})]
        with capturedLogs() as events:
            self.assertEqual([self.next_request() for _ in range(4)], [30] * 4)
            self.platform.replies[HEARTBEAT] = [(200, {}, {})]
            self.next_request()
            self.next_request()
        self.assertEqual(self.log(events).count("refused, 401"), 1)
        self.assertEqual(self.log(events).count("accepted"), 1)

    def test_retry_after(self) -> None:
        """``Retry-After`` in the response to a heartbeat delays the next one."""
        self.start()
        self.platform.replies[HEARTBEAT] = [(503, {b"Retry-After": b"90"}, {}), (200, {}, {})]
        self.assertEqual([self.next_request() for _ in range(3)], [30, 90, 30])


class FileTests(_Case):
    """The files of the secret and of the token."""

    def test_token_is_kept(self) -> None:
        """
        A token that cannot be stored is kept in memory, used, and stored once that is possible; the
        failure is logged once, without the token.
        """
        os.rename(self.top, self.top + b".away")
        reply = {"platform_inbound_secret": SECRET, "auth_token": TOKEN}
        self.platform.replies[REGISTER] = [(200, {}, reply)]
        with capturedLogs() as events:
            self.start()
            self.advance(30)
            self.advance(30)
        bearer = [b"Bearer " + TOKEN.encode()]
        self.assertEqual(
            [asked[2].get(b"authorization") for asked in self.platform.asked],
            [None, bearer, bearer],
        )
        self.assertEqual(self.log(events).count("auth_token at"), 1)
        self.assertNotIn(TOKEN, self.log(events))
        os.rename(self.top + b".away", self.top)
        self.advance(30)
        self.assertEqual((self.token_file.read(), self.secret_file.read()), (TOKEN, SECRET))
        os.unlink(self.token_file.path)
        self.advance(30)
        self.assertIsNone(self.token_file.read())  # stored once; then it is the operator's

    def test_off_the_reactor(self) -> None:
        """The files are read and written in threads, not on the reactor's thread."""
        inside: list[bool] = []

        def in_thread(function: Callable[[], Any]) -> Awaitable[Any]:
            inside.append(True)
            try:
                return succeed(function())
            finally:
                inside.pop()

        for name in ("read", "write"):
            real = getattr(SecretFile, name)

            def watched(file: SecretFile, *arguments: Any, real: Any = real) -> Any:
                self.assertTrue(inside)
                return real(file, *arguments)

            self.patch(SecretFile, name, watched)
        self.start(in_thread=in_thread)
        self.advance(30)
        self.assertEqual(self.platform.routes(), ["register", "heartbeat"])


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


class TroubleTests(_Case):
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
            (Refused(), "ConnectionRefusedError"),
            (DNSLookupError("no such host"), "no such host"),
            (ResponseNeverReceived([Failure(TLSError("certificate verify failed"))]), "verify"),
            (ResponseFailed([Failure(ValueError(f"bad line {SECRET}"))]), "ValueError"),
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


class SecrecyTests(_Case):
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


class RealClientTests(_Case):
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
            self.secret_file,
            self.token_file,
            in_thread=at_once,
        )
        enrolment.startService()
        ((_, port, *_rest),) = reactor.tcpClients
        self.assertEqual(port, 8080)
        self.successResultOf(enrolment.stopService())
        self.assertTrue(reactor.connectors[0].stoppedConnecting)
        self.assertEqual(reactor.getDelayedCalls(), [])
