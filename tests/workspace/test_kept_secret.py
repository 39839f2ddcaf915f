"""
A secret that is kept in memory: `chatfiles.workspace.secret_file`.
"""

from __future__ import annotations

import os
import time
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SkipTest

from chatfiles.model import token_hash
from chatfiles.posix.openat2 import WouldWait
from chatfiles.workspace import secret_file
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.secret_file import MAX_SECRET, SETTLED_NS, SecretFile
from tests.contract.file_store import answers_at_once
from tests.support.ticks import pass_tick
from tests.workspace.test_secret_file import _FileCase, texts


class KeptTests(_FileCase):
    """A secret that is kept in memory while the file has not changed."""

    def setUp(self) -> None:
        super().setUp()
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")
        self.later_ns = 10 * SETTLED_NS
        self.secrets = InboundSecrets(self.path, lambda: time.time_ns() + self.later_ns)
        self.file = self.secrets.current
        self.put(b"abc")
        self.file.read()
        self.reads = 0
        content_at_once = secret_file._content_at_once

        def counting(handle: int) -> tuple[int, bytes]:
            self.reads += 1
            return content_at_once(handle)

        self.patch(secret_file, "_content_at_once", counting)

    def settle(self) -> None:
        """Let the secret be kept; the next change has another time."""
        self.secrets.matches(b"")  # the kernel learns what is missing
        self.file.read_at_once()
        self.assertIsNotNone(self.file._kept)
        pass_tick(self.top, os.stat(self.path).st_ctime_ns)
        self.reads = 0

    def test_kept(self) -> None:
        """The file is opened at each use, but read only once."""
        self.settle()
        for _ in range(3):
            self.assertEqual(self.file.read_at_once(), "abc")
            self.assertTrue(self.secrets.has_digest_at_once(token_hash("abc")))
            self.assertFalse(self.secrets.has_digest_at_once(token_hash("abd")))
        self.assertEqual(self.reads, 0)

    def test_no_secret(self) -> None:
        """That a file holds no secret is kept, too; nobody can present it."""
        self.put(b"")
        self.settle()
        for presented in ("", "None", "abc"):
            self.assertFalse(self.secrets.has_digest_at_once(token_hash(presented)), presented)
        self.assertEqual(self.reads, 0)

    def test_changes(self) -> None:
        """A change takes effect immediately, even with equal size and modification time."""

        def rewrite() -> None:
            self.put(b"xyz")

        def replace() -> None:
            SecretFile(self.path).write("xyz")

        def exchange() -> None:
            with open(self.top + b"/new", "wb") as new:
                new.write(b"xyz")
            os.rename(self.top + b"/new", self.path)

        for change in (rewrite, replace, exchange):
            self.put(b"abc")
            os.utime(self.path, ns=(0, 0))
            self.settle()
            change()
            os.utime(self.path, ns=(0, 0))
            self.assertEqual(self.file.read_at_once(), "xyz", change)
            self.assertFalse(self.secrets.has_digest_at_once(token_hash("abc")))

    def test_same_tick(self) -> None:
        """
        Two changes within one tick of the kernel's clock have the same time.  So a secret that
        changed within the last second is read at each use; also if the clock was set back.
        """
        version = secret_file._version(os.stat(self.path))
        for changed in (
            time.time_ns() + self.later_ns - SETTLED_NS // 2,
            time.time_ns() + 2 * self.later_ns,
        ):
            same = version._replace(changed=changed)
            patch = self.patch(secret_file, "_version", lambda _, same=same: same)
            for text in ("one", "two"):
                self.put(text.encode())
                self.assertEqual(self.file.read_at_once(), text)
            self.assertIsNone(self.file._kept)
            patch.restore()

    def test_mode(self) -> None:
        """A secret that becomes accessible to other users is reported, although it is kept."""
        self.settle()
        os.chmod(self.path, 0o644)
        with capturedLogs() as events:
            for _ in range(2):
                self.assertEqual(self.file.read_at_once(), "abc")
        self.assertEqual(len(texts(events)), 1)
        self.assertIn("chmod 600", texts(events)[0])

    def test_gone(self) -> None:
        """A secret that was removed, or is behind a symlink now, is not taken from memory."""
        self.settle()
        os.rename(self.path, self.top + b"/real")
        self.assertRaises(WouldWait, self.file.read_at_once)
        self.assertIsNone(self.file.read())
        os.symlink(b"real", self.path)
        self.assertRaises(WouldWait, self.file.read_at_once)
        self.assertRaises(WouldWait, self.secrets.has_digest_at_once, token_hash("abc"))

    def test_other_file(self) -> None:
        """Something else with the same name is not taken for the secret."""
        self.settle()
        os.unlink(self.path)
        os.mkfifo(self.path)
        self.assertRaises(WouldWait, self.file.read_at_once)

    def test_part_in_memory(self) -> None:
        """
        If the kernel has only the first page of a file in memory, which is too long for a secret,
        the page is not taken for the secret.
        """
        self.put(b"a" * (MAX_SECRET + 1))
        preadv = os.preadv

        def first_page(fd: int, buffers: Any, offset: int, flags: int) -> int:
            return min(MAX_SECRET, preadv(fd, buffers, offset, flags))

        self.patch(os, "preadv", first_page)
        self.assertRaises(WouldWait, self.file.read_at_once)
        self.assertIsNone(self.file.read())

    def test_nothing_leaks(self) -> None:
        """No descriptor stays open, whether the file is read or not."""
        before = os.listdir("/proc/self/fd")
        for _ in range(3):
            self.file.read_at_once()
        os.unlink(self.path)
        os.mkdir(self.path)
        self.assertRaises(WouldWait, self.file.read_at_once)
        self.assertEqual(os.listdir("/proc/self/fd"), before)
