"""
Sends a file to a client.  There are three senders that keep the same promises.  `SocketSender` writes
to a bare TCP socket, past Twisted's buffer.  `BufferSender` writes to any transport (TLS, tests).
`ThreadSender` reads in a thread, for files that are on no disk of this machine.

Why `SocketSender` does not use ``sendfile`` to the end: ``sendfile`` sends references to the page
cache.  Bytes that wait in a socket still change when the file is rewritten in place, after the check
that was to notice.  So the last part, longer than all that can be between the two ends, is copied:
when its last byte is checked, the client's kernel has received all that was sent by reference.
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

from chatfiles.streams.file_source import FileSource, NotCached, Unstable
from chatfiles.streams.outcome import ClientLeft
from chatfiles.streams.transports import is_plain

__all__ = ["FileSender", "file_sender", "in_flight_limit"]

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


class FileSender:
    """
    Sends a span of a file as the body of a response whose head has been written.

    :ivar done: fires when the transport has taken the last byte.  Fails with `FileChanged`,
        `ClientLeft` or ``OSError``.  Cancelling it ends the transfer.
    """

    _registered = False

    def __init__(
        self,
        request: _Request,
        source: FileSource,
        first: int,
        length: int,
        run_in_thread: RunInThread,
        tail: int,
        on_backpressure: Callable[[bool], object],
    ) -> None:
        self._request = request
        self._source = source
        self._first = self._offset = first
        self._end = first + length
        self._copy_from = self._end - tail
        self._run_in_thread = run_in_thread
        self._on_backpressure = on_backpressure
        self._in_thread = False
        self._finished = False
        self.done: Deferred[None] = Deferred(lambda _: self._release())

    def start(self) -> None:
        """Begin to send.  Called once."""
        raise NotImplementedError

    def stop(self) -> None:
        """Send no more; idempotent.  A thread that reads may still run when this returns."""
        self._finish(Failure(ClientLeft()))

    @property
    def sent(self) -> int:
        """Bytes that the transport has taken."""
        return self._offset - self._first

    def stopProducing(self) -> None:
        """The transport is gone."""
        self.stop()

    def _finish(self, result: Failure | None) -> None:
        if not self._finished:
            self._release()
            if not self.done.called:
                self.done.callback(result)

    def _release(self) -> None:
        if not self._finished:
            self._finished = True
            if self._registered:
                self._unregister()

    def _unregister(self) -> None:
        raise NotImplementedError

    def _continue(self) -> None:
        raise NotImplementedError

    def _warm(self) -> None:
        length = min(WARM_WINDOW, self._end - self._offset)
        self._wait_for(self._source.warm, self._offset, length)

    def _wait_for(self, call: Callable[..., object], *arguments: object) -> None:
        """Continue when a thread has made this call."""
        self._in_thread = True

        def done(result: Any) -> None:
            self._in_thread = False
            if isinstance(result, Failure):
                self._finish(result)
            elif not self._finished:
                self._continue()

        self._run_in_thread(call, *arguments).addBoth(done)

    def _copy(self, take: Callable[[memoryview], int], window: int) -> None:
        """Read up to *window* bytes and give them to *take*, which says how many it took."""
        view = _scratch[: min(window, self._end - self._offset)]
        count = self._source.read_into(view, self._offset)
        self._source.verify()  # also before the last byte leaves
        self._offset += take(view[:count])


@implementer(IPullProducer)
class SocketSender(FileSender):
    """
    Writes to a TCP socket whenever Twisted's own buffer for it is empty: a pull producer that is
    registered on the bare transport is called exactly then.
    """

    def start(self) -> None:
        # The channel is the transport's producer; it is registered again at the end.
        self._transport: Any = self._request.channel.transport
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

    def _continue(self) -> None:
        if not self._transport.disconnected:
            self._transport.startWriting()

    def resumeProducing(self) -> None:
        """The socket can take more.  (At registration the head is still in the buffer.)"""
        if not self._registered or self._finished or self._in_thread:
            return
        try:
            self._move()
        except BlockingIOError:
            self._on_backpressure(True)
            self._continue()
        except NotCached:
            self._warm()
        except Unstable:
            self._wait_for(self._source.wait_until_stable)
        except ConnectionError:
            self._continue()  # the transport will notice, and tell
        except Exception:
            self._finish(Failure())
        else:
            self._on_backpressure(False)
            if self._offset == self._end:
                self._finish(None)
            else:
                self._continue()

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
class BufferSender(FileSender):
    """Writes through the request, paused and resumed by it."""

    _paused = False

    def start(self) -> None:
        self._registered = True
        self._request.registerProducer(self, True)
        self._continue()

    def _unregister(self) -> None:
        self._request.unregisterProducer()

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True
        self._on_backpressure(True)

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        self._paused = False
        self._on_backpressure(False)
        self._continue()

    def _continue(self) -> None:
        try:
            while not (self._paused or self._finished or self._in_thread):
                self._copy(self._write, COPY_WINDOW // 4)
                if self._offset == self._end:
                    self._finish(None)
        except NotCached:
            self._warm()
        except Unstable:
            self._wait_for(self._source.wait_until_stable)
        except Exception:
            self._finish(Failure())

    def _write(self, view: memoryview | bytes) -> int:
        self._request.write(bytes(view))
        return len(view)


class ThreadSender(BufferSender):
    """As `BufferSender`; one window at a time is read and verified in a thread."""

    def _continue(self) -> None:
        if not (self._paused or self._finished or self._in_thread):
            self._in_thread = True
            window = min(COPY_WINDOW, self._end - self._offset)
            self._run_in_thread(self._source.read, self._offset, window).addBoth(self._received)

    def _received(self, result: Any) -> None:
        if isinstance(result, Failure):
            self._finish(result)
        elif not self._finished:
            self._offset += self._write(result)
            self._in_thread = False
            if self._offset == self._end:
                self._finish(None)
            else:
                self._continue()


def file_sender(
    request: _Request,
    source: FileSource,
    first: int,
    length: int,
    run_in_thread: RunInThread,
    tail: int,
    on_backpressure: Callable[[bool], object] = lambda _: None,
) -> FileSender:
    """
    Choose how to send a span of a file to the client of *request*.

    :param first: offset of the first byte.
    :param length: how many bytes, at least one.
    :param run_in_thread: calls a function in a thread, as ``deferToThread``.
    :param tail: how many last bytes are copied, see above; `in_flight_limit`.
    :param on_backpressure: called with true when the client takes nothing for now, and with false
        when it takes bytes; not only when this changes.
    :return: the sender, not started yet.
    """
    kind: type[FileSender]
    if not source.local:
        kind = ThreadSender
    elif is_plain(request.channel.transport):
        kind = SocketSender
    else:
        kind = BufferSender
    return kind(request, source, first, length, run_in_thread, tail, on_backpressure)
