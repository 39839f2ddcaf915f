"""
Descriptors that are closed while a thread uses them.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.streams.descriptor import Descriptor


def _open(least: int = 900) -> int:
    """:return: an open descriptor, of a number that no other thread gets."""
    low = os.open(os.devnull, os.O_RDONLY)
    try:
        return fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, least)
    finally:
        os.close(low)


class DescriptorTests(SynchronousTestCase):
    """The descriptor stays open until the last thread has returned."""

    def setUp(self) -> None:
        self.descriptor = Descriptor(_open())
        self.addCleanup(self.descriptor.close)
        self.number = self.descriptor.fd

    def assert_open(self, is_open: bool) -> None:
        if is_open:
            os.fstat(self.number)
        else:
            self.assertRaises(OSError, os.fstat, self.number)

    def test_close(self) -> None:
        """
        `close` closes the descriptor once; a second call does not close a file that got the number.
        """
        self.descriptor.close()
        self.assert_open(False)
        self.assertEqual(self.descriptor.fd, -1)
        other = _open(self.number)
        self.addCleanup(os.close, other)
        self.assertEqual(other, self.number)
        self.descriptor.close()
        self.assert_open(True)

    def test_close_while_borrowed(self) -> None:
        """A borrowed descriptor is closed when the last thread has returned it, not before."""
        first, second = self.descriptor.borrow(), self.descriptor.borrow()
        self.assertEqual(first.__enter__(), self.number)
        self.assertEqual(second.__enter__(), self.number)
        self.descriptor.close()
        self.assertEqual(self.descriptor.fd, -1)
        self.assert_open(True)
        first.__exit__(None, None, None)
        self.assert_open(True)
        second.__exit__(None, None, None)
        self.assert_open(False)

    def test_borrowed_and_given_back(self) -> None:
        """A use that has ended or failed neither closes the descriptor nor keeps it open."""
        for _ in range(2):
            with contextlib.suppress(KeyError), self.descriptor.borrow():
                raise KeyError
            self.assert_open(True)
        self.descriptor.close()
        self.assert_open(False)

    def test_borrow_closed(self) -> None:
        """A closed descriptor cannot be borrowed: its number may be another file's by then."""
        held = self.descriptor.borrow()
        held.__enter__()
        self.descriptor.close()
        for _ in range(2):  # while it is still borrowed, and after that
            self.assertRaises(OSError, self.descriptor.borrow().__enter__)
            if _ == 0:
                held.__exit__(None, None, None)
                self.assert_open(False)

    def test_dropped(self) -> None:
        """A descriptor that is dropped, as when a thread opens it too late, is closed."""
        number = Descriptor(_open()).fd
        gc.collect()
        self.assertRaises(OSError, os.fstat, number)
