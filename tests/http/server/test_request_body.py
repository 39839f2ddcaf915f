"""
Bodies of requests: they are read on demand, and no faster.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.errors import RequestTimeout, TooLarge
from chatfiles.http.chunked import MANY_CHUNKS
from chatfiles.http.server.request_body import LARGE_READ, RequestBody
from chatfiles.http.server.responses import JSONResponse
from chatfiles.streams.outcome import ClientLeft
from chatfiles.streams.transports import SMALL_READ, TINY_READ
from tests.support.garbage import no_garbage
from tests.support.loopback import Loopback, until
from tests.support.memory_client import CHUNKED, IDLE_TIMEOUT, Caller, Held, chunked, get, post

EXPECT = b"Expect: 100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Receiver:
    """
    Records what it receives; pauses after each piece if it is not *eager*.  Its `answer` fails with
    the body.
    """

    def __init__(self, body: RequestBody, answer: Deferred[Any], eager: bool = True) -> None:
        self.body, self.answer, self.eager = body, answer, eager
        self.pieces: list[bytes] = []
        self.end: list[object] = []

    def received(self, data: bytes) -> None:
        if self.end:
            raise AssertionError("bytes behind the end")
        self.pieces.append(data)
        if not self.eager:
            self.body.pause()

    def finished(self) -> None:
        self.end.append("finished")

    def failed(self, error: BaseException) -> None:
        self.end.append(type(error))
        self.answer.errback(error)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


class BodyCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.held = Held()
        self.caller = Caller(self.held)

    def send(self, *pieces: bytes) -> None:
        self.caller.send(*pieces)

    def receiver(self, eager: bool = True) -> Receiver:
        receiver = Receiver(self.body, self.held.answers[-1], eager)
        self.body.deliver(receiver)
        self.caller.settle()
        return receiver

    @property
    def body(self) -> RequestBody:
        return self.held.requests[-1].body

    def answer(self, answer: JSONResponse | None = None) -> None:
        self.held.answer(answer)
        self.caller.settle()

    def statuses(self) -> list[int]:
        return [answer.status for answer in self.caller.answers()]


class ClaimTests(BodyCase):
    """Claiming a body."""

    def test_paused_until_claimed(self) -> None:
        """A body that is not claimed is paused, so that it does not fill the memory."""
        wire, piece = post(bytes(100_000)), 10_000
        self.send(*(wire[at : at + piece] for at in range(0, len(wire), piece)))
        self.assertFalse(self.caller.reading)
        self.assertLess(self.body.seen, piece)
        receiver = self.receiver()
        self.assertEqual((receiver.data, receiver.end), (bytes(100_000), ["finished"]))

    def test_complete_and_unclaimed(self) -> None:
        """
        The connection is read after a complete body, so that a disconnect is noticed before the
        response.
        """
        self.send(post(b"hello"))
        self.assertTrue(self.caller.reading)

    def test_continue_when_claimed(self) -> None:
        """``100 Continue`` is sent when the body is claimed, and not before."""
        self.send(get(b"/p", b"Content-Length: 2", EXPECT, method=b"POST"))
        self.assertEqual(self.caller.wire.value(), b"")
        receiver = self.receiver()
        self.assertEqual(self.caller.wire.value(), CONTINUE)
        self.send(b"hi")
        self.answer()
        self.assertEqual(receiver.end, ["finished"])
        self.assertEqual(self.statuses(), [100, 200])

    def test_no_continue(self) -> None:
        """``100 Continue`` is not sent to HTTP/1.0, without a body, or with the body on its way."""
        request = post(b"hello", EXPECT)
        for wire in (request.replace(b"1.1", b"1.0"), post(b"", EXPECT), request[:-1], request):
            self.setUp()
            self.send(wire)
            self.receiver()
            self.assertEqual(self.caller.wire.value(), b"", wire)

    def test_refused_without_continue(self) -> None:
        """A refused request gets no ``100 Continue``."""
        self.send(get(b"/p", b"Content-Length: 2", EXPECT, method=b"POST"))
        self.answer(JSONResponse(401, {}))
        answer = self.caller.answer()
        self.assertEqual((answer.status, answer.fields["connection"]), (401, "close"))
        self.assertTrue(self.caller.lost)

    def test_pause(self) -> None:
        """A pause that is requested while the first bytes are delivered takes effect."""
        wire = post(b"0123456789")
        self.send(wire[:-8], wire[-8:-5], wire[-5:])
        receiver = self.receiver(eager=False)
        self.assertEqual((receiver.data, self.caller.reading), (b"01", False))
        self.body.resume()
        self.caller.settle()
        self.assertEqual((receiver.data, receiver.end), (b"0123456789", ["finished"]))

    def test_paused_behind_a_full_buffer(self) -> None:
        """The end of the transport's back-pressure does not resume a paused body."""
        self.send(post(b"hello")[:-1])
        self.caller.channel.pauseProducing()
        self.caller.channel.resumeProducing()
        self.assertFalse(self.caller.reading)

    def test_claimed_twice(self) -> None:
        """A body can be claimed only once."""
        self.send(post(b"hello")[:-1])
        self.receiver()
        self.assertRaises(RuntimeError, self.receiver)

    def test_claimed_late(self) -> None:
        """Bytes, the end and an error that came before the claim are delivered."""
        for wire, data, end in [
            (post(b"hello"), b"hello", ["finished"]),
            (get(b"/p", CHUNKED, method=b"POST") + chunked(b"hel", b"lo"), b"hello", ["finished"]),
            (get(b"/p", method=b"POST"), b"", ["finished"]),
        ]:
            self.setUp()
            self.send(wire)
            receiver = self.receiver()
            self.assertEqual((receiver.data, receiver.end), (data, end))
        self.setUp()
        self.send(post(b"hello")[:-1])
        self.caller.leave()
        receiver = Receiver(self.body, Deferred())
        receiver.answer.addErrback(lambda failure: failure.trap(ClientLeft))
        self.body.deliver(receiver)
        self.assertEqual((receiver.data, receiver.end), (b"hell", [ClientLeft]))

    def test_tiny_chunks(self) -> None:
        """Chunks of one byte that arrive together are delivered as one piece."""
        self.send(get(b"/p", CHUNKED, method=b"POST"))
        receiver = self.receiver()
        self.send(chunked(*[b"%d" % n for n in range(10)])[:-5])
        self.assertEqual(receiver.pieces, [b"0123456789"])
        self.send(b"1\r\n+\r\n0\r\n\r\n")
        self.assertEqual((receiver.pieces[1:], receiver.end), ([b"+"], ["finished"]))

    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.sets(st.integers(1, 400)))
    def test_exact_bytes(self, chunks: list[bytes], cuts: set[int]) -> None:
        """Every byte is delivered once, at the edges of chunks, segments and pauses too."""
        for head_and_body in (
            get(b"/p", CHUNKED, method=b"POST") + chunked(*chunks),
            post(b"".join(chunks)),
        ):
            self.setUp()
            size = len(head_and_body)
            edges = sorted({0, size, *(cut % size for cut in cuts)})
            wire = [head_and_body[start:end] for start, end in pairwise(edges)]
            for piece in wire:
                self.send(piece)
            receiver = self.receiver(eager=False)
            while not receiver.end:
                self.body.resume()
                self.caller.settle()
            self.assertEqual((receiver.data, receiver.end), (b"".join(chunks), ["finished"]))
            self.answer()
            self.assertEqual((self.statuses(), self.caller.lost), ([200], False))


class ReadTests(BodyCase):
    """Small bodies that are read whole."""

    def test_limits(self) -> None:
        """A body of just the limit is read; one over it is rejected."""
        chunks = get(b"/p", CHUNKED, method=b"POST") + chunked(b"hel", b"lo")
        for wire in (post(b"hello"), chunks):
            for limit in (5, 4):
                self.setUp()
                self.send(wire)
                read = self.body.read(limit)
                if limit == 5:
                    self.assertEqual(self.successResultOf(read), b"hello")
                else:
                    self.failureResultOf(read, TooLarge)

    def test_declared_too_large(self) -> None:
        """A body that is declared too large is rejected before it is asked for or read."""
        self.send(get(b"/p", b"Content-Length: 9999999", EXPECT, method=b"POST"))
        self.body.read(10).addErrback(self.held.answers[0].errback)
        answer = self.caller.answer()
        self.assertEqual((answer.status, answer.json["code"]), (413, "too_large"))
        self.assertEqual(answer.fields["connection"], "close")

    def test_malformed(self) -> None:
        """A malformed body is rejected at once."""
        for rest in (b"x\r\n", b"1\r\nabc", b"1\r\na\n0\r\n\r\n", b"0\r\nbad trailer\r\n\r\n"):
            self.setUp()
            self.send(get(b"/p", CHUNKED, method=b"POST") + b"2\r\nok\r\n")
            self.body.read(100).chainDeferred(self.held.answers[0])
            self.send(rest, b"more")
            answer = self.caller.answer()
            self.assertEqual((answer.status, answer.json["code"]), (400, "malformed_request"))
            self.assertTrue(self.caller.lost)


class TimeTests(BodyCase):
    """Timeouts within a body."""

    def late(self) -> list[int]:
        """:return: the statuses after the idle timeout; there are none just before it."""
        self.caller.advance(IDLE_TIMEOUT - 1)
        self.assertEqual(self.statuses(), [])
        self.caller.advance(1)
        return self.statuses()

    def test_silence(self) -> None:
        """A client that stops sending gets a 408 after the idle timeout."""
        for pieces in ([post(b"hello")[:-5]], [post(b"hello")[:-1]], [post(b"hello")[:-4], b"el"]):
            self.setUp()
            self.send(*pieces)
            receiver = self.receiver()
            self.assertEqual(self.late(), [408], pieces)
            self.assertEqual((receiver.end, self.caller.lost), ([RequestTimeout], True))

    def test_sending_does_not_count(self) -> None:
        """A client that only takes what is sent to it still has to send its body."""
        self.send(post(b"hello")[:-1])
        self.receiver()
        self.caller.advance(IDLE_TIMEOUT - 1)
        self.caller.channel.pauseProducing()
        self.caller.channel.resumeProducing()
        self.caller.advance(1)
        self.assertEqual(self.statuses(), [408])

    def test_silence_of_another_hop(self) -> None:
        """A 408 that comes from a workspace ends the connection, too; other errors do not."""
        for status, connection in ((408, "close"), (500, None)):
            self.setUp()
            self.send(post(b"hello")[:-1])
            self.answer(JSONResponse(status, {}))
            (answer,) = self.caller.answers()
            self.assertEqual(answer.fields.get("connection"), connection, status)

    def test_each_byte_counts(self) -> None:
        """A slow client is not timed out: each byte restarts the timeout."""
        self.send(post(b"hello")[:-5])
        receiver = self.receiver()
        for byte in b"hello":
            self.caller.advance(IDLE_TIMEOUT - 1)
            self.send(bytes([byte]))
        self.assertEqual(receiver.end, ["finished"])

    def test_own_pauses(self) -> None:
        """Time during which the server does not read does not count."""
        self.send(post(b"hello")[:-4])
        self.caller.advance(3 * IDLE_TIMEOUT)  # not claimed
        receiver = self.receiver(eager=False)
        self.caller.advance(3 * IDLE_TIMEOUT)  # paused
        self.assertEqual((receiver.end, self.statuses()), ([], []))
        self.body.resume()
        self.assertEqual(self.late(), [408])

    def test_not_asked_yet(self) -> None:
        """
        For a client that waits for ``100 Continue``, the timeout starts when the body is claimed.
        """
        self.send(get(b"/p", b"Content-Length: 2", EXPECT, method=b"POST"))
        self.caller.advance(3 * IDLE_TIMEOUT)
        receiver = self.receiver()
        self.send(b"hi")
        self.assertEqual(receiver.end, ["finished"])


class SocketTests(TestCase):
    """Bodies that come through a socket, and the kernel's buffers."""

    async def test_size_of_reads(self) -> None:
        """
        Reads are large only for a long body of known length, to save work; otherwise they are
        small, to save memory.
        """
        for line, claims, large in (
            (b"Content-Length: 200000", True, True),
            (b"Content-Length: 200000", False, False),
            (b"Content-Length: 10000", True, False),
            (CHUNKED, True, False),
        ):
            held = Held()
            caller = Loopback(self, reactor, held)
            await caller.send(get(b"/p", line, method=b"POST"))
            await until(reactor, lambda held=held: held.requests)  # type: ignore[misc]
            if claims:
                receiver = Receiver(held.requests[0].body, held.answers[0])
                held.requests[0].body.deliver(receiver)
            size = LARGE_READ if large else SMALL_READ
            self.assertEqual(caller.transport.bufferSize, size, line)
            if not claims:
                continue
            await caller.send(chunked(b"x") if line == CHUNKED else bytes(int(line[16:])))
            await until(reactor, lambda: receiver.end)  # noqa: B023
            self.assertEqual(caller.transport.bufferSize, SMALL_READ)

    async def test_size_of_reads_of_tiny_chunks(self) -> None:
        """
        Reads become tiny if a body has many chunks of one byte, so that it does not delay other
        clients.
        """
        held = Held()
        caller = Loopback(self, reactor, held)
        await caller.send(get(b"/p", CHUNKED, method=b"POST"))
        await until(reactor, lambda: held.requests)
        receiver = Receiver(held.requests[0].body, held.answers[0])
        held.requests[0].body.deliver(receiver)
        await caller.send(b"1\r\nx\r\n" * MANY_CHUNKS)
        await until(reactor, lambda: len(receiver.data) == MANY_CHUNKS)
        self.assertEqual(caller.transport.bufferSize, SMALL_READ)
        await caller.send(b"1\r\nx\r\n" * (MANY_CHUNKS * 10))
        await until(reactor, lambda: len(receiver.data) == MANY_CHUNKS * 11)
        self.assertEqual(caller.transport.bufferSize, TINY_READ)
        await caller.send(b"0\r\n\r\n")
        await until(reactor, lambda: receiver.end)
        self.assertEqual(caller.transport.bufferSize, SMALL_READ)

    async def test_size_of_reads_of_a_rest(self) -> None:
        """Reads become small when a request is refused before its body is complete."""
        held = Held()
        caller = Loopback(self, reactor, held)
        await caller.send(get(b"/p", b"Content-Length: 9000000", method=b"POST"))
        await until(reactor, lambda: held.requests)
        held.requests[0].body.deliver(Receiver(held.requests[0].body, held.answers[0]))
        for size, used in ((SMALL_READ * 2, SMALL_READ * 2), (LARGE_READ * 2, LARGE_READ)):
            held.requests[0].body.read_at_most(size)
            self.assertEqual(caller.transport.bufferSize, used)
        transport = caller.transport
        held.answer(JSONResponse(413, {}))
        self.assertEqual(transport.bufferSize, SMALL_READ)

    async def test_no_cycles(self) -> None:
        """A request with a body, and its connection, are freed when they end."""
        with no_garbage(self):
            await self.receive_and_close()

    async def receive_and_close(self) -> None:
        """Receive one body, respond, and see the client leave."""
        held = Held()
        caller = Loopback(self, reactor, held)
        await caller.send(get(b"/p", b"Content-Length: 5", method=b"POST") + b"hello")
        await until(reactor, lambda: held.requests)
        body = held.requests[0].body
        body.deliver(Receiver(body, held.answers[0]))
        await until(reactor, lambda: body.complete)
        held.answer(JSONResponse(200, {}))
        await caller.read(lambda got: b"{}" in got)
        caller.socket.close()
        await until(reactor, lambda: not caller.site.channels)
        held.requests.clear()

    async def test_back_pressure(self) -> None:
        """A slow receiver slows down a fast client, so that the body does not fill the memory."""
        held = Held()
        caller = Loopback(self, reactor, held)
        size = 32 * 1024 * 1024
        await caller.send(get(b"/p", b"Content-Length: %d" % size, method=b"POST"))
        await until(reactor, lambda: held.requests)
        receiver = Receiver(held.requests[0].body, held.answers[0], eager=False)
        held.requests[0].body.deliver(receiver)
        left = size
        for _ in range(50):
            try:
                left -= caller.socket.send(bytes(min(left, 1 << 20)))
            except BlockingIOError:
                await until(reactor, lambda: held.requests[0].body.paused)
                break
        self.assertGreater(left, 0)
        self.assertEqual(len(receiver.pieces), 1)
        receiver.eager = True
        held.requests[0].body.resume()
        await caller.send(bytes(left))
        await until(reactor, lambda: receiver.end)
        self.assertEqual((held.requests[0].body.seen, receiver.end), (size, ["finished"]))
