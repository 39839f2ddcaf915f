"""
Answers to requests whose body is not, or not all, read.
"""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.http.server.endpoint import JSONResponse
from chatfiles.http.server.lingering_close import LINGER_BYTES, LINGER_SECONDS
from chatfiles.http.server.request import KEEP_ALIVE_DRAIN
from chatfiles.streams.peer_state import PeerState, peer_state
from chatfiles.streams.stall_timeout import unsent
from tests.support.loopback import Loopback, more_than, reset_on_close, until
from tests.support.memory_client import CHUNKED, IDLE_TIMEOUT, Caller, Held, chunked, get, post

GHOST = post(b"", path=b"/ghost")


class UnreadTests(SynchronousTestCase):
    """In memory."""

    def asked(self, *pieces: bytes) -> tuple[Caller, Held]:
        """:return: a caller whose request has been answered."""
        held = Held()
        caller = Caller(held).send(*pieces)
        held.answer()
        caller.settle()
        return caller, held

    def test_small_rest(self) -> None:
        """The connection would be given up, or the rest taken for a request."""
        wire = post(GHOST * 10)
        caller, held = self.asked(wire[:-300])
        answer = caller.answer()
        self.assertEqual((answer.status, answer.fields.get("connection")), (200, None))
        caller.send(wire[-300:] + post(b"", path=b"/next"))
        self.assertEqual([request.path for request in held.requests], [b"/p", b"/next"])
        held.answer()
        self.assertEqual(([a.status for a in caller.answers()], caller.lost), ([200, 200], False))

    def test_large_or_unknown_rest(self) -> None:
        """A refused upload would be taken to its end; or its rest for requests."""
        for line in (b"Content-Length: %d" % (KEEP_ALIVE_DRAIN + 1), CHUNKED):
            caller, held = self.asked(get(b"/p", line, method=b"POST"))
            caller.send(GHOST)
            self.assertEqual(caller.answer().fields["connection"], "close")
            self.assertEqual((len(held.requests), caller.lost), (1, True))

    def test_rest_that_never_comes(self) -> None:
        """A connection would be held by a promise of a few more bytes."""
        caller, _ = self.asked(post(b"hello")[:-1])
        caller.advance(IDLE_TIMEOUT - 1)
        self.assertFalse(caller.lost)
        caller.advance(1)
        self.assertEqual((caller.answer().status, caller.lost), (200, True))

    def test_answered_when_it_is_late(self) -> None:
        """An answer would be destroyed for having come just before the rest of the body was due."""
        caller, _ = self.asked(post(b"hello")[:-1])
        caller.advance(IDLE_TIMEOUT)
        self.assertEqual((caller.answer().complete, caller.wire.aborted), (True, False))

    def test_answer_of_unknown_length(self) -> None:
        """The answer would have no end before the body has one, or none at all."""
        for line, more in ((b"Content-Length: 5", b"hello"), (CHUNKED, chunked(b"hello"))):
            held = Held()
            caller = Caller(held).send(get(b"/p", line, method=b"POST"))
            held.requests[0].write(b"early")
            held.answers[0].callback(None)
            answer = caller.send(more).answer()
            self.assertEqual((answer.body, answer.complete), (b"early", True))

    def test_fails_behind_the_head_of_the_answer(self) -> None:
        """A connection would be kept for the rest of a body that cannot be completed."""
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
    """Where a close may destroy the answer."""

    async def refused(self) -> Loopback:
        held = Held()
        caller = Loopback(self, reactor, held)
        await caller.send(get(b"/p", b"Content-Length: 99999999", method=b"POST"))
        await until(reactor, lambda: held.requests)
        held.answer(JSONResponse(413, {}))
        return caller

    async def answered_at_length(self, size: int) -> Loopback:
        """:return: a refused sender, who has an answer of *size* bytes to take."""
        held = Held()
        caller = Loopback(self, reactor, held, receive_buffer=16 * 1024)
        await caller.send(get(b"/p", b"Content-Length: 99999999", method=b"POST"))
        await until(reactor, lambda: held.requests)
        held.requests[0].write(bytes(size))
        held.answers[0].callback(None)
        return caller

    async def test_sender_who_stops(self) -> None:
        """A refused sender would see a reset in place of the answer."""
        caller = await self.refused()
        await caller.send(bytes(LINGER_BYTES // 2))
        await caller.read_to_end()
        self.assertEqual([answer.status for answer in caller.answers()], [413])
        self.assertFalse(caller.reset)

    async def test_sender_who_goes_on(self) -> None:
        """A refused sender would be listened to for ever, or not be able to read why."""
        caller = await self.refused()
        self.assertLess(await caller.flood(1 << 26), 1 << 26)
        await caller.read_to_end()
        self.assertEqual([answer.status for answer in caller.answers()], [413])
        await until(reactor, lambda: not unsent(caller.transport))
        caller.clock.advance(LINGER_SECONDS)
        await until(reactor, lambda: not caller.site.channels)

    async def test_sender_who_goes_on_and_leaves(self) -> None:
        """What one that is gone has not taken would be waited for until patience ends."""
        caller = await self.answered_at_length(1 << 20)
        await caller.flood(1 << 26)
        reset_on_close(caller.socket)
        caller.socket.close()
        await until(reactor, lambda: peer_state(caller.transport) is PeerState.RESET)
        self.assertTrue(unsent(caller.transport))
        caller.clock.advance(LINGER_SECONDS)
        await until(reactor, lambda: not caller.site.channels)

    async def test_slow_reader(self) -> None:
        """A large answer would be cut because nobody wants the body of its request."""
        caller = await self.answered_at_length(1 << 23)
        await until(reactor, lambda: caller.take(1))
        for _ in range(3):
            caller.clock.advance(LINGER_SECONDS)
            self.assertFalse(caller.transport._aborting)
            await caller.read(more_than(len(caller.data) + (1 << 20)))
        caller.clock.advance(LINGER_SECONDS)
        for _ in range(int(IDLE_TIMEOUT / LINGER_SECONDS)):
            self.assertEqual(len(caller.site.channels), 1)
            caller.clock.advance(LINGER_SECONDS)
        await until(reactor, lambda: not caller.site.channels)
