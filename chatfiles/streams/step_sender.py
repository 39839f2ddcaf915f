"""
Sends a body that is made while it is sent, such as a listing or an archive.

A thread makes one part at a time, and only while the client takes what is sent.  So a client that
reads slowly occupies no thread, and memory holds one part.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from threading import Lock
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from chatfiles.streams.outcome import ClientLeft, Outcome

__all__ = ["StepSender", "SteppedBody"]


class SteppedBody:
    """
    A body that threads make, one part at a time.  What it owns is released when no thread is in a
    step.

    :param parts: the parts, bytes.  A part may be empty: a step that only did some work.
    :param release: releases what *parts* needs; called in a thread, at least once.
    """

    __slots__ = ("_is_closing", "_lock", "_parts", "_release")

    def __init__(self, parts: Iterator[bytes], release: Callable[[], object]) -> None:
        self._parts = parts
        self._release = release
        self._lock = Lock()
        self._is_closing = False

    def step(self) -> bytes | None:
        """
        Make the next part.  Blocks: call it in a thread, and not again before it has returned.

        :return: the part; ``None`` at the end, and after `close`.
        """
        with self._lock:
            part = None if self._is_closing else next(self._parts, None)
        if self._is_closing:
            self.close()
        return part

    def close(self) -> None:
        """
        Release what the body owns: now, or in the thread that is in a step, when it returns.  Call
        it in a thread.  Idempotent.
        """
        self._is_closing = True
        if self._lock.acquire(blocking=False):
            try:
                self._release()
            finally:
                self._lock.release()


class _Request(Protocol):
    def write(self, data: bytes, /) -> object: ...
    def registerProducer(self, producer: Any, streaming: bool, /) -> object: ...
    def unregisterProducer(self) -> object: ...


@implementer(IPushProducer)
class StepSender:
    """
    Sends the parts of a body to a client.

    :param request: the headers of its response have been written.
    :param step: begins to make the next part.  Its Deferred fires with the part, or with ``None``
        at the end.  It is called only when the client takes more, and when the part before is
        written; it is cancelled when the transfer ends.
    :ivar done: fires when the last part has been written.  Fails with the error of a step, or with
        `ClientLeft`.  Cancelling it ends the transfer.
    :ivar sent: number of bytes that have been written.
    """

    def __init__(self, request: _Request, step: Callable[[], Deferred[bytes | None]]) -> None:
        self._request = request
        self._step = step
        self._steps = 0
        self._call: Deferred[None] | None = None
        self._paused = self._is_making = self._is_looping = self._finished = False
        self.sent = 0
        self.done: Deferred[None] = Deferred(lambda _: self._end())

    def start(self) -> None:
        """Begin to send.  It may be called once."""
        self._request.registerProducer(self, True)
        self._continue()

    def stop(self) -> None:
        """Stop sending; idempotent.  A thread may still be in a step when this returns."""
        self._finish(Failure(ClientLeft()))

    @property
    def progress(self) -> Hashable:
        """A value that changes with each step."""
        return self._steps

    @property
    def stalled(self) -> Outcome:
        """Why a transfer makes no progress: a step, or its client, does not respond."""
        return Outcome.FILE_STALLED if self._is_making else Outcome.CLIENT_STALLED

    def pauseProducing(self) -> None:
        """The send buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client has taken everything in the send buffer."""
        self._paused = False
        self._continue()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.stop()

    def _continue(self) -> None:
        if self._is_looping:
            return  # a step ended at once
        self._is_looping = True
        while not (self._paused or self._is_making or self._finished):
            self._is_making = True
            self._call = self._step().addCallbacks(self._made, self._finish)
        self._is_looping = False

    def _made(self, part: bytes | None) -> None:
        self._is_making = False
        if self._finished:
            return
        if part is None:
            self._finish(None)
            return
        self._steps += 1
        self.sent += len(part)
        if part:
            self._request.write(part)
        self._continue()

    def _finish(self, result: Failure | None) -> None:
        if not self._finished:
            self._end()
            self.done.callback(result)

    def _end(self) -> None:
        if not self._finished:
            self._finished = True
            self._request.unregisterProducer()
            if self._call is not None:
                self._call.cancel()  # a step that has not begun never runs
