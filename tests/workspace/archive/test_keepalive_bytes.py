"""
Tests for `chatfiles.workspace.archive.keepalive_bytes`.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.archive.keepalive_bytes import KEPT_BYTES, SILENCE, trickle

_BEGINNING = b"0123456789"


class TrickleTests(SynchronousTestCase):
    """`trickle`."""

    def test_silence(self) -> None:
        """In each second without bytes one is sent, as long as there is one; then the rest."""
        now = [0.0]

        def parts() -> Iterator[bytes]:
            yield _BEGINNING
            for _ in range(30):
                now[0] += SILENCE / 2
                yield b""
            yield b"end"

        sent = list(trickle(parts(), lambda: now[0]))
        self.assertEqual(
            sent[1:31],
            [b"", b"0", b"", b"1", b"", b"2", b"", b"3", b"", b"4"]
            + [b"", b"5", b"", b"6", b"", b"7", b"", b"8", b"", b"9"]
            + [b""] * 10,
        )
        self.assertEqual(b"".join(sent), _BEGINNING + b"end")

    def test_bytes(self) -> None:
        """While there are bytes, all but the last ones are sent at once."""
        parts = [b"a" * KEPT_BYTES, b"b" * 1000, b"", b"c"]
        sent = list(trickle(parts, lambda: 0.0))
        expected = [b"", b"a" * KEPT_BYTES + b"b" * (1000 - KEPT_BYTES), b"", b"b"]
        self.assertEqual(sent, [*expected, b"b" * (KEPT_BYTES - 1) + b"c"])

    def test_interrupted(self) -> None:
        """An error is raised as it is; what was kept back is never sent."""

        def parts() -> Iterator[bytes]:
            yield _BEGINNING
            raise OSError

        sent = trickle(parts(), lambda: 0.0)
        self.assertEqual(next(sent), b"")
        self.assertRaises(OSError, next, sent)
        self.assertRaises(StopIteration, next, sent)

    @given(st.lists(st.binary(max_size=2 * KEPT_BYTES)), st.floats(0, 2 * SILENCE))
    def test_same_bytes(self, parts: list[bytes], step: float) -> None:
        """No byte is lost, added or moved."""
        now = [0.0]

        def seconds() -> float:
            now[0] += step
            return now[0]

        self.assertEqual(b"".join(trickle(parts, seconds)), b"".join(parts))
