"""
Responses to requests whose body is not read, or not completely.
"""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.http.server.lingering_close import LINGER_BYTES, LINGER_SECONDS
from chatfiles.http.server.request import KEEP_ALIVE_DRAIN
from chatfiles.http.server.responses import JSONResponse
from chatfiles.streams.peer_state import PeerState, peer_state
from chatfiles.streams.stall_timeout import acknowledged, unsent
from tests.support.loopback import Loopback, more_than, reset_on_close, until
from tests.support.memory_client import CHUNKED, IDLE_TIMEOUT, Caller, Held, chunked, get, post

GHOST = post(b"", path=b"/ghost")


class UnreadTests(SynchronousTestCase):
    """Unread bodies, in memory."""

    def asked(self, *pieces: bytes) -> tuple[Caller, Held]:
        """:return: a client whose request has got its response."""
        held = Held()
        caller = Caller(held).send(*pieces)
        held.answer()
        caller.settle()
        return caller, held

    def test_small_rest(self) -> None:
        """A small rest of a body is read and discarded, and the connection is kept."""
        wire = post(GHOST * 10)
        caller, held = self.asked(wire[:-300])
        answer = caller.answer()
        self.assertEqual((answer.status, answer.fields.get("connection")), (200, None))
        caller.send(wire[-300:] + post(b"", path=b"/next"))
        self.assertEqual([request.path for request in held.requests], [b"/p", b"/next"])
        held.answer()
        self.assertEqual(([a.status for a in caller.answers()], caller.lost), ([200, 200], False))

    def test_large_or_unknown_rest(self) -> None:
        """
        If the rest of a body is large or of unknown length, it is not read, and the connection is
        closed.
        """
        for line in (b"Content-Length: %d" % (KEEP_ALIVE_DRAIN + 1), CHUNKED):
            caller, held = self.asked(get(b"/p", line, method=b"POST"))
            caller.send(GHOST)
            self.assertEqual(caller.answer().fields["connection"], "close")
            self.assertEqual((len(held.requests), caller.lost), (1, True))

    def test_rest_that_never_comes(self) -> None:
        """If the rest of a body does not come within the idle timeout, the connection is closed."""
        caller, _ = self.asked(post(b"hello")[:-1])
        caller.advance(IDLE_TIMEOUT - 1)
        self.assertFalse(caller.lost)
        caller.advance(1)
        self.assertEqual((caller.answer().status, caller.lost), (200, True))

    def test_answered_when_it_is_late(self) -> None:
        """A response is not destroyed if the rest of the body times out just after it."""
        caller, _ = self.asked(post(b"hello")[:-1])
        caller.advance(IDLE_TIMEOUT)
        self.assertEqual((caller.answer().complete, caller.wire.aborted), (True, False))

    def test_answer_of_unknown_length(self) -> None:
        """
        A response of unknown length is completed even if it begins before the body is complete.
        """
        for line, more in ((b"Content-Length: 5", b"hello"), (CHUNKED, chunked(b"hello"))):
            held = Held()
            caller = Caller(held).send(get(b"/p", line, method=b"POST"))
            held.requests[0].write(b"early")
            held.answers[0].callback(None)
            answer = caller.send(more).answer()
            self.assertEqual((answer.body, answer.complete), (b"early", True))

    def test_fails_behind_the_head_of_the_answer(self) -> None:
        """
        If the body fails after the headers of the response, the connection is closed, as the body
        cannot be completed.
        """
        held = Held()
        caller = Caller(held).send(post(b"hello")[:-1])
        held.requests[0].setHeader(b"Content-Length", b"0")
        held.requests[0].write(b"")
        read: Deferred[bytes] = held.requests[0].body.read(5)
        caller.advance(IDLE_TIMEOUT)
        self.failureResultOf(read)
        held.answers[0].callback(None)
        caller.settle()
        self.assertEqual((caller.answer().status, caller.lost), (200, True))


class SocketTests(TestCase):
    """Real sockets, where a close may destroy the response."""

    async def refused(self) -> Loopback:
        held = Held()
        caller = Loopback(self, reactor, held)
        await caller.send(get(b"/p", b"Content-Length: 99999999", method=b"POST"))
        await until(reactor, lambda: held.requests)
        held.answer(JSONResponse(413, {}))
        return caller

    async def answered_at_length(self, size: int) -> Loopback:
        """:return: a rejected client that has *size* bytes of a response to read."""
        held = Held()
        caller = Loopback(self, reactor, held, receive_buffer=16 * 1024)
        await caller.send(get(b"/p", b"Content-Length: 99999999", method=b"POST"))
        await until(reactor, lambda: held.requests)
        held.requests[0].write(bytes(size))
        held.answers[0].callback(None)
        return caller

    async def test_sender_who_stops(self) -> None:
        """A rejected client that stops sending receives the response, not a reset."""
        caller = await self.refused()
        await caller.send(bytes(LINGER_BYTES // 2))
        await caller.read_to_end()
        self.assertEqual([answer.status for answer in caller.answers()], [413])
        self.assertFalse(caller.reset)

    async def test_sender_who_goes_on(self) -> None:
        """
        A rejected client that continues to send receives the response, and is disconnected after
        the linger time.
        """
        caller = await self.refused()
        self.assertLess(await caller.flood(1 << 26), 1 << 26)
        await caller.read_to_end()
        self.assertEqual([answer.status for answer in caller.answers()], [413])
        await until(reactor, lambda: not unsent(caller.transport))
        caller.clock.advance(LINGER_SECONDS)
        await until(reactor, lambda: not caller.site.channels)

    async def test_sender_who_goes_on_and_leaves(self) -> None:
        """
        If such a client resets the connection, bytes that it has not taken are not waited for
        longer than the linger time.
        """
        caller = await self.answered_at_length(1 << 20)
        await caller.flood(1 << 26)
        reset_on_close(caller.socket)
        caller.socket.close()
        await until(reactor, lambda: peer_state(caller.transport) is PeerState.RESET)
        self.assertTrue(unsent(caller.transport))
        caller.clock.advance(LINGER_SECONDS)
        await until(reactor, lambda: not caller.site.channels)

    async def test_slow_reader(self) -> None:
        """
        A large response that is read slowly is not aborted because of its request's unread body;
        one that is not read is closed after the idle timeout.
        """
        caller = await self.answered_at_length(1 << 23)
        await until(reactor, lambda: caller.take(1))
        for _ in range(3):
            caller.clock.advance(LINGER_SECONDS)
            self.assertFalse(caller.transport._aborting)
            await caller.read(more_than(len(caller.data) + (1 << 20)))
        taken = acknowledged(caller.transport)
        last, since = taken(), caller.clock.seconds()
        while caller.site.channels:
            if last != taken():  # until the client's buffer is full
                last, since = taken(), caller.clock.seconds()
            caller.clock.advance(LINGER_SECONDS)
            await deferLater(reactor, 0)
        waited = caller.clock.seconds() - since
        self.assertTrue(0 <= waited - IDLE_TIMEOUT < 3 * LINGER_SECONDS, waited)
