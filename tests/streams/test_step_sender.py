"""
Bodies that are made step by step: back-pressure, errors, clients that leave.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.errors import ReadFailed
from chatfiles.http.server.request import Request
from chatfiles.streams.outcome import ClientLeft
from chatfiles.streams.step_sender import SteppedBody, StepSender
from tests.support.loopback import Loopback, reset_on_close, until
from tests.support.memory_client import IDLE_TIMEOUT, Caller, get, parse
from tests.support.resources import Endpoint


class Steps:
    """Steps that a test ends; each one that begins is recorded."""

    def __init__(self) -> None:
        self.begun: list[Deferred[bytes | None]] = []
        self.cancelled = 0

    def __call__(self) -> Deferred[bytes | None]:
        self.begun.append(Deferred(self._cancel))
        return self.begun[-1]

    def _cancel(self, _: Deferred[bytes | None]) -> None:
        self.cancelled += 1


class Sending(Endpoint):
    """Sends what its steps make, without a declared length."""

    isLeaf = True
    operation = "send"

    def __init__(self, step: Any) -> None:
        super().__init__()
        self.step = step
        self.senders: list[StepSender] = []
        self.requests: list[Request] = []
        self.closed = 0

    async def render_GET(self, request: Request) -> None:
        self.requests.append(request)
        request.transfer.own(self._close)
        request.write(b"")
        sender = StepSender(request, self.step)
        self.senders.append(sender)
        request.transfer.begin_body(sender)
        request.transfer.watch_client(
            request.site.reactor,
            IDLE_TIMEOUT,
            lambda taken: (sender.progress, taken),
            lambda: sender.stalled,
        )
        sender.start()
        await sender.done

    def _close(self) -> None:
        self.closed += 1


class SenderTests(SynchronousTestCase):
    """`StepSender` on a transport in memory."""

    def setUp(self) -> None:
        self.steps = Steps()
        self.sending = Sending(self.steps)
        self.caller = Caller(self.sending).send(get())

    def outcome(self) -> str:
        """:return: how the only transfer ended."""
        (request,) = self.sending.requests
        return str(request.transfer.outcome)

    def test_whole(self) -> None:
        """The parts are sent in order as one chunked body; an empty part is none."""
        for part in (b"one", b"", b"two", None):
            self.steps.begun[-1].callback(part)
        answer = self.caller.answer()
        self.assertEqual((answer.body, answer.complete), (b"onetwo", True))
        self.assertEqual(len(self.steps.begun), 4)
        self.assertEqual(self.sending.senders[0].sent, 6)
        self.assertEqual((self.outcome(), self.sending.closed), ("complete", 1))
        self.caller.send(get())  # the connection can be used again
        self.assertEqual(len(self.sending.senders), 2)

    def test_one_at_a_time(self) -> None:
        """A step begins when the one before has ended, and not under back-pressure."""
        self.assertEqual(len(self.steps.begun), 1)
        self.caller.channel.pauseProducing()
        self.steps.begun[0].callback(b"one")
        self.assertEqual(len(self.steps.begun), 1)
        self.caller.channel.resumeProducing()
        self.assertEqual(len(self.steps.begun), 2)
        self.caller.channel.pauseProducing()
        self.caller.channel.resumeProducing()
        self.assertEqual(len(self.steps.begun), 2)

    def test_error(self) -> None:
        """If a step fails, the response has no last chunk, and the outcome is the error's code."""
        self.steps.begun[0].callback(b"one")
        self.steps.begun[1].errback(ReadFailed())
        self.caller.settle()
        answer = self.caller.answer()
        self.assertEqual((answer.body, answer.complete), (b"one", False))
        self.assertTrue(self.caller.wire.aborted)
        self.assertEqual((self.outcome(), self.sending.closed), ("read_failed", 1))

    def test_client_leaves(self) -> None:
        """When the client leaves, the step is cancelled, and its late result goes nowhere."""
        self.steps.begun[0].callback(b"one")
        self.caller.leave()
        self.assertEqual((self.steps.cancelled, self.sending.closed), (1, 1))
        self.assertEqual(self.outcome(), "client_left")
        self.assertEqual(len(self.steps.begun), 2)

    def test_client_stalls(self) -> None:
        """A client that takes nothing is aborted after the idle timeout."""
        self.caller.channel.pauseProducing()
        self.steps.begun[0].callback(b"one")
        for _ in range(200):
            self.caller.advance(1)
        self.assertEqual((self.outcome(), self.sending.closed), ("client_stalled", 1))
        self.assertEqual(len(self.steps.begun), 1)

    def test_step_stalls(self) -> None:
        """A step that does not return ends the transfer after the idle timeout."""
        for _ in range(200):
            self.caller.advance(1)
        self.assertEqual((self.outcome(), self.steps.cancelled), ("file_stalled", 1))

    def test_empty_parts_are_progress(self) -> None:
        """Steps that find nothing to send keep the transfer alive."""
        for _ in range(4):
            self.caller.advance(IDLE_TIMEOUT * 0.9)
            self.steps.begun[-1].callback(b"")
        self.steps.begun[-1].callback(None)
        self.assertEqual(self.outcome(), "complete")


class ImmediateTests(SynchronousTestCase):
    """Steps that end at once."""

    def test_many(self) -> None:
        """Many of them need no deep stack."""
        parts = iter([b"x"] * 20_000)
        sending = Sending(lambda: succeed(next(parts, None)))
        answer = Caller(sending).send(get()).answer()
        self.assertEqual((len(answer.body), answer.complete), (20_000, True))

    def test_fails(self) -> None:
        """An error at once is an error of the transfer."""
        caller = Caller(Sending(lambda: fail(ReadFailed()))).send(get())
        self.assertTrue(caller.wire.aborted)


class BodyTests(SynchronousTestCase):
    """`SteppedBody`."""

    def setUp(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1

    def test_parts(self) -> None:
        """The parts, then ``None``; it is released when it is closed."""
        body = SteppedBody(iter([b"a", b""]), self.release)
        self.assertEqual([body.step() for _ in range(4)], [b"a", b"", None, None])
        self.assertEqual(self.released, 0)
        body.close()
        self.assertEqual(self.released, 1)

    def test_closed(self) -> None:
        """After it is closed, no step runs."""
        body = SteppedBody(iter([b"a", b"b"]), self.release)
        body.step()
        body.close()
        self.assertIsNone(body.step())

    def test_closed_in_a_step(self) -> None:
        """If a thread is in a step, that thread releases it at the end of the step."""
        begun, go = threading.Event(), threading.Event()
        seen: list[int] = []

        def parts() -> Iterator[bytes]:
            begun.set()
            go.wait()
            seen.append(self.released)
            yield b"a"

        body = SteppedBody(parts(), self.release)
        thread = threading.Thread(target=body.step)
        thread.start()
        begun.wait()
        body.close()
        self.assertEqual(self.released, 0)
        go.set()
        thread.join()
        self.assertEqual((seen, self.released), ([0], 1))

    def test_error_after_close(self) -> None:
        """If a step fails that ends after the close, it is released all the same."""

        def parts() -> Iterator[bytes]:
            yield b"a"
            body.close()  # in the middle of the step
            raise ReadFailed

        body = SteppedBody(parts(), self.release)
        body.step()
        self.assertRaises(ReadFailed, body.step)
        self.assertEqual(self.released, 1)

    def test_error(self) -> None:
        """An error of a part is raised, and it can be closed after that."""

        def parts() -> Iterator[bytes]:
            yield b"a"
            raise ReadFailed

        body = SteppedBody(parts(), self.release)
        body.step()
        self.assertRaises(ReadFailed, body.step)
        body.close()
        self.assertEqual(self.released, 1)


class SocketTests(TestCase):
    """On a real socket."""

    async def test_slow_reader(self) -> None:
        """
        A client that reads nothing holds no thread, and memory holds one part; then it receives
        everything.
        """
        made = 0
        part = b"x" * 65536

        def parts() -> Iterator[bytes]:
            nonlocal made
            for _ in range(100):
                made += 1
                yield part

        body = SteppedBody(parts(), lambda: None)
        sending = Sending(lambda: deferToThread(body.step))
        caller = Loopback(self, reactor, sending, receive_buffer=16 * 1024)
        await caller.connected()
        caller.transport.socket.setsockopt(1, 7, 32 * 1024)  # SOL_SOCKET, SO_SNDBUF
        await caller.send(get())
        await until(reactor, lambda: sending.senders and sending.senders[0]._paused)
        await until(reactor, lambda: not sending.senders[0]._is_making)
        self.assertLess(made, 10)
        await caller.read(lambda got: got.endswith(b"\r\n0\r\n\r\n"))
        (answer,) = parse(caller.data)
        self.assertEqual((len(answer.body), answer.complete), (100 * len(part), True))

    async def test_reset(self) -> None:
        """A client that resets the connection ends the transfer; a running step ends first."""
        begun, go, released = threading.Event(), threading.Event(), threading.Event()

        def parts() -> Iterator[bytes]:
            yield b"one"
            begun.set()
            go.wait()
            yield b"two"

        body, returned = SteppedBody(parts(), released.set), list[bool]()

        def step() -> bytes | None:
            part = body.step()
            returned.append(released.is_set())
            return part

        sending = Sending(lambda: deferToThread(step))
        caller = Loopback(self, reactor, sending)
        await caller.connected()
        await caller.send(get())
        await until(reactor, begun.is_set)
        reset_on_close(caller.socket)
        caller.socket.close()
        await until(reactor, lambda: sending.closed)
        body.close()
        self.assertFalse(released.is_set())
        go.set()
        await until(reactor, lambda: len(returned) == 2)
        self.assertEqual(returned, [False, True])
        self.assertEqual(sending.requests[0].transfer.outcome, "client_left")
        self.assertEqual(sending.requests[0].transfer.sent, 3)


class _Paused:
    """A request whose connection has no room in its buffer."""

    def write(self, data: bytes) -> None:
        raise AssertionError("nothing is written")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        producer.pauseProducing()

    def unregisterProducer(self) -> None: ...


class EndTests(SynchronousTestCase):
    """`StepSender.done`, of a sender that waits for its client."""

    def setUp(self) -> None:
        self.steps = Steps()
        self.sender = StepSender(_Paused(), self.steps)
        self.sender.start()

    def test_paused_at_first(self) -> None:
        """No step begins while an earlier response fills the buffer."""
        self.assertEqual(self.steps.begun, [])
        self.sender.resumeProducing()
        self.assertEqual(len(self.steps.begun), 1)

    def test_cancel(self) -> None:
        """Cancelling it stops the sender and its step; a later stop does nothing."""
        self.sender.resumeProducing()
        self.sender.done.cancel()
        self.failureResultOf(self.sender.done, CancelledError)
        self.assertEqual(self.steps.cancelled, 1)
        self.sender.stop()

    def test_stop(self) -> None:
        """Stopping the sender makes it fail, once."""
        self.sender.stop()
        self.sender.stopProducing()
        self.failureResultOf(self.sender.done, ClientLeft)
        self.sender.resumeProducing()
        self.assertEqual(self.steps.begun, [])
