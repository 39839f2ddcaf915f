"""
reference/uploads, "Back-pressure": a client's body is forwarded to a workspace as it arrives.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web._newclient import ChunkedEncoder, LengthEnforcingConsumer
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface.verify import verifyObject

from chatfiles.errors import BadRequest, TooLarge, UpstreamTimeout
from chatfiles.http.server.request import Request
from chatfiles.http.server.request_body import BodyReceiver
from chatfiles.http.server.responses import JSONResponse
from chatfiles.platform.forwarding import upload_body
from chatfiles.platform.forwarding.upload_body import UploadBody
from chatfiles.platform.upstream.request import IWatchfulBody
from chatfiles.streams.outcome import ClientLeft
from tests.support.memory_client import Caller, get, post
from tests.support.resources import Endpoint

LIMIT = 100


class Body:
    """Stands in for `chatfiles.http.server.request_body.RequestBody`."""

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.paused = True  # until `deliver`
        self.receiver: BodyReceiver | None = None

    def deliver(self, receiver: BodyReceiver) -> None:
        self.receiver = receiver
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Consumer:
    """Records what is written."""

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
        done: Deferred[None] = self.forwarded.startProducing(self.consumer)
        done.addBoth(self.results.append)

    def setUp(self) -> None:
        self.make()

    def failure(self) -> BaseException:
        (result,) = self.results
        value: BaseException = result.value
        return value

    def test_interface(self) -> None:
        """It provides the interfaces that treq and the connection require."""
        verifyObject(IBodyProducer, self.forwarded)
        verifyObject(IWatchfulBody, self.forwarded)

    def test_length(self) -> None:
        """The workspace receives the length that the platform received."""
        for length, told in ((None, UNKNOWN_LENGTH), (0, 0), (5, 5)):
            self.make(length)
            self.assertEqual(self.forwarded.length, told)

    def test_asked_when_connected(self) -> None:
        """The client's body is requested only when the workspace can take it."""
        self.make(begin=False)
        self.assertIsNone(self.body.receiver)
        self.assertTrue(self.body.paused)
        self.begin()
        self.assertIs(self.body.receiver, self.forwarded)
        self.assertFalse(self.body.paused)

    def test_passes_on(self) -> None:
        """Bytes are forwarded at once and unchanged."""
        self.forwarded.received(b"one")
        self.assertEqual(self.consumer.written, b"one")
        self.forwarded.received(b"two")
        self.forwarded.finished()
        self.assertEqual(self.consumer.written, b"onetwo")
        self.assertEqual(self.results, [None])

    def test_no_body(self) -> None:
        """An empty body is complete at once."""

        class Empty(Body):
            def deliver(self, receiver: BodyReceiver) -> None:
                receiver.finished()

        forwarded = UploadBody(Empty(0), LIMIT)  # type: ignore[arg-type]
        done: Deferred[None] = forwarded.startProducing(self.consumer)
        self.assertIsNone(self.successResultOf(done))

    def test_back_pressure(self) -> None:
        """Back-pressure of the workspace pauses the client."""
        self.forwarded.pauseProducing()
        self.assertTrue(self.body.paused)
        self.forwarded.resumeProducing()
        self.assertFalse(self.body.paused)

    def test_too_large(self) -> None:
        """
        A body without a declared length fails when it exceeds the limit; no byte beyond is
        forwarded.
        """
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
        """
        A body that is interrupted or invalid fails with the client's error; it does not end as if
        it were complete.
        """
        for error in (ClientLeft(), BadRequest()):
            self.make()
            self.forwarded.received(b"x")
            self.forwarded.failed(error)
            self.assertIs(self.failure(), error)
            self.assertIs(self.forwarded.error, error)

    def test_workspace_stops(self) -> None:
        """
        When the workspace stops the body, the client is paused, and is not blamed for
        disconnecting.
        """
        self.forwarded.received(b"x")
        self.forwarded.stopProducing()
        self.forwarded.received(b"y")
        self.assertEqual(self.consumer.written, b"x")
        self.assertTrue(self.body.paused)
        self.forwarded.failed(ClientLeft())
        self.forwarded.finished()
        self.assertEqual(self.results, [])

    def test_given_up_by_the_client(self) -> None:
        """A cancelled request leaves no unhandled error behind."""
        self.make(begin=False)
        done: Deferred[None] = self.forwarded.startProducing(self.consumer)
        done.addErrback(lambda _: None)
        done.cancel()
        self.forwarded.failed(ClientLeft())

    # -- progress of the workspace

    def changes(self) -> bool:
        return self.forwarded.progress() != self.forwarded.progress()

    def test_caller_is_slow(self) -> None:
        """
        While the client is slow, the workspace counts as making progress, and is not timed out.
        """
        self.assertTrue(self.changes())

    def test_workspace_is_stuck(self) -> None:
        """A workspace that takes nothing makes no progress, so that it is timed out."""
        self.forwarded.received(b"x")
        self.forwarded.pauseProducing()
        self.assertFalse(self.changes())
        self.forwarded.resumeProducing()
        self.assertTrue(self.changes())

    def test_workspace_is_slow(self) -> None:
        """A workspace that slowly takes what the platform has buffered makes progress."""
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
        """`give_up` fails the body with a timeout of the workspace."""
        self.forwarded.give_up()
        self.assertIsInstance(self.failure(), UpstreamTimeout)
        self.assertIs(self.forwarded.error, self.failure())

    def test_answer_takes_long(self) -> None:
        """A workspace that has the whole body, or has stopped it, counts as making progress."""
        for end in ("finished", "stopProducing"):
            self.make()
            self.forwarded.pauseProducing()
            getattr(self.forwarded, end)()
            self.assertTrue(self.changes())
            self.assertIsNone(self.forwarded.error)

    # -- with the encoders that it is written to

    def test_chunked(self) -> None:
        """A body without a declared length is sent chunked."""
        wire = Wire()
        encoder = ChunkedEncoder(wire)
        encoder.registerProducer(self.forwarded, True)
        self.forwarded.startProducing(encoder)
        self.forwarded.received(b"abc")
        self.assertEqual(wire.written, b"3\r\nabc\r\n")

    def test_longer_than_declared(self) -> None:
        """
        Bytes beyond the declared length are not forwarded, even if the parser lets them through.
        """
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
    """A transport, as far as the encoders use it."""

    def writeSequence(self, pieces: list[bytes]) -> None:
        self.written += b"".join(pieces)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        pass


class Forwarding(Endpoint):
    """Forwards a body to a consumer that pauses it after every piece."""

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
        """A pause at the first piece takes effect, although the body is requested only then."""
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
        """
        After the whole body the connection is still read, so that a disconnect of the client is
        noticed while the workspace works on its response.
        """
        caller = Caller(Forwarding()).send(post(b"whole"))
        self.assertTrue(caller.reading)

    def test_error_of_the_workspace(self) -> None:
        """When the workspace stops the body, the client cannot send the rest."""
        forwarding = Forwarding()
        caller = Caller(forwarding).send(get(b"/", b"Content-Length: 9", method=b"POST") + b"one")
        forwarding.body.stopProducing()
        forwarding.body.resumeProducing()
        caller.send(b"two")
        self.assertEqual(forwarding.taken, b"one")
        self.assertFalse(caller.reading)
