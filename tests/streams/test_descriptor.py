"""
Descriptors that are closed while a thread uses them.
"""

from __future__ import annotations

import gc
import os

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.streams.descriptor import Descriptor


class DescriptorTests(SynchronousTestCase):
    """The number is in use until the last thread has returned."""

    def setUp(self) -> None:
        self.descriptor = Descriptor(os.open(os.devnull, os.O_RDONLY))
        self.addCleanup(self.descriptor.close)
        self.number = self.descriptor.fd

    def assert_open(self, is_open: bool) -> None:
        if is_open:
            os.fstat(self.number)
        else:
            self.assertRaises(OSError, os.fstat, self.number)

    def test_close(self) -> None:
        """It would stay open; or a second close would close a file that got the number."""
        self.descriptor.close()
        self.assert_open(False)
        self.assertEqual(self.descriptor.fd, -1)
        other = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, other)
        self.assertEqual(other, self.number)
        self.descriptor.close()
        self.assert_open(True)

    def test_close_while_borrowed(self) -> None:
        """The number would mean another file before its users have returned; or stay open."""
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
        """A use that has ended, or failed, would close it, or keep it open for ever."""
        for _ in range(2):
            with self.assertRaises(KeyError), self.descriptor.borrow():
                raise KeyError
            self.assert_open(True)
        self.descriptor.close()
        self.assert_open(False)

    def test_borrow_closed(self) -> None:
        """A call that waited for a thread would use the number of another file."""
        held = self.descriptor.borrow()
        held.__enter__()
        self.descriptor.close()
        for _ in range(2):  # while it is still open for others, and when it is not
            with self.assertRaises(OSError), self.descriptor.borrow():
                self.fail("it was lent")
            if _ == 0:
                held.__exit__(None, None, None)
                self.assert_open(False)

    def test_dropped(self) -> None:
        """What a late thread has opened for nobody would stay open."""
        number = Descriptor(os.open(os.devnull, os.O_RDONLY)).fd
        gc.collect()
        self.assertRaises(OSError, os.fstat, number)
