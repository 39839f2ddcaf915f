"""
Feeds a request's body to something that blocks: in threads, one call at a time, with back-pressure to
the sender.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from chatfiles.streams.outcome import ClientLeft

__all__ = ["BlockingSink", "SinkFeeder"]

#: Bytes that wait for a thread before the sender is paused.
HIGH_WATER = 256 * 1024
#: Pieces that wait before the sender is paused: small ones take more memory than their bytes.
MOST_PIECES = 1024

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
RunInThread = Callable[..., Deferred[Any]]


class BlockingSink(Protocol[T_co]):
    """Takes a body; all of its methods but one block."""

    def feed(self, data: bytes) -> None:
        """The next bytes."""

    def prepare(self) -> None:
        """The body is complete: do what takes time and is not visible yet."""

    def finish(self) -> T_co:
        """Publish what has been made, and return what describes it."""

    def keep(self) -> None:
        """Release everything; what ``finish`` has published stays.  Must not block."""

    def close(self) -> None:
        """
        Release everything; nothing stays.  The last call is either this or ``keep``.  It may be
        called again if it fails, to do the rest.
        """


class _Body(Protocol):
    @property
    def all_seen(self) -> bool: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class SinkFeeder(Generic[T]):
    """
    Receives a body (give it to `RequestBody.deliver`) and feeds it to a sink.

    A descriptor of the sink is never closed while a thread uses it: the sink is closed when the call
    that runs has returned.

    :param body: paused while more waits than a thread takes at once.
    :param sink: is closed at the end.  What it has published stays only if *done* fires with it.
    :param run_in_thread: calls a function in a thread; its Deferred fires when that has returned.
    :param wanted: called when everything is published: whether the client still waits for a response.
    :ivar done: fires with what ``finish`` returned, in the same turn of the reactor in which it was
        decided that this stays.  If the response is sent at once, nothing can happen in between.
        Fails with what the sink raised, with what ended the body, or with `ClientLeft`, after the
        sink was closed.  Cancelling it closes the sink, too.
    """

    def __init__(
        self,
        body: _Body,
        sink: BlockingSink[T],
        run_in_thread: RunInThread,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._body = body
        self._sink = sink
        self._run_in_thread = run_in_thread
        self._wanted = wanted
        self._waiting: list[bytes] = []
        self._size = 0
        self._busy = False
        self._complete = False
        self._closing = False
        self.done: Deferred[T] = Deferred(lambda _: self._close(Failure(ConnectionError())))

    def received(self, data: bytes) -> None:
        """Some bytes of the body."""
        if self._closing or not data:
            return
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= HIGH_WATER or len(self._waiting) >= MOST_PIECES:
            self._body.pause()
        if not self._body.all_seen:  # else one call takes both these bytes and the end
            self._next()

    def finished(self) -> None:
        """The body was complete."""
        self._complete = True
        self._next()

    def failed(self, error: BaseException) -> None:
        """The body will not be complete."""
        self._close(Failure(error))

    def _next(self) -> None:
        if self._busy or self._closing:
            return
        if self._waiting or self._complete:
            pieces, self._waiting, self._size = self._waiting, [], 0
            self._busy = True
            self._body.resume()
            self._run_in_thread(self._work, pieces, self._complete).addBoth(
                self._ran, self._complete
            )

    def _work(self, pieces: list[bytes], is_last: bool) -> None:
        """In a thread: feed the sink, and finish if this is the end."""
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._sink.feed(data)
        if is_last:
            self._sink.prepare()
            if not self._closing:  # the client may have left meanwhile
                self._result = self._sink.finish()

    def _ran(self, result: Any, last: bool) -> None:
        self._busy = False
        if self._closing:
            self._close_sink()
        elif isinstance(result, Failure):
            self._close(result)
        elif not last:
            self._next()
        elif self._wanted():
            self._keep()
        else:
            self._close(Failure(ClientLeft()))

    def _keep(self) -> None:
        self._closing = True
        self.done.callback(self._result)
        self._sink.keep()

    def _close(self, failure: Failure) -> None:
        """Close the sink as soon as no thread uses it; nothing of it stays."""
        if self._closing:
            return
        self._closing = True
        self._outcome = failure
        self._waiting.clear()
        if not self._busy:
            self._close_sink()

    def _close_sink(self) -> None:
        closing = self._run_in_thread(self._sink.close)
        closing.addErrback(lambda _: self._sink.close())  # no thread: still, nothing may stay
        closing.addBoth(self._closed)

    def _closed(self, _: object) -> None:
        if not self.done.called:
            self.done.errback(self._outcome)
