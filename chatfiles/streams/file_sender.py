"""
Sends a file to a client.  Three senders give the same guarantees.  `SocketSender` writes to a bare
TCP socket, bypassing Twisted's buffer.  `BufferSender` writes to any transport (TLS, tests).
`ThreadSender` reads in a thread, for files that are not on a local disk.

`SocketSender` does not use ``sendfile`` to the end, because ``sendfile`` sends references to the
page cache.  If the file is rewritten in place, bytes that wait in a socket change after they were
checked.  So the last part is copied.  It is longer than everything that can be in flight: when its
last byte is checked, the client's kernel has received all bytes that were sent by reference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from chatfiles.streams.file_source import FileSource, NotCached, Unstable
from chatfiles.streams.outcome import ClientLeft, Outcome
from chatfiles.streams.transports import is_plain

__all__ = ["FileSender", "file_sender"]

#: Bytes of one ``sendfile``; bounds the duration of one call.
SENDFILE_WINDOW = 1024 * 1024
#: Bytes of one read into the copy buffer.
COPY_WINDOW = 256 * 1024
#: Bytes that a thread loads into the page cache at a time.
WARM_WINDOW = 4 * 1024 * 1024

# All senders share one buffer: it is filled and emptied within one call on the reactor thread.
_scratch = memoryview(bytearray(COPY_WINDOW))

RunInThread = Callable[..., Deferred[Any]]


class _Request(Protocol):
    channel: Any

    def write(self, data: bytes, /) -> object: ...
    def registerProducer(self, producer: Any, streaming: bool, /) -> object: ...
    def unregisterProducer(self) -> object: ...


class FileSender:
    """
    Sends a part of a file as the body of a response whose headers have been written.  For the
    parameters, see `file_sender`.

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
    ) -> None:
        self._request = request
        self._source = source
        self._first = self._offset = first
        self._end = first + length
        self._copy_from = self._end - tail
        self._run_in_thread = run_in_thread
        self._in_thread = False
        self._finished = False
        self._call: Deferred[Any] | None = None
        self.done: Deferred[None] = Deferred(lambda _: self._release())

    def start(self) -> None:
        """Begin to send.  It may be called once."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop sending; idempotent.  A thread may still read when this returns."""
        self._finish(Failure(ClientLeft()))

    @property
    def sent(self) -> int:
        """Bytes that the transport has taken."""
        return self._offset - self._first

    @property
    def progress(self) -> int:
        """A value that changes with the bytes that were sent."""
        return self.sent

    @property
    def stalled(self) -> Outcome:
        """Why a transfer makes no progress: its disk, or its client, does not respond."""
        return Outcome.FILE_STALLED if self._in_thread else Outcome.CLIENT_STALLED

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.stop()

    def _finish(self, result: Failure | None) -> None:
        if not self._finished:
            self._release()
            self.done.callback(result)

    def _release(self) -> None:
        if not self._finished:
            self._finished = True
            if self._registered:
                self._unregister()
            if self._call is not None:
                self._call.cancel()  # a call that has not begun never runs

    def _unregister(self) -> None:
        raise NotImplementedError

    def _continue(self) -> None:
        raise NotImplementedError

    def _warm(self) -> None:
        length = min(WARM_WINDOW, self._end - self._offset)
        self._wait_for(self._source.warm, self._offset, length)

    def _wait_for(self, call: Callable[..., object], *arguments: object) -> None:
        """Run *call* in a thread, and continue when it has returned."""
        self._in_thread = True

        def done(result: Any) -> None:
            self._in_thread = False
            if isinstance(result, Failure):
                self._finish(result)
            elif not self._finished:
                self._continue()

        self._call = self._run_in_thread(call, *arguments)
        self._call.addBoth(done)

    def _copy(self, take: Callable[[memoryview], int], window: int) -> None:
        """Read up to *window* bytes and pass them to *take*, which returns how many it took."""
        view = _scratch[: min(window, self._end - self._offset)]
        count = self._source.read_into(view, self._offset)
        self._source.verify()  # before the bytes are sent, so also before the last one
        self._offset += take(view[:count])


@implementer(IPullProducer)
class SocketSender(FileSender):
    """
    Writes to a TCP socket whenever Twisted's own buffer for it is empty.  Twisted calls a pull
    producer on the bare transport exactly then.
    """

    def start(self) -> None:
        """See `FileSender.start`."""
        # The channel is the transport's producer; it is registered again at the end.
        self._transport: Any = self._request.channel.transport
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, False)
        self._registered = True
        self._transport.startWriting()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._request.channel.record_delivery()
        super().stopProducing()

    def _unregister(self) -> None:
        transport = self._transport
        if transport.producer is self:
            transport.unregisterProducer()
            if not transport.disconnected:
                transport.registerProducer(self._request.channel, True)
                self._request.channel.resumeProducing()  # it may have been paused before

    def _continue(self) -> None:
        if not self._transport.disconnected:
            self._transport.startWriting()

    def resumeProducing(self) -> None:
        """The socket can take more.  (At registration the headers are still in the buffer.)"""
        if not self._registered or self._finished or self._in_thread:
            return
        try:
            self._move()
        except NotCached:
            self._warm()
        except Unstable:
            self._wait_for(self._source.wait_until_stable)
        except (BlockingIOError, ConnectionError):
            self._continue()  # of a lost connection the transport will call stopProducing
        except Exception:
            self._finish(Failure())
        else:
            if self._offset == self._end:
                self._finish(None)
            else:
                self._continue()

    def _move(self) -> None:
        before = self._offset
        try:
            self._send_window()
        finally:
            self._request.channel.sent_directly(self._offset - before)

    def _send_window(self) -> None:
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
    """Writes to the request, which pauses and resumes it."""

    _paused = False

    def start(self) -> None:
        """See `FileSender.start`."""
        self._registered = True
        self._request.registerProducer(self, True)
        self._continue()

    def _unregister(self) -> None:
        self._request.unregisterProducer()

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        self._paused = False
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
    """As `BufferSender`, but a thread reads and verifies one window at a time."""

    def _continue(self) -> None:
        if not (self._paused or self._finished or self._in_thread):
            self._in_thread = True
            window = min(COPY_WINDOW, self._end - self._offset)
            self._call = self._run_in_thread(self._source.read, self._offset, window)
            self._call.addBoth(self._received)

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
) -> FileSender:
    """
    Choose how to send a part of a file to the client of *request*.

    :param request: the request; the headers of its response have been written.
    :param source: the file.
    :param first: offset of the first byte.
    :param length: number of bytes, at least one.
    :param run_in_thread: calls a function in a thread, as ``deferToThread``.
    :param tail: number of bytes at the end that are copied, see above and
        `chatfiles.streams.in_flight`.
    :return: the sender, not started.
    """
    kind: type[FileSender]
    if not source.local:
        kind = ThreadSender
    elif is_plain(request.channel.transport):
        kind = SocketSender
    else:
        kind = BufferSender
    return kind(request, source, first, length, run_in_thread, tail)
