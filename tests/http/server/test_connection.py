"""
A connection: its limits, its timeouts, the order of its responses, and how it is closed.
"""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.http.server import connection, lingering_close
from chatfiles.http.server.lingering_close import LINGER_BYTES, LINGER_SECONDS
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.streams.stall_timeout import PROXY_STALL_FACTOR, unsent
from tests.support.loopback import Loopback, more_than, until
from tests.support.memory_client import HEADER_TIMEOUT, IDLE_TIMEOUT, Caller, Echo, Held, get, post
from tests.support.resources import Endpoint

HEAD_BYTES, HEAD_LINES = 16 * 1024, 100
MIB = 1 << 20


class Big(Endpoint):
    """Responds with more bytes than sockets hold."""

    isLeaf = True
    SIZE = 16 * MIB

    async def render_GET(self, request: Request) -> None:
        request.setHeader(b"Content-Length", b"%d" % self.SIZE)
        request.write(bytes(self.SIZE))


class LimitTests(SynchronousTestCase):
    """The maximum size of the headers (reference/limits-and-shutdown, "Sizes and timeouts")."""

    def statuses(self, *pieces: bytes) -> list[int]:
        caller = Caller(Echo()).send(*pieces)
        return [answer.status for answer in caller.answers()]

    def test_lines(self) -> None:
        """
        As many header lines as documented, which browsers need, are accepted, and not one more.
        """
        lines = [b"X-%d: y" % n for n in range(HEAD_LINES)]
        self.assertEqual(self.statuses(get(b"/p", *lines[1:])), [200])
        self.assertEqual(self.statuses(get(b"/p", *lines)), [431])
        self.assertEqual(self.statuses(get(b"/p", *lines, *lines)), [431])
        self.assertEqual(self.statuses(get(b"/p", *lines[1:]), get(b"/p", *lines[1:])), [200, 200])

    def test_bytes(self) -> None:
        """As many bytes as documented are accepted, and not one more."""
        fixed = len(get(b"/p", b"X: ")) - len(b"\r\n\r\n")
        room = HEAD_BYTES - fixed
        self.assertEqual(self.statuses(get(b"/p", b"X: " + b"a" * room)), [200])
        self.assertEqual(self.statuses(get(b"/p", b"X: " + b"a" * (room + 1))), [431])
        half = b"a" * (HEAD_BYTES // 2)
        self.assertEqual(self.statuses(get(b"/p", b"X: " + half, b"Y: " + half)), [431])

    def test_endless_lines(self) -> None:
        """A line without an end is rejected when it is too long."""
        flood = b"a" * 1024
        self.assertEqual(self.statuses(b"GET /", *[flood] * 64), [414])
        self.assertEqual(self.statuses(b"GET /" + flood * 17 + b" HTTP/1.1\r\n"), [414])
        self.assertEqual(self.statuses(get()[:-2] + b"X: ", *[flood] * 64), [431])
        self.assertEqual(self.statuses(get()[:-2] + b"X: " + flood * 17 + b"\r\n"), [431])


class TimeTests(SynchronousTestCase):
    """Timeouts (reference/limits-and-shutdown, "Sizes and timeouts")."""

    def test_dripping_head(self) -> None:
        """A client that sends a byte now and then gets a 408 after the header timeout."""
        caller = Caller(Echo())
        for byte in get(b"/p", b"X: " + b"a" * 100)[: int(HEADER_TIMEOUT) - 1]:
            caller.advance(1)
            caller.send(bytes([byte]))
        self.assertFalse(caller.lost)
        caller.advance(1)
        answer = caller.answer()
        self.assertEqual((answer.status, answer.json["code"]), (408, "request_timeout"))
        self.assertEqual((answer.fields["connection"], caller.lost), ("close", True))

    def test_dripping_second_head(self) -> None:
        """
        The header timeout applies to each request of a connection, without the idle time before it.
        """
        caller = Caller(Echo()).send(get())
        caller.advance(HEADER_TIMEOUT + 1)
        caller.send(b"G")
        for _ in range(int(HEADER_TIMEOUT) - 1):
            caller.advance(1)
            caller.send(b"E")
        self.assertEqual([answer.status for answer in caller.answers()], [200])
        caller.advance(1)
        self.assertEqual([answer.status for answer in caller.answers()], [200, 408])
        self.assertTrue(caller.lost)

    def test_head_in_time(self) -> None:
        """The header timeout does not apply to what comes after the headers."""
        held = Held()
        caller = Caller(held).send(get()[:-1])
        caller.advance(HEADER_TIMEOUT - 1)
        caller.send(b"\n")
        caller.advance(10 * IDLE_TIMEOUT)
        held.answers[0].callback(JSONResponse(200, {}))
        self.assertEqual(caller.answer().status, 200)

    def test_silent_connection(self) -> None:
        """A connection without any request is closed after the header timeout."""
        caller = Caller(Echo())
        caller.advance(HEADER_TIMEOUT)
        self.assertEqual((caller.answers(), caller.lost), ([], True))

    def test_idle_connection(self) -> None:
        """An idle connection is closed after the idle timeout, whatever was done on it before."""
        early = post(b"x" * 1000)
        for pieces in (
            [get()],
            [post(b"x")],
            [early],
            [early[:-900], early[-900:]],
            [b"\r\n", get()],
        ):
            held = Held()
            caller = Caller(held).send(*pieces)
            held.requests[0].body.read(1000).addErrback(self.fail)
            held.answers[0].callback(JSONResponse(200, {}))
            caller.settle()
            caller.advance(IDLE_TIMEOUT - 1)
            self.assertFalse(caller.lost, pieces)
            caller.advance(1)
            self.assertEqual((caller.lost, caller.wire.aborted), (True, False), pieces)
            self.assertEqual([answer.status for answer in caller.answers()], [200])

    def test_reader_of_the_last_answer(self) -> None:
        """
        If the client does not take the last response, its connection is aborted after the linger
        time.
        """
        caller = Caller(Echo()).send(get(b"/p", b"Connection: close")[:-2])
        caller.wire.loseConnection = lambda: None  # type: ignore[method-assign]
        caller.send(b"\r\n")
        caller.advance(IDLE_TIMEOUT)
        self.assertFalse(caller.wire.aborted)
        caller.advance(LINGER_SECONDS)
        self.assertTrue(caller.wire.aborted)

    def test_blank_line_behind_a_body(self) -> None:
        """
        A blank line after a body, which some clients have always sent, does not start a request
        that times out.
        """
        caller = Caller(Echo()).send(post(b"x") + b"\r\n")
        caller.advance(IDLE_TIMEOUT)
        self.assertEqual([answer.status for answer in caller.answers()], [200])
        self.assertTrue(caller.lost)
        drained = Caller(Echo()).send(post(b"x") + b"\r\n")
        drained.site.drain(30)
        drained.settle()
        self.assertTrue(drained.lost)

    def test_head_behind_an_answer_nobody_reads(self) -> None:
        """A request that waits until the response before it is read does not time out."""
        held = Held()
        caller = Caller(held).send(get(b"/1") + get(b"/2"))
        (channel,) = caller.site.channels
        channel.pauseProducing()
        held.answer()
        caller.advance(IDLE_TIMEOUT)
        self.assertEqual([answer.status for answer in caller.answers()], [200])

    def test_last_answer_through_another(self) -> None:
        """
        A proxy takes some megabytes, then nothing until its own client has taken those.  Its
        timeout is longer, so that a slow client receives the end of a response that is logged as
        complete.
        """
        for relayed, patience in ((False, 1), (True, PROXY_STALL_FACTOR)):
            taken = [0]
            for module in (connection, lingering_close):
                self.patch(module, "unsent", lambda transport: 1)
            self.patch(lingering_close, "acknowledged", lambda transport: lambda: taken[0])  # noqa: B023
            caller = Caller(Echo(), is_relayed=lambda peer, relayed=relayed: relayed)
            caller.send(get(b"/p"))
            caller.advance(IDLE_TIMEOUT)  # the first check; the timeout starts here
            for _ in range(3):
                for _ in range(patience - 1):
                    caller.advance(IDLE_TIMEOUT)
                taken[0] += 1
                caller.advance(IDLE_TIMEOUT)
                self.assertFalse(caller.lost, relayed)
            for _ in range(patience):
                self.assertFalse(caller.lost, relayed)
                caller.advance(IDLE_TIMEOUT)
            self.assertTrue(caller.wire.aborted, relayed)


class OrderTests(SynchronousTestCase):
    """The requests of a connection are served one after the other."""

    def test_one_at_a_time(self) -> None:
        """A request is served after the response before it is complete."""
        held = Held()
        caller = Caller(held).send(get(b"/1") + get(b"/2"), get(b"/3"))
        for n in range(3):
            self.assertEqual([r.path for r in held.requests], [b"/1", b"/2", b"/3"][: n + 1])
            held.answers[n].callback(JSONResponse(200, n))
        self.assertEqual([answer.json for answer in caller.answers()], [0, 1, 2])

    def test_flood_behind_a_request(self) -> None:
        """
        While a request is served, only a limited number of bytes after it is read; reading resumes
        later.
        """
        held, count = Held(), 2000
        caller = Caller(held).send(get(b"/0"), *[get()] * count)
        self.assertFalse(caller.reading)
        self.assertLess(len(caller.channel.received), 2 * HEAD_BYTES)
        for n in range(count + 1):
            held.answers[n].callback(JSONResponse(200, n))
            caller.settle()
        self.assertEqual(len(caller.answers()), count + 1)
        self.assertTrue(caller.reading)

    def test_leaves_within_a_head(self) -> None:
        """
        If the client disconnects before its request is complete, no request ends and no error is
        logged.
        """
        for part in (b"", b"\r\n", b"GET", b"GET / HTTP/1.1\r\n", get()[:-2], post(b"x")[:-3]):
            caller = Caller(Echo()).send(get(b"/first") + part)
            caller.leave()
            self.assertEqual((caller.site.running, len(caller.site.channels)), (0, 0))
            self.assertEqual(caller.clock.getDelayedCalls(), [])

    def test_buffer_empties_within_a_head(self) -> None:
        """The transport may resume the connection while a request is incomplete."""
        caller = Caller(Echo()).send(get()[:20])
        caller.channel.pauseProducing()
        caller.channel.resumeProducing()
        self.assertEqual(caller.send(get()[20:]).answer().status, 200)

    def test_persistence(self) -> None:
        """A connection is kept or closed as its version and ``Connection`` header say."""
        for version, lines, kept, told in [
            (b"1.1", [], True, None),
            (b"1.1", [b"Connection: keep-alive"], True, None),
            (b"1.1", [b"Connection: Close"], False, "close"),
            (b"1.1", [b"Connection: x,close"], False, "close"),
            (b"1.1", [b"Connection: x", b"Connection: close"], False, "close"),
            (b"1.1", [b"Connection: closed"], True, None),
            (b"1.0", [], False, None),
            (b"1.0", [b"Connection: keep-alive"], False, None),
        ]:
            echo = Echo()
            caller = Caller(echo).send(get(b"/p", *lines, version=version) + get(b"/second"))
            answers = caller.answers()
            self.assertEqual(answers[0].fields.get("connection"), told, lines)
            self.assertEqual((len(answers), caller.lost), (1 + kept, not kept), lines)
            self.assertEqual(len(echo.served), 1 + kept)
            self.assertEqual(answers[0].version, "HTTP/" + version.decode())


class Producer:
    """Records whether it is paused."""

    paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        pass


class BackPressureTests(SynchronousTestCase):
    """A transport whose buffer is full before a body begins."""

    def test_producer_that_comes_later(self) -> None:
        """
        A producer that is registered later is paused too, as TLS pauses the connection only once.
        """
        root, producer = Held(), Producer()
        caller = Caller(root).send(get())
        caller.channel.pauseProducing()
        root.requests[0].registerProducer(producer, True)
        self.assertTrue(producer.paused)
        caller.channel.resumeProducing()
        self.assertFalse(producer.paused)


class LingerTests(TestCase):
    """How a rejection reaches a client that is still sending; on real sockets."""

    async def refused(self) -> Loopback:
        caller = Loopback(self, reactor, Echo())
        await caller.send(b"GET / HTTP/1.1\r\n\r\n")
        await caller.read(lambda data: b"\r\n\r\n{" in data)
        return caller

    async def test_sender_who_stops(self) -> None:
        """
        Closing with unread bytes resets the connection and destroys the response; so the server
        continues to read until the client closes.
        """
        caller = await self.refused()
        await caller.read_to_end()
        await caller.send(b"x" * (LINGER_BYTES // 2))
        self.assertEqual([answer.status for answer in caller.answers()], [400])
        self.assertEqual(len(caller.site.channels), 1)
        caller.socket.shutdown(1)
        await until(caller.reactor, lambda: not caller.site.channels)
        self.assertFalse(caller.reset)

    async def test_sender_who_goes_on(self) -> None:
        """
        A client that continues to send after its rejection is disconnected after the linger time.
        """
        caller = await self.refused()
        self.assertLess(await caller.flood(64 * MIB), 64 * MIB)
        self.assertFalse(caller.transport._aborting)
        await until(reactor, lambda: not unsent(caller.transport))
        caller.clock.advance(LINGER_SECONDS)
        await until(caller.reactor, lambda: not caller.site.channels)

    async def test_sender_who_stays(self) -> None:
        """A client that does nothing after its rejection is disconnected after the linger time."""
        caller = await self.refused()
        await until(reactor, lambda: not unsent(caller.transport))
        caller.clock.advance(LINGER_SECONDS - 0.1)
        self.assertFalse(caller.transport._aborting)
        caller.clock.advance(0.1)
        await until(caller.reactor, lambda: not caller.site.channels)

    async def test_shutdown(self) -> None:
        """A rejected client has the linger time to read its response, even during a shutdown."""
        caller = await self.refused()
        caller.site.drain(30)
        await caller.send(b"x")
        self.assertFalse(caller.transport.disconnecting)
        await until(reactor, lambda: not unsent(caller.transport))
        caller.clock.advance(LINGER_SECONDS)
        await until(caller.reactor, lambda: not caller.site.channels)

    async def test_slow_reader_of_the_last_answer(self) -> None:
        """
        The idle timeout does not abort a response that is being read; one that is not read is
        aborted.
        """
        caller = Loopback(self, reactor, Big(), receive_buffer=16 * 1024)
        await caller.send(get())
        await until(reactor, lambda: caller.take(1))
        for _ in range(3):
            caller.clock.advance(IDLE_TIMEOUT)
            self.assertFalse(caller.transport._aborting)
            await caller.read(more_than(len(caller.data) + MIB))
        caller.clock.advance(IDLE_TIMEOUT)
        caller.clock.advance(IDLE_TIMEOUT)
        await until(reactor, lambda: not caller.site.channels)
