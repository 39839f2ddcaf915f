"""
reference/uploads, "Back-pressure": a caller's body as the body of a request to a workspace, as it
arrives.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web._newclient import ChunkedEncoder, LengthEnforcingConsumer
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface.verify import verifyObject

from chatfiles.errors import BadRequest, TooLarge, UpstreamTimeout
from chatfiles.http.server.endpoint import JSONResponse
from chatfiles.http.server.request import Request
from chatfiles.http.server.request_body import BodyReceiver, ClientDisconnected
from chatfiles.platform.forwarding import upload_body
from chatfiles.platform.forwarding.upload_body import UploadBody
from chatfiles.platform.upstream.request import IWatchfulBody
from tests.support.memory_client import Caller, get, post
from tests.support.resources import Endpoint

LIMIT = 100


class Body:
    """What `chatfiles.http.server.request_body.RequestBody` is to its receiver."""

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.paused = True  # until somebody asks
        self.receiver: BodyReceiver | None = None

    def deliver(self, receiver: BodyReceiver) -> None:
        self.receiver = receiver
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Consumer:
    """Takes what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


class ForwardedBodyTests(SynchronousTestCase):
    """`UploadBody`."""

    def make(self, length: int | None = None, begin: bool = True) -> None:
        self.body = Body(length)
        self.forwarded = UploadBody(self.body, LIMIT)  # type: ignore[arg-type]
        self.consumer = Consumer()
        self.results: list[Any] = []
        if begin:
            self.begin()

    def begin(self) -> None:
        done: Deferred[None] = self.forwarded.startProducing(self.consumer)  # type: ignore[arg-type]
        done.addBoth(self.results.append)

    def setUp(self) -> None:
        self.make()

    def failure(self) -> BaseException:
        (result,) = self.results
        value: BaseException = result.value
        return value

    def test_interface(self) -> None:
        """treq, or the connection, does not recognise it."""
        verifyObject(IBodyProducer, self.forwarded)
        verifyObject(IWatchfulBody, self.forwarded)

    def test_length(self) -> None:
        """The workspace is told another length than the platform was."""
        for length, told in ((None, UNKNOWN_LENGTH), (0, 0), (5, 5)):
            self.make(length)
            self.assertEqual(self.forwarded.length, told)

    def test_asked_when_connected(self) -> None:
        """A caller sends a body that nobody can take yet."""
        self.make(begin=False)
        self.assertIsNone(self.body.receiver)
        self.assertTrue(self.body.paused)
        self.begin()
        self.assertIs(self.body.receiver, self.forwarded)
        self.assertFalse(self.body.paused)

    def test_passes_on(self) -> None:
        """Bytes wait for more of them, or are changed."""
        self.forwarded.received(b"one")
        self.assertEqual(self.consumer.written, b"one")
        self.forwarded.received(b"two")
        self.forwarded.finished()
        self.assertEqual(self.consumer.written, b"onetwo")
        self.assertEqual(self.results, [None])

    def test_no_body(self) -> None:
        """A body without bytes is never complete."""

        class Empty(Body):
            def deliver(self, receiver: BodyReceiver) -> None:
                receiver.finished()

        forwarded = UploadBody(Empty(0), LIMIT)  # type: ignore[arg-type]
        done: Deferred[None] = forwarded.startProducing(self.consumer)  # type: ignore[arg-type]
        self.assertIsNone(self.successResultOf(done))

    def test_back_pressure(self) -> None:
        """A workspace that takes no more does not stop the caller."""
        self.forwarded.pauseProducing()
        self.assertTrue(self.body.paused)
        self.forwarded.resumeProducing()
        self.assertFalse(self.body.paused)

    def test_too_large(self) -> None:
        """A body without a declared length crosses the limit, or ends there as if complete."""
        self.forwarded.received(b"x" * LIMIT)
        self.assertEqual(self.results, [])
        self.forwarded.received(b"x")
        error = self.failure()
        self.assertIsInstance(error, TooLarge)
        self.assertEqual(str(error), "request body exceeds total limit (100 bytes)")
        self.assertIs(self.forwarded.error, error)
        self.assertEqual(len(self.consumer.written), LIMIT)
        self.forwarded.received(b"y")
        self.forwarded.finished()
        self.assertEqual(len(self.results), 1)
        self.assertTrue(self.body.paused)

    def test_caller_fails(self) -> None:
        """A body that was cut is ended as if it were complete."""
        for error in (ClientDisconnected(), BadRequest()):
            self.make()
            self.forwarded.received(b"x")
            self.forwarded.failed(error)
            self.assertIs(self.failure(), error)
            self.assertIs(self.forwarded.error, error)

    def test_workspace_stops(self) -> None:
        """A caller whose bytes nobody wants any more sends on, or is blamed."""
        self.forwarded.received(b"x")
        self.forwarded.stopProducing()
        self.forwarded.received(b"y")
        self.assertEqual(self.consumer.written, b"x")
        self.assertTrue(self.body.paused)
        self.forwarded.failed(ClientDisconnected())
        self.forwarded.finished()
        self.assertEqual(self.results, [])

    def test_given_up_by_the_client(self) -> None:
        """A request that is cancelled ends in an error nobody sees."""
        self.make(begin=False)
        done: Deferred[None] = self.forwarded.startProducing(self.consumer)  # type: ignore[arg-type]
        done.addErrback(lambda _: None)
        done.cancel()
        self.forwarded.failed(ClientDisconnected())

    # -- whether the workspace takes anything

    def changes(self) -> bool:
        return self.forwarded.progress() != self.forwarded.progress()

    def test_caller_is_slow(self) -> None:
        """A workspace is cut off because the caller does not send."""
        self.assertTrue(self.changes())

    def test_workspace_is_stuck(self) -> None:
        """A workspace that takes nothing is waited for without end."""
        self.forwarded.received(b"x")
        self.forwarded.pauseProducing()
        self.assertFalse(self.changes())
        self.forwarded.resumeProducing()
        self.assertTrue(self.changes())

    def test_workspace_is_slow(self) -> None:
        """A workspace that takes little by little from what we hold is cut off."""
        taken = [0]
        self.patch(upload_body, "acknowledged", lambda transport: lambda: (transport, *taken))
        transport: Any = "transport"
        self.forwarded.sending_to(transport)
        self.forwarded.pauseProducing()
        before = self.forwarded.progress()
        self.assertEqual(self.forwarded.progress(), before)
        taken[0] += 1
        self.assertNotEqual(self.forwarded.progress(), before)

    def test_give_up(self) -> None:
        """A caller is not told that it was the workspace."""
        self.forwarded.give_up()
        self.assertIsInstance(self.failure(), UpstreamTimeout)
        self.assertIs(self.forwarded.error, self.failure())

    def test_answer_takes_long(self) -> None:
        """A workspace that has everything is cut off because it takes nothing more."""
        for end in ("finished", "stopProducing"):
            self.make()
            self.forwarded.pauseProducing()
            getattr(self.forwarded, end)()
            self.assertTrue(self.changes())
            self.assertIsNone(self.forwarded.error)

    # -- with the encoders that it is written to

    def test_chunked(self) -> None:
        """A body without a declared length is not framed."""
        wire = Wire()
        encoder = ChunkedEncoder(wire)
        encoder.registerProducer(self.forwarded, True)
        self.forwarded.startProducing(encoder)
        self.forwarded.received(b"abc")
        self.assertEqual(wire.written, b"3\r\nabc\r\n")

    def test_longer_than_declared(self) -> None:
        """A caller's parser that let too much through has it sent on."""
        self.make(3, begin=False)
        failed: Deferred[None] = Deferred()
        wire = Wire()
        encoder: Any = LengthEnforcingConsumer(self.forwarded, wire, failed)
        self.forwarded.startProducing(encoder)
        self.forwarded.received(b"abc")
        self.forwarded.received(b"d")
        self.failureResultOf(failed)
        self.forwarded.received(b"e")
        self.assertEqual(wire.written, b"abc")


class Wire(Consumer):
    """A transport, as far as the encoders look at it."""

    def writeSequence(self, pieces: list[bytes]) -> None:
        self.written += b"".join(pieces)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        pass


class Forwarding(Endpoint):
    """Passes a body on to somebody who has had enough after every piece."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.taken = b""

    async def render_POST(self, request: Request) -> JSONResponse:
        self.body = UploadBody(request.body, LIMIT)
        consumer: Any = self
        await self.body.startProducing(consumer)
        await Deferred()
        raise AssertionError("nobody answers")

    def write(self, data: bytes) -> None:
        self.taken += data
        self.body.pauseProducing()


class CallerTests(SynchronousTestCase):
    """With the body of a real request."""

    def test_paused_from_the_first_piece(self) -> None:
        """The first pause is forgotten, because nobody had asked for the body before."""
        forwarding = Forwarding()
        caller = Caller(forwarding).send(get(b"/", b"Content-Length: 9", method=b"POST") + b"one")
        self.assertFalse(caller.reading)
        caller.send(b"two")
        self.assertEqual(forwarding.taken, b"one")
        forwarding.body.resumeProducing()
        caller.settle()
        self.assertEqual(forwarding.taken, b"onetwo")
        self.assertFalse(caller.reading)

    def test_complete_while_paused(self) -> None:
        """Nobody notices that a caller leaves while the workspace works on its answer."""
        caller = Caller(Forwarding()).send(post(b"whole"))
        self.assertTrue(caller.reading)

    def test_error_of_the_workspace(self) -> None:
        """A caller whose body nobody wants any more is let send it all the same."""
        forwarding = Forwarding()
        caller = Caller(forwarding).send(get(b"/", b"Content-Length: 9", method=b"POST") + b"one")
        forwarding.body.stopProducing()
        forwarding.body.resumeProducing()
        caller.send(b"two")
        self.assertEqual(forwarding.taken, b"one")
        self.assertFalse(caller.reading)
