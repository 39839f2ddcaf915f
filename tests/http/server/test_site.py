"""
A site: request ids, the log, disconnects, HTTP/1.0 and ``HEAD``, and the shutdown.
"""

from __future__ import annotations

import secrets
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import Forbidden
from chatfiles.http.server import site
from chatfiles.http.server.lingering_close import LINGER_SECONDS
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.http.server.site import Site
from tests.http.server.test_request_body import Receiver
from tests.support.memory_client import CHUNKED, Caller, Echo, Held, Wire, get, post, tree
from tests.support.resources import Endpoint


class Partial(Held):
    """Writes the first of ten bytes; the test does the rest."""

    operation = "partial"

    async def render_GET(self, request: Request) -> JSONResponse | None:
        request.setHeader(b"Content-Length", b"10")
        request.write(b"1")
        request.workspace = "w1"
        return await super().render_GET(request)


class Disagreeing(Wire):
    """Stays open until the peer agrees to close, which it does not."""

    def loseConnection(self) -> None:
        pass


class RandomIdTests(SynchronousTestCase):
    """`random_ids`."""

    def test_ids(self) -> None:
        """Ids are valid, random, and never given twice, although they are made together."""
        asked: list[int] = []

        def token_hex(size: int) -> str:
            asked.append(size)
            return secrets.token_hex(size)

        self.patch(site, "secrets", SimpleNamespace(token_hex=token_hex))
        make, other = site.random_ids(), site.random_ids()
        ids = [make() for _ in range(1000)] + [other() for _ in range(1000)]
        self.assertEqual(len(set(ids)), len(ids))
        for each in ids:
            self.assertRegex(each, r"\A[0-9a-f]{32}\Z")
        self.assertLess(len(asked), 100)

    def test_used(self) -> None:
        """A site makes its ids with it, unless it is given another way."""
        make = Site(Echo(), Clock(), header_timeout=1, idle_timeout=1).new_request_id
        self.assertEqual(len({make() for _ in range(100)}), 100)


class LoggedCase(SynchronousTestCase):
    """Records the lines that the site logs."""

    def setUp(self) -> None:
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def lines(self) -> list[str]:
        return [
            eventAsText(event, includeTimestamp=False, includeSystem=False)
            for event in self.events
            if event["log_namespace"].startswith("chatfiles")
            and event["log_level"] >= LogLevel.info
        ]


class RequestIdTests(SynchronousTestCase):
    """``X-Request-Id`` (reference/routes, "Request ids")."""

    def test_kept_or_made(self) -> None:
        """A valid id is kept; one that breaks logs or headers is replaced."""
        longest = b"a" * 64
        for lines, expected in [
            ([b"X-Request-Id: A-z.0_9"], "A-z.0_9"),
            ([b"x-request-id:" + longest + b" "], longest.decode()),
            ([], "new-1"),
            ([b"X-Request-Id:"], "new-1"),
            ([b"X-Request-Id: " + longest + b"a"], "new-1"),
            ([b"X-Request-Id: a b"], "new-1"),
            ([b"X-Request-Id: a\xe9"], "new-1"),
            ([b"X-Request-Id: a\tb"], "new-1"),
            ([b"X-Request-Id: a", b"X-Request-Id: a"], "new-1"),
        ]:
            for path, ok in ((b"/p", 200), (b"/missing", 404)):
                answer = Caller(tree(p=Echo())).send(get(path, *lines)).answer()
                self.assertEqual((answer.status, answer.fields["x-request-id"]), (ok, expected))
                self.assertEqual(answer.json.get("request_id", expected), expected)

    def test_one_each(self) -> None:
        """Each request of a connection has its own id."""
        caller = Caller(Echo()).send(get() + get(), b"BAD\r\n")
        ids = [answer.fields["x-request-id"] for answer in caller.answers()]
        self.assertEqual(ids, ["new-1", "new-2", "new-3"])


class LogTests(LoggedCase):
    """One line per transfer (reference/logs, "Transfer lines")."""

    def test_line(self) -> None:
        """A transfer is logged once, at its end, without its query, which may contain secrets."""
        partial = Partial()
        caller = Caller(partial).send(
            get(b"/p?path=%2Fsecret&token=t0", b"Authorization: Bearer t1")
        )
        self.assertEqual(self.lines(), [])
        caller.clock.advance(1.5)
        partial.requests[0].write(b"234567890")
        partial.answers[0].callback(None)
        caller.leave()
        self.assertEqual(
            self.lines(), ["new-1 w1 partial 200 10 bytes 1.500 s complete from 192.168.1.1"]
        )
        event = self.events[-1]
        self.assertNotIn("secret", repr([event[name] for name in event if name[:4] != "log_"]))
        self.assertEqual((event["status"], event["bytes"], event["outcome"]), (200, 10, "complete"))

    def test_outcomes(self) -> None:
        """An interrupted transfer is logged as such, with the side that is responsible."""

        class Cut(Exception):
            outcome = "upstream_cut"

        for end, line in [
            (Cut(), "200 1 bytes 0.000 s upstream_cut"),
            (Forbidden(), "200 1 bytes 0.000 s permission_denied"),
            (None, "200 1 bytes 0.000 s client_left"),
        ]:
            partial = Partial()
            caller = Caller(partial).send(get())
            if end is None:
                caller.leave()
            else:
                partial.answers[0].errback(end)
                caller.settle()
            self.assertEqual((caller.lost, caller.site.running), (True, 0))
            self.assertEqual(self.lines(), [f"new-1 w1 partial {line} from 192.168.1.1"])
            self.events.clear()

    def test_refused_and_unnamed(self) -> None:
        """A rejection is logged; a request without an operation, such as a health check, is not."""
        Caller(Echo()).send(b"GET /?secret\r\n")
        self.assertEqual(self.lines(), ["new-1 - refused 400 malformed_request from 192.168.1.1"])
        self.events.clear()
        Caller(tree()).send(get(b"/missing"))
        self.assertEqual(self.lines(), [])

    def test_leaves_while_sending(self) -> None:
        """
        A client that disconnects during an upload is logged as ``client_left``, without a status.
        """
        caller = Caller(Echo()).send(post(b"hello")[:-1])
        caller.leave()
        self.assertEqual(
            self.lines(), ["new-1 - echo 0 4 bytes 0.000 s client_left from 192.168.1.1"]
        )
        self.assertEqual(caller.answers(), [])


class ClientAddressTests(LoggedCase):
    """The address of the client in the log."""

    FORWARDED = b"X-Forwarded-For: 192.0.2.1"
    NEAREST = b"X-Forwarded-For: 192.0.2.2"

    def caller(self) -> Caller:
        return Caller(Echo(), client_address=lambda peer, lines: f"{peer}|{b'|'.join(lines)!r}")

    def test_transfers(self) -> None:
        """
        All lines of ``X-Forwarded-For`` decide on the address, so that it need not be the proxy's.
        """
        lines = [self.FORWARDED, b"X-Forwarded-For:", b"x-forwarded-for: a, b"]
        self.caller().send(get(b"/p", *lines))
        self.assertTrue(self.lines()[0].endswith(" from 192.168.1.1|b'192.0.2.1||a, b'"))
        self.assertEqual(self.events[-1]["client"], "192.168.1.1|b'192.0.2.1||a, b'")

    def test_who_left(self) -> None:
        """
        The address of a disconnected client is logged, although its connection is gone by then.
        """
        partial = Partial()
        caller = Caller(partial, client_address=lambda peer, lines: f"{peer}|{lines[0]!r}")
        caller.send(get(b"/p", self.FORWARDED)).leave()
        self.assertTrue(self.lines()[0].endswith(" client_left from 192.168.1.1|b'192.0.2.1'"))

    def test_refusals(self) -> None:
        """
        If the headers were not read to their end, they are ignored: the client may have invented
        all of them, as that of the nearest proxy comes last.
        """
        for head, named in [
            (get(b"/p", self.FORWARDED, b"Host: second"), "b'192.0.2.1'"),
            (get(b"/p", self.FORWARDED, b"Bad header: x", self.NEAREST), "b''"),
            (get(b"p", self.FORWARDED), "b'192.0.2.1'"),
            (get(b"/p", self.FORWARDED, b"Expect: y", self.NEAREST), "b'192.0.2.1|192.0.2.2'"),
            (b"GET /p HTTP/1.1\r\n" + self.FORWARDED + b"\r\nX: \n", "b''"),
        ]:
            self.events.clear()
            self.caller().send(head)
            self.assertEqual(len(self.lines()), 1, head)
            self.assertRegex(self.lines()[0], r"^new-1 - refused 4\d\d \w+ from ")
            self.assertTrue(self.lines()[0].endswith(f" from 192.168.1.1|{named}"), self.lines())

    def test_no_address(self) -> None:
        """A client on a Unix socket has no address."""

        class Socket(Wire):
            def getPeer(self) -> UNIXAddress:
                return UNIXAddress(b"/run/x")

        caller = Caller(Echo(), wire=Socket()).send(get(b"/p", self.FORWARDED), b"BAD\r\n")
        self.assertEqual(len(caller.answers()), 2)
        self.assertEqual([line.rpartition(" from ")[2] for line in self.lines()], ["-", "-"])


class LeaveTests(SynchronousTestCase):
    """Clients that disconnect (reference/limits-and-shutdown, "Disconnected clients")."""

    def test_cancelled(self) -> None:
        """The handler is cancelled when its client disconnects."""
        for held in (Held(), Partial()):
            caller = Caller(held).send(get())
            caller.leave()
            self.assertTrue(held.answers[0].called)
            self.assertEqual((caller.site.running, len(caller.site.channels)), (0, 0))
            self.assertTrue(held.requests[0].disconnected)

    def test_cancelled_at_once(self) -> None:
        """It is cancelled even if the client disconnects while the handler starts."""
        caught: list[BaseException] = []

        class Leaving(Endpoint):
            isLeaf = True

            async def render_GET(self, request: Request) -> None:
                caller.leave()
                try:
                    await Deferred()
                except CancelledError as error:
                    caught.append(error)
                    raise

        caller = Caller(Leaving())
        caller.send(get())
        self.assertEqual((len(caught), caller.site.running), (1, 0))

    def test_answers_nobody(self) -> None:
        """Writing, aborting or unregistering after the end has no effect."""

        class Stubborn(Held):
            async def render_GET(self, request: Request) -> JSONResponse:
                request.registerProducer(object(), True)
                try:
                    await super().render_GET(request)
                except CancelledError:
                    request.unregisterProducer()
                    request.write(b"x")
                    request.finish()
                    request.abort("late")
                return JSONResponse(200, {})

        caller = Caller(Stubborn()).send(get())
        caller.leave()
        self.assertEqual((caller.answers(), caller.site.running), ([], 0))


class ProtocolTests(SynchronousTestCase):
    """HTTP/1.0 and ``HEAD``."""

    def test_http_10(self) -> None:
        """
        An HTTP/1.0 client receives no chunks, which it cannot read; the end is the connection's.
        """

        class Stream(Endpoint):
            isLeaf = True

            async def render_GET(self, request: Request) -> None:
                request.write(b"one")
                request.write(b"two")

        wire = get().replace(b"HTTP/1.1\r\nHost: h", b"HTTP/1.0")
        caller = Caller(Stream()).send(wire)
        answer = caller.answer()
        self.assertEqual((answer.version, answer.body, caller.lost), ("HTTP/1.0", b"onetwo", True))
        self.assertNotIn("transfer-encoding", answer.fields)

    def test_head(self) -> None:
        """
        A response to ``HEAD`` has the headers of ``GET`` and no body, and the connection is kept.
        """
        root = tree(p=Echo())
        for path in (b"/p", b"/missing"):
            caller = Caller(root).send(get(path, method=b"HEAD") * 2)
            first, second = caller.answers(head=True)
            self.assertEqual(first.status, second.status)
            whole = Caller(root).send(get(path)).answer()
            self.assertEqual((first.fields, first.status), (whole.fields, whole.status))
            self.assertEqual(caller.wire.value().count(b"{"), 0)

    def test_date(self) -> None:
        """Each response has the current date."""
        caller = Caller(Echo())
        for now, date in [
            (1.0, "Thu, 01 Jan 1970 00:00:01 GMT"),
            (86399.9, "Thu, 01 Jan 1970 23:59:59 GMT"),
        ]:
            caller.site.now = lambda now=now: now
            caller.wire.clear()
            self.assertEqual(caller.send(get()).answer().fields["date"], date)


class DrainTests(LoggedCase):
    """The shutdown (reference/limits-and-shutdown, "Shutdown")."""

    def test_idle(self) -> None:
        """Idle connections are closed at once."""
        used = Caller(Echo()).send(get())
        fresh = Caller(site=used.site)
        drained = used.site.drain(30)
        used.settle()
        fresh.settle()
        self.assertEqual((used.lost, fresh.lost), (True, True))
        self.assertFalse(used.wire.aborted or fresh.wire.aborted)
        used.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(drained))
        self.assertEqual(used.clock.getDelayedCalls(), [])

    def test_idle_and_never_agreeing(self) -> None:
        """
        An idle TLS connection whose peer does not agree to close is aborted after the linger time.
        """
        caller = Caller(Echo(), wire=Disagreeing()).send(get())
        drained = caller.site.drain(30)
        caller.advance(LINGER_SECONDS)
        self.assertTrue(caller.lost)
        caller.advance(0.1)
        self.successResultOf(drained)
        self.assertEqual(caller.clock.getDelayedCalls(), [])

    def test_running(self) -> None:
        """A running transfer is completed if there is time."""
        partial = Partial()
        caller = Caller(partial).send(get())
        drained = caller.site.drain(30)
        caller.advance(29)
        self.assertFalse(caller.lost)
        partial.requests[0].write(b"234567890")
        partial.answers[0].callback(None)
        caller.advance(0.1)
        self.assertTrue(caller.lost)
        caller.advance(0.1)
        self.successResultOf(drained)
        self.assertIn(" s complete from ", self.lines()[-1])
        self.assertTrue(caller.answer().complete)

    def test_time_left(self) -> None:
        """`time_to_drain` is the time that remains for what comes after the last transfer."""
        caller = Caller(Partial()).send(get())
        self.assertEqual(caller.site.time_to_drain, 0)
        caller.site.drain(30)
        caller.advance(10)
        self.assertAlmostEqual(caller.site.time_to_drain, 20)
        caller.advance(25)
        self.assertEqual(caller.site.time_to_drain, 0)

    def test_announced(self) -> None:
        """A response that begins while the site drains announces that the connection is closed."""
        held = Held()
        caller = Caller(held).send(get())
        caller.site.drain(30)
        held.answer()
        caller.settle()
        self.assertEqual((caller.answer().fields["connection"], caller.lost), ("close", True))

    def test_late(self) -> None:
        """
        A transfer that takes too long is aborted; it is logged, and its response is incomplete.
        """
        caller = Caller(Partial()).send(get())
        head = Caller(site=caller.site).send(b"GET /")
        head.send(b" HTTP/1.1\r\n")
        drained = caller.site.drain(30)
        head.advance(30)
        self.assertNoResult(drained)
        caller.settle()
        self.assertEqual((caller.wire.aborted, head.wire.aborted), (True, True))
        self.assertIn(" s shutdown from ", self.lines()[-1])
        self.assertFalse(caller.answer().complete)
        caller.advance(0.1)
        self.successResultOf(drained)

    def test_incomplete(self) -> None:
        """
        Half a request, which needs no credential, does not delay the shutdown for the whole time.
        A request that is completed soon is served; one that is not gets a 503.
        """
        head, body = Caller(tree(p=Echo())).send(b"GET /p HTTP/1.1\r\nHost"), post(b"12345")
        site = head.site
        small, chunks = Caller(site=site).send(body[:-4]), Caller(site=site)
        chunks.send(get(b"/p", CHUNKED, method=b"POST") + b"5\r\n1")
        answered = Caller(site=site).send(post(b"12345", path=b"/missing")[:-1])
        good = [Caller(site=site).send(get()[:-1]), Caller(site=site).send(body[:-1])]
        drained = site.drain(30)
        head.advance(0.9)
        for caller, rest in zip(good, (b"\n", b"5"), strict=True):
            self.assertEqual(caller.send(rest).answer().status, 200)
        self.assertEqual(head.answers(), [])
        head.advance(0.1)
        for caller in (head, small, chunks):
            answer = caller.answer()
            self.assertEqual((answer.status, answer.fields["connection"]), (503, "close"))
            self.assertEqual(answer.json["code"], "draining")
        self.assertEqual(answered.answer().status, 404)
        head.advance(LINGER_SECONDS)  # for clients that do not close, to read it
        for caller in (small, chunks, answered):
            caller.settle()
        head.advance(0.1)
        self.successResultOf(drained)

    def test_incomplete_in_a_short_drain(self) -> None:
        """Half a request gets a response even in a short drain, if there is time for one."""
        head = Caller(Echo()).send(b"GET /p HTTP/1.1\r\n")
        head.site.drain(0.4)
        head.advance(0.1)
        self.assertEqual(head.answers(), [])
        head.advance(0.1)
        self.assertEqual(head.answer().status, 503)

    def test_uploads_go_on(self) -> None:
        """Slow uploads continue; they are not taken for small bodies that are late."""
        held = Held()
        callers = [Caller(held).send(post(b"12345")[:-1])]
        callers.append(Caller(site=callers[0].site).send(post(b"12345")[:-1]))
        body = held.requests[0].body
        receiver = Receiver(body, held.answers[0])
        body.deliver(receiver)  # the other one is not claimed yet
        callers[0].site.drain(30)
        callers[0].advance(29)
        for caller, request in zip(callers, held.requests, strict=True):
            self.assertFalse(caller.wire.value() or caller.wire.disconnecting or caller.lost)
            self.assertFalse(request.body.failed)
        callers[0].send(b"5")
        self.assertEqual((receiver.data, receiver.end), (b"12345", ["finished"]))

    def test_requests_while_draining(self) -> None:
        """The connection of a busy client is closed after its next response."""
        partial = Partial()
        caller = Caller(tree(partial=partial, p=Echo())).send(get(b"/partial") + get() + get())
        caller.site.drain(30)
        partial.requests[0].write(b"234567890")
        partial.answers[0].callback(None)
        caller.settle()
        answers = caller.answers()
        self.assertEqual([answer.fields.get("connection") for answer in answers], [None, "close"])
        self.assertTrue(caller.lost)
