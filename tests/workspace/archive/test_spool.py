"""
Tests for `chatfiles.workspace.archive.spool`.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.archive.spool import PIECE, Spool


class SpoolTests(SynchronousTestCase):
    """What was added is read."""

    @given(st.lists(st.binary(max_size=100)), st.integers(0, 3 * PIECE))
    def test_content(self, added: list[bytes], zeros: int) -> None:
        """The content is what was added, in pieces of a bounded size."""
        spool = Spool()
        for data in [*added, bytes(zeros)]:
            spool.add(data)
        pieces = list(spool.read())
        self.assertEqual(b"".join(pieces), b"".join(added) + bytes(zeros))
        self.assertEqual(spool.size, len(b"".join(pieces)))
        self.assertTrue(all(len(piece) <= PIECE for piece in pieces))

    def test_memory(self) -> None:
        """What resembles what was added before takes little memory."""
        spool = Spool()
        for number in range(20_000):
            spool.add(b"a/long/path/in/which/only/the/last/segment/differs/%d" % number)
        kept = sum(map(len, spool._chunks))
        self.assertLess(kept, spool.size / 6)
