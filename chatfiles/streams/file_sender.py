"""
From a file to a caller.  Three producers with one contract: the fast one writes past Twisted's
buffer to a bare TCP socket, another one feeds any transport (TLS, in-memory); the third leaves to a
thread whatever touches the file, which lies on no disk of this machine.

Why the fast one does not use ``sendfile`` to the end: what it sends are references to the page
cache, so bytes that wait in a socket still change when the file is rewritten in place, after the
check that was to notice.  The last stretch, longer than everything that can be on its way, is
copied; when the last byte is checked, all referenced ones have been taken by the other end.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from chatfiles.streams.file_source import FileSource, NotCached, Unsettled
from chatfiles.streams.transports import is_plain

__all__ = ["ConsumerGone", "send_file"]

#: Bytes of one ``sendfile``: bounds how long one call may take.
SENDFILE_WINDOW = 1024 * 1024
#: Bytes of one copying read.
COPY_WINDOW = 256 * 1024
#: Bytes that a thread brings into memory at a time, when they are not there.
WARM_WINDOW = 4 * 1024 * 1024
#: For kernels that do not tell how much a socket may hold.
DEFAULT_IN_FLIGHT = 32 * 1024 * 1024

# One buffer for all: it is filled and emptied within one call on the reactor thread.
_scratch = memoryview(bytearray(COPY_WINDOW))

RunInThread = Callable[..., Deferred[Any]]


class ConsumerGone(Exception):
    """The transport took no more: its other end left."""

    outcome = "client_left"


class _Request(Protocol):
    channel: Any

    def write(self, data: bytes, /) -> object: ...
    def registerProducer(self, producer: Any, streaming: bool, /) -> object: ...
    def unregisterProducer(self) -> object: ...


def in_flight_limit(proc: Path = Path("/proc/sys/net")) -> int:
    """
    :return: the most bytes that can be between a socket of this machine and its reader: the largest
        send buffer and the largest receive buffer.
    """

    def last(name: str) -> int:
        return int((proc / name).read_text().split()[-1])

    try:
        send = max(last("ipv4/tcp_wmem"), 2 * last("core/wmem_max"))
        receive = max(last("ipv4/tcp_rmem"), 2 * last("core/rmem_max"))
    except (OSError, ValueError):
        return DEFAULT_IN_FLIGHT
    return send + receive


def send_file(
    request: _Request,
    source: FileSource,
    first: int,
    length: int,
    run_in_thread: RunInThread,
    tail: int,
) -> tuple[Deferred[None], Callable[[], int]]:
    """
    Send a span of a file as the body of an answer whose head has been written.

    :param first: offset of the first byte.
    :param length: how many bytes, at least one.
    :param run_in_thread: like ``deferToThread``, for what may block.
    :param tail: how many last bytes are copied, see above; `in_flight_limit`.
    :return: a Deferred that fires when the transport has taken the last byte, and fails with
        `FileChanged`, `ConsumerGone` or ``OSError``; and a callable that tells how many bytes have
        been sent.  Cancelling the Deferred ends the transfer.
    """
    pump: _Pump
    if not source.local:
        pump = ThreadPump(request, source, first, length, run_in_thread)
    elif is_plain(request.channel.transport):
        pump = SocketPump(request, source, first, length, run_in_thread, tail)
    else:
        pump = BufferPump(request, source, first, length, run_in_thread)
    pump.start()
    return pump.done, lambda: pump.sent


class _Pump:
    """What both have in common: one end, whoever comes first."""

    def __init__(
        self,
        request: _Request,
        source: FileSource,
        first: int,
        length: int,
        run_in_thread: RunInThread,
    ) -> None:
        self._request = request
        self._source = source
        self._offset = first
        self._end = first + length
        self._first = first
        self._run_in_thread = run_in_thread
        self._in_thread = False
        self._finished = False
        self.done: Deferred[None] = Deferred(lambda _: self._release())

    def start(self) -> None:
        raise NotImplementedError

    @property
    def sent(self) -> int:
        """Bytes that the transport has taken."""
        return self._offset - self._first

    def stopProducing(self) -> None:
        """The transport is gone."""
        self._finish(Failure(ConsumerGone()))

    def _finish(self, result: Failure | None) -> None:
        if not self._finished:
            self._release()
            if not self.done.called:
                self.done.callback(result)

    def _release(self) -> None:
        if not self._finished:
            self._finished = True
            self._unregister()

    def _unregister(self) -> None:
        raise NotImplementedError

    def _go_on(self) -> None:
        raise NotImplementedError

    def _warm(self) -> None:
        length = min(WARM_WINDOW, self._end - self._offset)
        self._wait_for(self._source.warm, self._offset, length)

    def _wait_for(self, call: Callable[..., object], *arguments: object) -> None:
        """Go on when this has been done in a thread."""
        self._in_thread = True

        def done(result: Any) -> None:
            self._in_thread = False
            if isinstance(result, Failure):
                self._finish(result)
            elif not self._finished:
                self._go_on()

        self._run_in_thread(call, *arguments).addBoth(done)

    def _copy(self, take: Callable[[memoryview], int], window: int) -> None:
        """Read up to *window* bytes and give them to *take*, which says how many it took."""
        view = _scratch[: min(window, self._end - self._offset)]
        count = self._source.read_into(view, self._offset)
        self._source.verify()  # also before the last byte leaves
        self._offset += take(view[:count])


@implementer(IPullProducer)
class SocketPump(_Pump):
    """
    Writes to a TCP socket whenever Twisted's own buffer for it is empty: a pull producer that is
    registered on the bare transport is called exactly then.
    """

    def __init__(
        self,
        request: _Request,
        source: FileSource,
        first: int,
        length: int,
        run_in_thread: RunInThread,
        tail: int,
    ) -> None:
        super().__init__(request, source, first, length, run_in_thread)
        self._copy_from = self._end - tail
        self._transport: Any = request.channel.transport
        self._registered = False

    def start(self) -> None:
        # The channel is the transport's producer; it takes its place back at the end.
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, False)
        self._registered = True
        self._transport.startWriting()

    def _unregister(self) -> None:
        transport = self._transport
        if transport.producer is self:
            transport.unregisterProducer()
            if not transport.disconnected:
                transport.registerProducer(self._request.channel, True)
                self._request.channel.resumeProducing()  # should it have been told to wait before

    def _go_on(self) -> None:
        if not self._transport.disconnected:
            self._transport.startWriting()

    def resumeProducing(self) -> None:
        """The socket can take more.  (At registration the head is still in the buffer.)"""
        if not self._registered or self._finished or self._in_thread:
            return
        try:
            self._move()
        except BlockingIOError:
            self._go_on()
        except NotCached:
            self._warm()
        except Unsettled:
            self._wait_for(self._source.settle)
        except ConnectionError:
            self._go_on()  # the transport will notice, and tell
        except Exception:
            self._finish(Failure())
        else:
            if self._offset == self._end:
                self._finish(None)
            else:
                self._go_on()

    def _move(self) -> None:
        handle = self._transport.getHandle()
        if self._offset >= self._copy_from:
            self._copy(handle.send, COPY_WINDOW)
            return
        window = min(SENDFILE_WINDOW, self._copy_from - self._offset)
        self._source.check_cached(self._offset, window)
        self._offset += os.sendfile(handle.fileno(), self._source.fd, self._offset, window)
        self._source.verify()


@implementer(IPushProducer)
class BufferPump(_Pump):
    """Writes through the request, paused and resumed by it."""

    _paused = False

    def start(self) -> None:
        self._request.registerProducer(self, True)
        self._go_on()

    def _unregister(self) -> None:
        self._request.unregisterProducer()

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        self._paused = False
        self._go_on()

    def _go_on(self) -> None:
        try:
            while not (self._paused or self._finished or self._in_thread):
                self._copy(self._write, COPY_WINDOW // 4)
                if self._offset == self._end:
                    self._finish(None)
        except NotCached:
            self._warm()
        except Unsettled:
            self._wait_for(self._source.settle)
        except Exception:
            self._finish(Failure())

    def _write(self, view: memoryview | bytes) -> int:
        self._request.write(bytes(view))
        return len(view)


class ThreadPump(BufferPump):
    """As `BufferPump`; one window at a time is read and verified in a thread."""

    def _go_on(self) -> None:
        if not (self._paused or self._finished or self._in_thread):
            self._in_thread = True
            window = min(COPY_WINDOW, self._end - self._offset)
            self._run_in_thread(self._source.read, self._offset, window).addBoth(self._came)

    def _came(self, result: Any) -> None:
        if isinstance(result, Failure):
            self._finish(result)
        elif not self._finished:
            self._offset += self._write(result)
            self._in_thread = False
            if self._offset == self._end:
                self._finish(None)
            else:
                self._go_on()
