"""
Clients that pipeline more and more requests and do not read the responses.
"""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.http.server.connection import REQUESTS_PER_TURN
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from tests.support.loopback import Loopback, until
from tests.support.memory_client import Caller, Held, get, tree
from tests.support.resources import Branch, Endpoint

MIB = 1 << 20
#: More than any two kernels hold for a loopback connection.
MOST = 64 * MIB


class Wordy(Endpoint):
    """Responds with a little more bytes than the request has."""

    async def render_GET(self, request: Request) -> JSONResponse:
        return JSONResponse(200, {"text": "x" * 200})


class Endless(Endpoint):
    """Sends a response that never ends."""

    async def render_GET(self, request: Request) -> JSONResponse | None:
        request.setHeader(b"Content-Length", b"%d" % (1 << 40))
        for _ in range(64):
            request.write(b"x" * MIB)
        await Deferred()
        return None


class PipelineTests(TestCase):
    """What a client may pipeline is bounded by what it reads."""

    def start(self) -> Loopback:
        root = Branch()
        root.putChild(b"wordy", Wordy())
        root.putChild(b"endless", Endless())
        return Loopback(self, reactor, root, receive_buffer=16384)

    async def test_answers_nobody_reads(self) -> None:
        """Responses that are not read do not fill the memory: this attack needs no credential."""
        caller = self.start()
        requests = b"GET /wordy HTTP/1.1\r\nHost: a\r\n\r\n"
        taken = await caller.flood(MOST, requests)
        self.assertLess(taken, MOST)
        (channel,) = caller.site.channels
        buffered = len(channel.transport.dataBuffer) + channel.transport._tempDataLen  # type: ignore[union-attr]
        self.assertLess(buffered, MIB)

    async def test_all_are_answered_in_the_end(self) -> None:
        """A pipeline that was paused is served completely."""
        caller = self.start()
        count = 5000
        await caller.send(b"GET /wordy HTTP/1.1\r\nHost: a\r\n\r\n" * count)
        seen = 0

        def read() -> bool:
            nonlocal seen
            seen += caller.take()
            caller.clock.advance(0)
            return caller.data.count(b"HTTP/1.1 200") == count

        await until(reactor, read)
        self.assertEqual({answer.status for answer in caller.answers()}, {200})

    async def test_behind_an_answer_nobody_reads(self) -> None:
        """Only a limited number of bytes is kept after a request whose response is not read."""
        caller = self.start()
        await caller.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        taken = await caller.flood(MOST, b"x" * 65536)
        self.assertLess(taken, MOST)
        (channel,) = caller.site.channels
        self.assertLess(len(channel.received), MIB)


class TurnTests(SynchronousTestCase):
    """Pipelined requests are served in turns."""

    def test_caller_leaves_between_turns(self) -> None:
        """
        After a disconnect the remaining requests are not served: nothing slows down or ends their
        downloads.
        """
        held = Held()
        caller = Caller(tree(held=held)).send(
            get(b"/none") * (REQUESTS_PER_TURN + 10) + get(b"/held")
        )
        caller.leave()
        caller.advance(1)
        self.assertEqual((held.requests, caller.site.running), ([], 0))
        self.assertEqual(caller.clock.getDelayedCalls(), [])

    def test_others_have_their_turn(self) -> None:
        """A client that sends thousands of cheap requests at once does not delay other clients."""
        caller = Caller(Branch()).send(get(b"/none") * 120)
        self.assertEqual(len(caller.answers()), REQUESTS_PER_TURN)
        caller.advance(0)  # a `Clock` makes all calls that are due at once
        self.assertEqual(len(caller.answers()), 120)
        caller.send(get(b"/none"))
        self.assertEqual(len(caller.answers()), 121)
