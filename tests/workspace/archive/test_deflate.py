"""
Tests for `chatfiles.workspace.archive.deflate`.
"""

from __future__ import annotations

import gzip
import random
import zlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.archive.deflate import (
    SAMPLE,
    STORED_BLOCK,
    DeflateStream,
    GzipStream,
    longest,
)

TEXT = b"a line of text that can be compressed\n" * 8000
NOISE = random.Random(1).randbytes(300_000)

#: Operations with their bytes.
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["start", "add", "store", "compress"]),
        st.one_of(
            st.binary(min_size=1, max_size=300),
            st.sampled_from([TEXT, NOISE, TEXT[:100], NOISE[:100], NOISE[:STORED_BLOCK]]),
        ),
    ),
    max_size=8,
)


def inflated(data: bytes) -> bytes:
    """:return: the content of a whole stream."""
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    content = decompressor.decompress(data)
    if not decompressor.eof or decompressor.unused_data:
        raise AssertionError("the stream does not end with its last byte")
    return content


def deflated(*contents: bytes) -> bytes:
    """:return: a stream with one file of which these are read in turn."""
    stream = DeflateStream()
    first, *rest = contents
    return b"".join([stream.start(first), *map(stream.add, rest), stream.finish()])


class DeflateTests(SynchronousTestCase):
    """One stream."""

    @given(OPERATIONS)
    def test_content(self, operations: list[tuple[str, bytes]]) -> None:
        """Whatever is compressed and stored, the content is what was added."""
        stream = DeflateStream()
        pieces = [getattr(stream, name)(data) for name, data in operations]
        content = b"".join(data for _, data in operations)
        self.assertTrue(inflated(b"".join([*pieces, stream.finish()])) == content)

    def test_choice(self) -> None:
        """The first 64 KiB decide whether a file is compressed."""
        for contents, is_stored in (
            ([TEXT], False),
            ([NOISE], True),
            ([b"x" * 100], False),
            ([b"x"], True),
            ([TEXT, NOISE], False),
            ([NOISE, TEXT], True),
            ([TEXT[:SAMPLE] + NOISE], False),
            ([NOISE[:SAMPLE] + TEXT], True),
            # nine tenths of it is noise, and a little more
            ([NOISE[:58_000] + bytes(SAMPLE - 58_000)], False),
            ([NOISE[:60_000] + bytes(SAMPLE - 60_000)], True),
        ):
            stream = deflated(*contents)
            stored = b"".join(contents)[:1000] in stream and len(stream) > sum(map(len, contents))
            self.assertEqual(stored, is_stored, [content[:20] for content in contents])

    def test_bound(self) -> None:
        """No file becomes longer than the bound."""
        for contents in ([TEXT, NOISE], [TEXT[:SAMPLE], *[NOISE] * 10], [NOISE], [b"x"]):
            size = sum(map(len, contents))
            self.assertLessEqual(len(deflated(*contents)), longest(size))


class GzipTests(SynchronousTestCase):
    """A gzip file."""

    @given(OPERATIONS)
    def test_content(self, operations: list[tuple[str, bytes]]) -> None:
        """The content is what was added."""
        stream = GzipStream()
        operations = [("add" if name == "store" else name, data) for name, data in operations]
        pieces = [getattr(stream, name)(data) for name, data in operations]
        content = b"".join(data for _, data in operations)
        self.assertTrue(gzip.decompress(b"".join([*pieces, stream.finish()])) == content)

    def test_noise(self) -> None:
        """Files that do not shrink are stored, between headers that do."""
        stream = GzipStream()
        pieces = []
        for _ in range(3):
            pieces += [stream.compress(bytes(512)), stream.start(NOISE), stream.add(NOISE)]
        self.assertLess(len(b"".join(pieces)), 6 * len(NOISE) + 1000)
