"""
Sending files to sockets: the same guarantees with and without Twisted's buffer.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import TestCase

from chatfiles.streams import file_sender as file_module
from chatfiles.streams.file_sender import COPY_WINDOW, SENDFILE_WINDOW
from chatfiles.streams.file_source import FileSource
from chatfiles.streams.in_flight import in_flight_limit
from tests.support.loopback import Loopback, more_than, reset_on_close, until
from tests.support.memory_client import get, parse
from tests.support.sent_file import ColdSource, Opened, Sending, content

MIB = 1 << 20


class _Pump(TestCase):
    """What each way of sending guarantees."""

    fast = False
    local = True

    def setUp(self) -> None:
        self.sendfiles = 0
        real = os.sendfile

        def counted(*arguments: Any) -> int:
            self.sendfiles += 1
            return real(*arguments)

        self.patch(os, "sendfile", counted)
        if not self.fast:
            self.patch(file_module, "is_plain", lambda transport: False)

    def opened(self, size: int) -> Opened:
        return Opened(self, size, local=self.local)

    async def start(self, opened: Opened, source: FileSource | None = None) -> Loopback:
        """Prepare to send the whole file through small buffers."""
        self.sending = Sending(source or FileSource(opened))
        self.sending.span = (0, len(opened.data))
        caller = Loopback(self, reactor, self.sending, receive_buffer=16 * 1024)
        await caller.connected()
        caller.transport.socket.setsockopt(1, 7, 32 * 1024)  # SOL_SOCKET, SO_SNDBUF
        return caller

    async def stall(self, sleep: Any = time.sleep) -> tuple[Opened, Loopback]:
        """Send until the client takes no more."""
        size = 2 * MIB
        opened = self.opened(size)
        caller = await self.start(opened, FileSource(opened, sleep))
        await caller.send(get())
        await caller.read(more_than(100_000))
        seen = -1
        while seen != (seen := self.sending.sent()):
            for _ in range(20):
                await deferLater(reactor, 0)
        self.assertLess(seen, size)
        return opened, caller

    async def assert_cut(self, caller: Loopback) -> None:
        """The response is incomplete, because the file has changed."""
        await caller.read_to_end()
        (answer,) = parse(caller.data)
        self.assertFalse(answer.complete)
        self.assertEqual(self.sending.requests[0].transfer.outcome, "file_changed")
        self.assertEqual(caller.site.running, 0)

    async def assert_whole(self, caller: Loopback, data: bytes) -> None:
        """The response is *data*, and the connection can be used again."""
        size = len(data)
        await caller.read(lambda got: got.endswith(data[-100:]) and len(got) > size)
        (answer,) = parse(caller.data)
        self.assertTrue(answer.body == data)
        self.assertIs(caller.transport.producer, self.channel(caller))
        self.sending.source = FileSource(self.opened(5))
        self.sending.span = (1, 3)
        caller.data = b""
        await caller.send(get())
        await caller.read(lambda got: got.endswith(b"\r\n\r\n" + content(5)[1:4]))
        self.assertFalse(caller.ended)

    def channel(self, caller: Loopback) -> Any:
        (channel,) = caller.site.channels
        return channel

    async def test_spans(self) -> None:
        """Every byte is sent once and in order, also where one way of sending follows another."""
        size = 2 * SENDFILE_WINDOW + COPY_WINDOW + 7
        opened = self.opened(size)
        caller = await self.start(opened)
        for first, length, tail in [
            (0, size, 0),
            (0, size, 1),
            (0, size, COPY_WINDOW + 1),
            (0, size, size),
            (0, size, size + 1),
            (5, SENDFILE_WINDOW, 0),
            (5, SENDFILE_WINDOW + 1, 1),
            (size - 1, 1, 0),
            (size - 1, 1, 1),
            (size - 300, 299, 100),
            (0, 1, 0),
        ]:
            self.sending.span, self.sending.tail = (first, length), tail
            self.sendfiles, caller.data = 0, b""
            await caller.send(get())
            await caller.read(lambda got: [a.complete for a in parse(got)] == [True])
            (answer,) = parse(caller.data)
            self.assertTrue(answer.body == opened.data[first : first + length], (first, length))
            self.assertEqual(self.sending.sent(), length)
            self.assertEqual(self.sendfiles > 0, self.fast and tail < length)
        self.assertEqual(len(caller.site.channels), 1)

    async def test_shrinks(self) -> None:
        """If the file is truncated during the transfer, the response is interrupted."""
        opened, caller = await self.stall()
        os.truncate(opened.path, 1_500_000)
        await self.assert_cut(caller)

    async def test_rewritten(self) -> None:
        """
        If the file is rewritten during the transfer, the response is interrupted: it never combines
        parts of two versions.
        """
        for at, size in ((0, None), (0, 1), (2 * MIB - 1, 1)):
            opened, caller = await self.stall()
            opened.rewrite(at, size)
            await self.assert_cut(caller)

    async def test_rewritten_at_the_very_end(self) -> None:
        """A change just before the last bytes are sent is detected."""
        opened = self.opened(2 * MIB)
        caller = await self.start(opened)
        verify = self.sending.source.verify

        def verify_last() -> None:
            if self.sending.sent() + COPY_WINDOW >= 2 * MIB:
                opened.rewrite(2 * MIB - 1, 1)
            verify()

        self.sending.source.verify = verify_last  # type: ignore[method-assign]
        await caller.send(get())
        await self.assert_cut(caller)

    async def test_grows(self) -> None:
        """A file that grows, such as a log, is sent in the announced length."""
        opened, caller = await self.stall()
        opened.rewrite(2 * MIB, 4000)
        await self.assert_whole(caller, opened.data)

    async def test_about_to_grow(self) -> None:
        """
        A write sets the file's time before its size; a log that is about to grow is not taken for a
        rewritten file.
        """
        for looks in (3, 6):  # the last check comes after the last wait
            waited: list[float] = []

            def sleep(seconds: float, looks: int = looks, waited: list[float] = waited) -> None:
                waited.append(seconds)
                if len(waited) == looks:
                    opened.rewrite(2 * MIB, 4000)  # noqa: B023

            opened, caller = await self.stall(sleep)
            os.utime(opened.path)
            await self.assert_whole(caller, opened.data)
            self.assertEqual(len(waited), looks)

    async def test_replaced_or_deleted(self) -> None:
        """
        If the file is replaced or deleted during the transfer, the opened version is sent
        completely.
        """
        for replace in (True, False):
            opened, caller = await self.stall()
            if replace:
                other = Opened(self, 7)
                os.rename(other.path, opened.path)
            else:
                os.unlink(opened.path)
            await self.assert_whole(caller, opened.data)

    async def test_rewritten_in_the_socket(self) -> None:
        """A rewrite after the last check does not change the bytes that wait in the socket."""
        for size in (1000, 100_000, 3 * MIB):
            opened = self.opened(size)
            sending = Sending(FileSource(opened))
            sending.span, sending.tail = (0, size), in_flight_limit()
            caller = Loopback(self, reactor, sending)
            await caller.send(get())
            await until(reactor, lambda: sending.requests)  # noqa: B023
            for _ in range(100):
                await deferLater(reactor, 0)
            opened.rewrite()
            await caller.read(lambda got: [a.complete for a in parse(got)] == [True])
            (answer,) = parse(caller.data)
            self.assertTrue(not answer.complete or answer.body == opened.data, size)

    async def test_caller_leaves(self) -> None:
        """If the client disconnects, the transfer ends once."""
        _, caller = await self.stall()
        caller.socket.close()
        await until(reactor, lambda: not caller.site.channels)
        self.assertEqual(self.sending.requests[0].transfer.outcome, "client_left")
        self.assertTrue(self.sending.done.called)
        self.assertEqual(caller.site.running, 0)

    async def test_cancelled(self) -> None:
        """A cancelled transfer sends nothing more and unregisters its producer."""
        _, caller = await self.stall()
        sent, channel = self.sending.sent(), self.channel(caller)
        self.sending.done.cancel()
        self.assertIs(caller.transport.producer, channel)
        self.assertIsNone(channel._producer)
        await caller.read_to_end()
        self.assertEqual(self.sending.sent(), sent)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    async def test_behind_a_full_buffer(self) -> None:
        """A connection that was paused by a full buffer sends again when the buffer is empty."""
        opened = self.opened(1000)
        caller = await self.start(opened)
        channel = self.channel(caller)
        caller.transport.producerPaused = True
        channel.pauseProducing()
        caller.transport.resumeProducing()
        await caller.send(get())
        await caller.read(lambda got: opened.data in got)
        self.assertFalse(channel.send_blocked)


class _CachedPump(_Pump):
    """What the ways of sending guarantee that ask the kernel what is cached in memory."""

    async def test_cold(self) -> None:
        """
        What is not cached is read in a thread first, so that the disk does not delay other clients.
        """
        opened = Opened(self, 6 * MIB)
        source = ColdSource(opened)
        caller = await self.start(opened, source)
        await caller.send(get())
        await self.assert_whole(caller, opened.data)
        self.assertGreater(len(source.warmed), 1)
        self.assertEqual(source.warmed[0][0], 0)

    async def test_no_nowait(self) -> None:
        """
        If the file system cannot report what is cached, the file is read in threads first and sent.
        """
        real = os.preadv
        read: list[tuple[int, int, bool]] = []

        def preadv(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
            if flags:
                raise OSError(errno.EOPNOTSUPP, "not here")
            count = real(fd, buffers, offset)
            read.append((offset, offset + count, not isInIOThread()))
            return count

        self.patch(os, "preadv", preadv)
        opened = Opened(self, 6 * MIB)
        caller = await self.start(opened)
        self.sending.run = deferToThread
        await caller.send(get())
        await self.assert_whole(caller, opened.data)
        warm = 0
        for first, end, in_thread in read:
            warm = max(warm, end) if in_thread else warm
            self.assertLessEqual(end, warm, first)

    async def test_disk_fails(self) -> None:
        """A read error ends the transfer and is logged."""
        opened = self.opened(2 * MIB)
        source = ColdSource(opened)
        caller = await self.start(opened, source)
        source.warm = lambda *_: os.close(-1)  # type: ignore[method-assign]
        await caller.send(get())
        await caller.read_to_end()
        self.assertNotIn(True, [answer.complete for answer in parse(caller.data)])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    async def test_caller_leaves_while_warming(self) -> None:
        """
        Bytes that a thread reads after the client's disconnect are sent neither to it nor to the
        next client.
        """
        opened = self.opened(2 * MIB)
        source = ColdSource(opened)
        caller = await self.start(opened, source)
        reads: list[Deferred[None]] = []
        self.sending.run = lambda *_: reads.append(Deferred()) or reads[-1]  # type: ignore[func-returns-value]
        await caller.send(get())
        await until(reactor, lambda: reads)
        # A reset: after a mere FIN, the client may still wait for its response.
        reset_on_close(caller.socket)
        caller.socket.close()
        await until(reactor, lambda: not caller.site.channels)
        source.warm(0, 2 * MIB)
        reads[0].callback(None)
        self.assertEqual((self.sending.sent(), len(reads)), (0, 1))


class SocketPumpTests(_CachedPump):
    """Without Twisted's buffer."""

    fast = True


class BufferPumpTests(_CachedPump):
    """Through Twisted's buffer, as with TLS."""


class ThreadPumpTests(_Pump):
    """From a file system that may be slow."""

    local = False

    async def test_in_threads(self) -> None:
        """
        The file is accessed in threads only, so that a file system that hangs does not delay other
        clients.
        """
        opened = self.opened(6 * MIB)
        caller = await self.start(opened)
        touched: list[tuple[str, bool]] = []

        def spied(name: str, function: Any) -> Any:
            def call(fd: int, *arguments: Any) -> Any:
                if opened.fd in (fd, *arguments[:1]):
                    touched.append((name, isInIOThread()))
                return function(fd, *arguments)

            return call

        for name in ("fstat", "pread", "preadv", "sendfile"):
            self.patch(os, name, spied(name, getattr(os, name)))
        self.sending.run = deferToThread
        await caller.send(get())
        await self.assert_whole(caller, opened.data)
        self.assertEqual(set(touched), {("pread", False), ("fstat", False)})

    async def test_disk_fails(self) -> None:
        """A read error ends the transfer and is logged."""
        opened = self.opened(2 * MIB)
        caller = await self.start(opened)
        self.sending.source.read = lambda *_: os.close(-1)  # type: ignore[method-assign,assignment]
        await caller.send(get())
        await caller.read_to_end()
        self.assertNotIn(True, [answer.complete for answer in parse(caller.data)])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    async def test_one_window(self) -> None:
        """For a client that takes nothing, at most two windows of the file are read into memory."""
        opened, caller = await self.stall()
        pump = caller.transport
        self.assertLessEqual(len(pump.dataBuffer) + pump._tempDataLen, 2 * COPY_WINDOW)
        self.assertEqual(self.sendfiles, 0)
        await self.assert_whole(caller, opened.data)

    async def test_caller_leaves_while_reading(self) -> None:
        """
        Bytes that a thread reads after the client's disconnect are sent neither to it nor to the
        next client.
        """
        opened = self.opened(2 * MIB)
        caller = await self.start(opened)
        reads: list[Deferred[bytes]] = []
        self.sending.run = lambda *_: reads.append(Deferred()) or reads[-1]  # type: ignore[func-returns-value]
        await caller.send(get())
        await until(reactor, lambda: reads)
        reset_on_close(caller.socket)
        caller.socket.close()
        await until(reactor, lambda: not caller.site.channels)
        reads[0].callback(b"late")
        self.assertEqual((self.sending.sent(), len(reads)), (0, 1))


del _Pump, _CachedPump
