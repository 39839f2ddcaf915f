"""
How many bytes of a large body are read at once.
"""

from __future__ import annotations

from twisted.internet import error

from chatfiles.http.chunked import MANY_CHUNKS
from chatfiles.platform.upstream.connection import FIRST_READ
from chatfiles.streams.memory_budget import PIECE
from chatfiles.streams.transports import SMALL_READ, TINY_READ
from tests.platform.upstream.upstream_case import (
    CHUNKED,
    LARGE,
    OK,
    UpstreamTestCase,
)


class ReadSizeTests(UpstreamTestCase):
    """The read size of connections, which is larger for large bodies."""

    def test_sizes(self):
        """Only a large body raises the read size, and only until it ends."""
        for head, during in [
            (OK + b"Content-Length: 1000\r\n\r\n", FIRST_READ),
            (OK + b"Content-Length: 65537\r\n\r\n", PIECE),
            (CHUNKED, FIRST_READ),
        ]:
            self.make()
            result = self.ask()
            self.assertEqual(self.wire.bufferSize, FIRST_READ)
            self.wire.send(head)
            self.take(result)
            self.wire.send(b"1")
            self.assertEqual(self.wire.bufferSize, during, head)
            self.wire.lose(error.ConnectionLost())
            self.assertEqual(self.wire.bufferSize, FIRST_READ)

    def test_end_of_body(self):
        """A connection that is kept returns to small reads."""
        result = self.ask()
        self.wire.send(LARGE)
        self.take(result)
        self.wire.send(b"abc")
        self.assertEqual(self.wire.bufferSize, PIECE)
        self.wire.send(b"x" * (SMALL_READ - 2))
        self.assertEqual(self.wire.bufferSize, FIRST_READ)
        self.assertFalse(self.wire.disconnecting)

    def test_large_chunks(self):
        """Inside a large chunk reads are larger, but do not go far beyond its end."""
        result = self.ask()
        self.wire.send(CHUNKED)
        collector = self.take(result)
        for size, sent, during in (
            (1000, 10, FIRST_READ),
            (SMALL_READ + 1, 1, FIRST_READ),
            (500_000, 1000, 499_000),
            (4 * PIECE, 1000, PIECE),
        ):
            self.wire.send(b"%x\r\n" % size + b"x" * sent)
            self.assertEqual(self.wire.bufferSize, during, size)
            self.wire.send(b"x" * (size - sent) + b"\r\n")
            self.assertEqual(self.wire.bufferSize, FIRST_READ, size)
        self.wire.send(b"0\r\n\r\n")
        self.assertEqual(collector.outcome, f"OK:{1000 + SMALL_READ + 1 + 500_000 + 4 * PIECE}")
        self.assertEqual(self.agent._budget._transfers, 0)

    def test_crowded(self):
        """
        Many chunks of one byte reduce the read size, so that one workspace does not delay the rest.
        """
        for chunks, during in ((MANY_CHUNKS, FIRST_READ), (MANY_CHUNKS + 1, TINY_READ)):
            result = self.ask()
            self.wire.send(CHUNKED)
            collector = self.take(result)
            self.wire.send(b"1\r\nx\r\n" * chunks)
            self.wire.send(b"3\r\nabc\r\n")
            self.assertEqual(self.wire.bufferSize, during)
            self.wire.send(b"0\r\n\r\n")
            self.assertEqual(self.wire.bufferSize, FIRST_READ)
            self.assertEqual(collector.outcome, f"OK:{chunks + 3}")
        self.assertEqual(len(self.wires), 1)

    def test_many(self):
        """Many large bodies at once share the memory that the platform is ready to use."""
        for _ in range(64):
            result = self.ask()
            self.wire.send(LARGE)
            self.take(result)
        self.wires[0].send(b"1")
        self.assertEqual(self.wires[0].bufferSize, PIECE // 4)
