"""
Tests for `chatfiles.http.chunked`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import FrameType
from typing import Any

import h11
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import _ChunkedTransferDecoder

from chatfiles.http.chunked import (
    MANY_CHUNKS,
    MAX_LINE_BYTES,
    MAX_TRAILER_BYTES,
    ChunkedDecoder,
    MalformedChunks,
)

LAST = b"0\r\n\r\n"
TRAILER = b"A: b\r\n"

#: The end of a body: its last chunk and trailers.
ENDS = st.sampled_from([LAST, b"000\r\n\r\n", b"0;a=b\r\n\r\n", b"0\r\nA: b\r\nC:\r\n\r\n"])
CHUNKS = st.tuples(st.binary(min_size=1, max_size=40), st.sampled_from([b"", b"00", b"0" * 30]))
CHUNK_LISTS = st.lists(CHUNKS, max_size=6)
EXTENSIONS = st.sampled_from([b"", b";", b";a=b", b';a="x y"', b";\xff\t"])
#: What follows a body on its connection.
RESTS = st.sampled_from([b"", b"x", b"\r\n", LAST, b"GET / HTTP/1.1\r\n\r\n"])
DIVISIONS = st.lists(st.integers(1, 400), max_size=8)


def wire(chunks: Sequence[tuple[bytes, bytes]], end: bytes = LAST, extension: bytes = b"") -> bytes:
    """:return: *chunks*, each with zeros before its size, as a chunked body."""
    lines = [b"%b%x%b\r\n%b\r\n" % (zeros, len(x), extension, x) for x, zeros in chunks]
    return b"".join(lines) + end


def plain(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """:return: the body that *chunks* stand for."""
    return b"".join(data for data, _ in chunks)


def divided(raw: bytes, at: Sequence[int]) -> Iterator[bytes]:
    """:return: *raw* in reads, none of them empty."""
    edges = sorted({0, len(raw), *(place % (len(raw) or 1) for place in at)})
    return (raw[a:b] for a, b in pairwise(edges))


def decode(reads: Any) -> tuple[bytes, bytes, bool]:
    """:return: the body in *reads*, what follows it, and whether it is complete."""
    decoder, body, rest = ChunkedDecoder(), b"", b""
    for read in reads:
        if decoder.complete:
            rest += read
        else:
            body += decoder.feed(read)
            rest = decoder.rest
    return body, rest, decoder.complete


def bytewise(raw: bytes) -> list[bytes]:
    """:return: *raw* in reads of one byte."""
    return [raw[at : at + 1] for at in range(len(raw))]


#: Malformed bodies; each is rejected at its last byte at the latest.
MALFORMED = [
    # sizes
    b"\r\n",
    b" 3\r\n",
    b"3 \r\n",
    b"+3\r\n",
    b"-1\r\n",
    b"0x3\r\n",
    b"3_0\r\n",
    b"g\r\n",
    b";a\r\n",
    b"\xb2\r\n",
    b"1000000000000000\r\n",
    b"ffffffffffffffff\r\n",
    b"10000000000000003\r\n",
    b"0" * MAX_LINE_BYTES + b"\r\n",
    b"f" * (MAX_LINE_BYTES + 1),
    b"3;" + b"a" * (MAX_LINE_BYTES - 1),
    # line ends
    b"3\n",
    b"\n",
    b"3;a\n",
    b"3\rabc\r\n",
    b"3;a\rb\r\n",
    b"3\r\r\n",
    b"3;\0\r\n",
    b"3;\x7f\r\n",
    # after a chunk
    b"3\r\nabcd",
    b"3\r\nabc\n",
    b"3\r\nabc\rx",
    b"3\r\nabc0",
    b"3\r\nabc\r\n\r\n",
    # trailers
    b"0\r\n\n",
    b"0\r\nA: b\n",
    b"0\r\nA : b\r\n",
    b"0\r\n folded\r\n",
    b"0\r\nnonsense\r\n",
    b"0\r\n: b\r\n",
    b"0\r\nA: \0\r\n",
    b"0\r\nA: b\rC: d\r\n",
    b"0\r\n\r\r\n",
    b"0\r\nA: " + b"b" * MAX_TRAILER_BYTES,
    b"0\r\n" + TRAILER * (MAX_TRAILER_BYTES // len(TRAILER) + 1),
]


class DecoderTests(SynchronousTestCase):
    """Valid bodies are decoded exactly; malformed ones are rejected."""

    @given(CHUNK_LISTS, ENDS, EXTENSIONS, RESTS, DIVISIONS)
    def test_any_body(
        self,
        chunks: list[tuple[bytes, bytes]],
        end: bytes,
        extension: bytes,
        rest: bytes,
        at: list[int],
    ) -> None:
        """The body and the bytes after it are exact, however the network divides them."""
        raw = wire(chunks, end, extension) + rest
        for reads in ([raw], list(divided(raw, at)), bytewise(raw)):
            self.assertEqual(decode(reads), (plain(chunks), rest, True))

    @given(CHUNK_LISTS, ENDS, EXTENSIONS, DIVISIONS, st.integers(0))
    def test_any_truncation(
        self,
        chunks: list[tuple[bytes, bytes]],
        end: bytes,
        extension: bytes,
        at: list[int],
        length: int,
    ) -> None:
        """A truncated body is never complete; the bytes decoded of it are its first ones."""
        raw = wire(chunks, end, extension)
        part = raw[: length % len(raw)]
        for reads in ([part], list(divided(part, at)), bytewise(part)):
            body, rest, complete = decode(reads)
            self.assertEqual((rest, complete), (b"", False))
            self.assertTrue(plain(chunks).startswith(body))

    def test_leading_zeros(self) -> None:
        """
        A read that ends after the leading zeros of a size does not end the body, unlike in urllib3.
        """
        zeros = b"0" * (MAX_LINE_BYTES - 2)
        for reads in ([zeros, b"3\r\nabc\r\n" + LAST], bytewise(zeros + b"3\r\nabc\r\n" + LAST)):
            self.assertEqual(decode(reads), (b"abc", b"", True))
        for part in (b"0", zeros, b"000\r", b"3\r\nabc\r\n000"):
            self.assertFalse(decode([part])[2])

    def test_malformed(self) -> None:
        """A body that another parser may read differently is rejected: it may smuggle a request."""
        for raw in MALFORMED:
            for reads in ([raw], bytewise(raw) if len(raw) < 5000 else [raw[:100], raw[100:]]):
                with self.assertRaises(MalformedChunks, msg=raw[:50]):
                    decode(reads)

    def test_bounds(self) -> None:
        """Lines and trailers of the documented maximum are accepted, and so is the largest size."""
        size = b"0" * (MAX_LINE_BYTES - 2) + b"1\r\nx\r\n"
        extension = b"1;" + b"a" * (MAX_LINE_BYTES - 3) + b"\r\nx\r\n"
        trailers = b"A: " + b"b" * (MAX_TRAILER_BYTES - 5) + b"\r\n"
        for raw in (size + LAST, extension + LAST, b"1\r\nx\r\n0\r\n" + trailers + b"\r\n"):
            self.assertEqual(decode([raw]), (b"x", b"", True))
            self.assertEqual(decode([raw[:700], raw[700:]]), (b"x", b"", True))
        largest = ChunkedDecoder()
        self.assertEqual(largest.feed(b"fffffffffffffff\r\nabc"), b"abc")

    def test_one_call(self) -> None:
        """The data of many tiny chunks is returned by one call, to be written at once."""
        self.assertEqual(ChunkedDecoder().feed(wire([(b"x", b"")] * 500)), b"x" * 500)

    def test_crowded(self) -> None:
        """
        The decoder is `crowded` after a read of more than `MANY_CHUNKS` chunks, which delays other
        connections.
        """
        for chunks, crowded in ((MANY_CHUNKS, False), (MANY_CHUNKS + 1, True)):
            decoder = ChunkedDecoder()
            decoder.feed(b"1\r\nx\r\n" * chunks)
            self.assertEqual(decoder.crowded, crowded)
            decoder.feed(b"1\r\nx\r\n")
            self.assertFalse(decoder.crowded)

    def test_after_the_end(self) -> None:
        """The bytes after a body are kept in `rest`; feeding more is an error."""
        decoder = ChunkedDecoder()
        decoder.feed(LAST + b"x")
        self.assertRaises(RuntimeError, decoder.feed, b"y")
        self.assertEqual(decoder.rest, b"x")

    @given(st.binary(max_size=80), st.integers(1, 10))
    def test_any_bytes(self, raw: bytes, size: int) -> None:
        """The result does not depend on how the network divides the bytes."""
        for prefix in (b"", b"3\r\nabc\r\n", b"0\r\n"):
            whole = verdict([prefix + raw])
            pieces = [(prefix + raw)[at : at + size] for at in range(0, len(prefix + raw), size)]
            self.assertEqual(verdict(pieces), whole)

    def test_left(self) -> None:
        """It is known how much of a chunk is missing, and nothing between chunks."""
        decoder, left = ChunkedDecoder(), []
        for data in (b"", b"5", b"\r\n", b"ab", b"cde", b"\r", b"\n", b"3\r\nabc\r\n2\r\nx", b"x"):
            decoder.feed(data)
            left.append(decoder.left)
        self.assertEqual(left, [0, 0, 5, 3, 0, 0, 0, 1, 0])


def verdict(reads: Sequence[bytes]) -> object:
    """:return: for *reads*, the body and the bytes after it, "incomplete" or "malformed"."""
    try:
        body, rest, complete = decode(reads)
    except MalformedChunks:
        return "malformed"
    return (body, rest) if complete else "incomplete"


class OtherDecoderTests(SynchronousTestCase):
    """Valid bodies are decoded as by other implementations."""

    @given(CHUNK_LISTS, ENDS, RESTS, DIVISIONS)
    def test_twisted(
        self, chunks: list[tuple[bytes, bytes]], end: bytes, rest: bytes, at: list[int]
    ) -> None:
        """A body is decoded as by Twisted's server."""
        raw = wire(chunks, end) + rest
        body, rests = list[bytes](), list[bytes]()
        _ChunkedTransferDecoder(body.append, rests.append).dataReceived(raw)
        self.assertEqual(decode(divided(raw, at)), (b"".join(body), rests[0], True))

    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), ENDS, DIVISIONS)
    def test_h11(self, pieces: list[bytes], end: bytes, at: list[int]) -> None:
        """A body is decoded as by h11."""
        chunks = [(piece, b"0") for piece in pieces]  # h11 takes sizes of at most 20 digits
        raw = wire(chunks, end)
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
        client.send(h11.EndOfMessage())
        client.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)
        events = iter(client.next_event, h11.PAUSED)
        body = b""
        for event in events:
            if isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
        self.assertEqual(decode(divided(raw, at)), (body, b"", True))


class CostTests(SynchronousTestCase):
    """The work is proportional to the number of bytes."""

    def lines(self, reads: Sequence[bytes]) -> int:
        """:return: how many lines of the decoder run for *reads*."""
        count = 0

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal count
            if frame.f_globals.get("__name__") != "chatfiles.http.chunked":
                return None
            count += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            decode(reads)
        finally:
            sys.settrace(before)
        return count

    def test_proportional(self) -> None:
        """
        Tiny chunks and tiny reads cost work in proportion to their number, so that their sender
        cannot keep the process busy.
        """
        tiny = b"1\r\nx\r\n"
        for few, many in [
            ([tiny * 100], [tiny * 800]),
            (bytewise(tiny * 20), bytewise(tiny * 160)),
            (bytewise(b"0\r\nA: " + b"b" * 100), bytewise(b"0\r\nA: " + b"b" * 800)),
            (bytewise(b"1f4\r\n" + b"x" * 50), bytewise(b"1f4\r\n" + b"x" * 400)),
        ]:
            self.assertLess(self.lines(many), 8.5 * self.lines(few) + 50)
