"""
The record at the end of a ``.part`` file.
"""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli.transfers.partial_record import (
    TAIL_LIMIT,
    PartialRecord,
    append_record,
    read_record,
)


class RecordTests(SynchronousTestCase):
    """Sealed records, and bytes that pass for one."""

    RECORD = PartialRecord("http://x/?path=/workspace/f", '"v"', 99, 3, "00" * 32)

    @staticmethod
    def seal(data: bytes) -> bytes:
        return hashlib.sha256(b"key" + data).digest()

    @given(st.binary(max_size=300), st.integers(0, 2**20))
    def test_any_bytes(self, data: bytes, length: int) -> None:
        """Bytes that were not sealed are no record, whatever they are."""
        self.assertIsNone(read_record(data, length, self.seal)[0])

    @given(st.data())
    def test_any_change(self, data: st.DataObject) -> None:
        """A record with any changed byte is not accepted."""
        wire = bytearray(b"abc" + append_record(self.RECORD, self.seal))
        self.assertEqual(read_record(bytes(wire), len(wire), self.seal), (self.RECORD, True))
        at = data.draw(st.integers(3, len(wire) - 1))
        wire[at] ^= data.draw(st.integers(1, 255))
        self.assertIsNone(read_record(bytes(wire), len(wire), self.seal)[0])

    def test_longest(self) -> None:
        """The record of the longest path fits into what is read."""
        record = PartialRecord("http://" + "x" * 8192 + "%ff" * 4096, '"v"', 1, 1, "0" * 64)
        wire = append_record(record, self.seal)
        self.assertLess(len(wire), TAIL_LIMIT)
        self.assertEqual(read_record(wire, len(wire) + 1, self.seal)[0], record)
