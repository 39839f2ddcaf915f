"""
Tests for `chatfiles.posix.leases`.
"""

from __future__ import annotations

import mmap
import os
import tempfile

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.posix.leases import may_be_open_for_writing
from tests.workspace.files.test_open_beneath import as_nobody


class LeaseTests(SynchronousTestCase):
    """Whether a file is open for writing."""

    def setUp(self) -> None:
        self.file = self.enterContext(tempfile.NamedTemporaryFile())
        self.fd = os.open(self.file.name, os.O_RDONLY)
        self.addCleanup(os.close, self.fd)

    def closed(self) -> None:
        """Close what writes."""
        self.file.file.close()
        if may_be_open_for_writing(self.fd):
            raise SkipTest("this file system has no leases")

    def test_open_for_writing(self) -> None:
        """It is, as long as a descriptor or a mapping can write."""
        self.assertTrue(may_be_open_for_writing(self.fd))
        self.closed()
        self.assertFalse(may_be_open_for_writing(self.fd))
        with open(self.file.name, "r+b") as file:
            file.truncate(4096)
            mapping = mmap.mmap(file.fileno(), 4096)
        self.assertTrue(may_be_open_for_writing(self.fd))
        mapping.close()
        self.assertFalse(may_be_open_for_writing(self.fd))

    def test_open_for_reading(self) -> None:
        """Readers do not matter."""
        self.closed()
        with open(self.file.name, "rb"):
            self.assertFalse(may_be_open_for_writing(self.fd))

    def test_given_back(self) -> None:
        """Nothing stays: the file can be opened for writing without waiting."""
        self.closed()
        may_be_open_for_writing(self.fd)
        os.close(os.open(self.file.name, os.O_WRONLY | os.O_NONBLOCK))

    def test_file_of_another_user(self) -> None:
        """Without the right to a lease, it is not known."""
        os.chmod(self.file.name, 0o644)
        self.closed()
        fd = self.fd
        self.assertTrue(as_nobody(lambda: may_be_open_for_writing(fd)))
