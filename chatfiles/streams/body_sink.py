"""
Feeds a request's body to a sink that blocks: in threads, one call at a time, with back-pressure
to the client.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from chatfiles.streams.memory_budget import PIECE, MemoryBudget
from chatfiles.streams.outcome import ClientLeft
from chatfiles.streams.transports import SMALL_READ

__all__ = ["BlockingSink", "SinkFeeder", "sink_budget"]

#: When this many pieces wait, the client is paused: small pieces take more memory than their bytes.
MOST_PIECES = 1024

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
RunInThread = Callable[..., Deferred[Any]]


def sink_budget() -> MemoryBudget:
    """:return: the memory for uploads: one large read arrives while the one before it waits."""
    return MemoryBudget(2 * PIECE)


class BlockingSink(Protocol[T_co]):
    """Takes a body.  All methods except `keep` block."""

    def feed(self, data: bytes) -> None:
        """
        :param data: the next bytes of the body.
        """

    def prepare(self) -> None:
        """Do the slow work that is not visible yet.  The body is complete."""

    def finish(self) -> T_co:
        """
        Publish the result.

        :return: a description of it.
        """

    def keep(self) -> None:
        """Release all resources; what ``finish`` has published remains.  Must not block."""

    def close(self) -> None:
        """
        Release all resources and remove everything, including what ``finish`` has published.  The
        last call is either this or ``keep``.  If it fails, it may be called again to do the rest.
        """


class _Body(Protocol):
    @property
    def all_seen(self) -> bool: ...
    def read_at_most(self, size: int, /) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class SinkFeeder(Generic[T]):
    """
    Receives a body and feeds it to a sink.  Pass it to `RequestBody.deliver`.

    While a thread is busy, bytes wait for the next call, as many as *budget* allows.  A call costs
    much, whatever its size.

    A descriptor of the sink is never closed while a thread uses it: the sink is closed when the
    running call has returned.

    :param body: the body; it is paused while the limits above are reached.
    :param sink: is closed at the end.  What it has published remains only if *done* fires with a
        result.
    :param run_in_thread: calls a function in a thread; its Deferred fires when that has returned.
    :param budget: the memory that all bodies share.
    :param wanted: called after publication; returns whether the client still waits for a response.
    :param feeds_rest: whether the sink receives all bytes that arrived before a body ended early.
    :ivar done: fires with the result of ``finish``, in the same turn of the reactor in which
        *wanted* returned true.  If the response is sent at once, the client cannot disconnect in
        between.  Fails with the error of the sink, with the error that ended the body, or with
        `ClientLeft`, after the sink was closed.  Cancelling it closes the sink, too.
    """

    def __init__(
        self,
        body: _Body,
        sink: BlockingSink[T],
        run_in_thread: RunInThread,
        budget: MemoryBudget,
        wanted: Callable[[], bool] = lambda: True,
        *,
        feeds_rest: bool = False,
    ) -> None:
        self._body = body
        self._sink = sink
        self._run_in_thread = run_in_thread
        self._wanted = wanted
        self._budget = budget
        budget.change(1)
        self._feeds_rest = feeds_rest
        self._pieces: list[bytes] = []
        self._rest: list[bytes] | None = None
        self._waiting: list[bytes] = []
        self._size = 0
        self._busy = False
        self._complete = False
        self._closing = False
        self.done: Deferred[T] = Deferred(lambda _: self.failed(ConnectionError()))

    def received(self, data: bytes) -> None:
        """
        :param data: the next bytes of the body.
        """
        if self._closing or not data:
            return
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= self._budget.size or len(self._waiting) >= MOST_PIECES:
            self._body.pause()
        if not self._body.all_seen:  # else one call takes both these bytes and the end
            self._next()

    def finished(self) -> None:
        """The body is complete."""
        self._complete = True
        self._next()

    def failed(self, error: BaseException) -> None:
        """
        The body will never be complete.

        :param error: the reason; *done* fails with it.
        """
        if self._feeds_rest and not self._closing:
            self._rest, self._waiting = self._waiting, []
        self._close(Failure(error))

    def _next(self) -> None:
        if self._busy or self._closing:
            return
        if self._waiting or self._complete:
            self._pieces, self._waiting, self._size = self._waiting, [], 0
            self._busy = True
            self._body.read_at_most(self._budget.size)
            self._body.resume()
            self._run_in_thread(self._work, self._pieces, self._complete).addBoth(
                self._ran, self._complete
            )

    def _work(self, pieces: list[bytes], is_last: bool) -> None:
        """In a thread: feed the sink, and finish if this is the end."""
        if self._closing:  # it was cancelled while this waited for the thread
            return
        if sum(map(len, pieces)) < len(pieces) * SMALL_READ:  # many pieces cost more than a copy
            pieces[:] = [b"".join(pieces)]
        while pieces and not self._closing:
            self._sink.feed(pieces.pop(0))
        if is_last:
            self._sink.prepare()
            if not self._closing:  # the client may have disconnected meanwhile
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
        self._end()
        self.done.callback(self._result)
        self._sink.keep()

    def _close(self, failure: Failure) -> None:
        """Close the sink as soon as no thread uses it; nothing that it published remains."""
        if self._closing:
            return
        self._end()
        self._outcome = failure
        self._waiting.clear()
        if not self._busy:
            self._close_sink()

    def _end(self) -> None:
        self._closing = True
        self._budget.change(-1)

    def _close_sink(self) -> None:
        closing = self._run_in_thread(self._end_sink)
        closing.addErrback(lambda _: self._sink.close())  # without a thread, close it here
        closing.addBoth(self._closed)

    def _end_sink(self) -> None:
        """In a thread: feed the rest if it is wanted, and close the sink."""
        rest = (*self._pieces, *self._rest) if self._rest is not None else ()
        with suppress(Exception):  # the body is not complete, whatever the sink says
            for piece in rest:
                self._sink.feed(piece)
        self._sink.close()

    def _closed(self, _: object) -> None:
        if not self.done.called:
            self.done.errback(self._outcome)
