"""
Credentials that are compared on the reactor's thread.
"""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.posix.openat2 import WouldWait
from chatfiles.workspace.files import credential_inodes as inodes_module
from chatfiles.workspace.files.credential_inodes import CredentialInodes
from chatfiles.workspace.secret_file import SecretFile
from tests.contract.file_store import answers_at_once, scratch
from tests.support.ticks import pass_tick


class SettledTests(SynchronousTestCase):
    """Directories of credentials in which no name has changed."""

    def setUp(self) -> None:
        self.top = scratch(self)
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")
        for name in (b"a", b"b", b"elsewhere"):
            os.mkdir(self.top + b"/" + name)
        self.path = self.top + b"/a/.auth_token"
        self.later_ns = 10 * inodes_module.SETTLED_NS
        SecretFile(self.path).write("one")
        SecretFile(self.top + b"/b/.auth_token").write("two")
        self.inodes = CredentialInodes([self.path], lambda: time.time_ns() + self.later_ns)
        self.inodes.refresh()
        self.addCleanup(self.inodes.close)
        self.looked_up = 0
        inode_at_once = inodes_module._inode_at_once

        def counting(directory: int, name: bytes) -> tuple[int, int] | None:
            self.looked_up += 1
            return inode_at_once(directory, name)

        self.patch(inodes_module, "_inode_at_once", counting)

    def includes(self, name: bytes) -> bool | None:
        """:return: whether *name* is a credential; ``None`` if that is left to a thread."""
        try:
            return self.inodes.include_at_once(os.stat(self.top + b"/" + name))
        except WouldWait:
            return None

    def settle(self) -> None:
        """Let the directory be settled; the next change in it has another time."""
        self.assertIs(self.includes(b"a/.auth_token"), True)
        self.assertIs(self.includes(b"a/.auth_token"), True)
        pass_tick(self.top + b"/elsewhere", os.stat(self.top + b"/a").st_ctime_ns)
        self.looked_up = 0

    def test_settled(self) -> None:
        """Its names are not looked up again; credentials and their links are still known."""
        self.settle()
        os.link(self.path, self.top + b"/elsewhere/link")
        self.assertIs(self.includes(b"a/.auth_token"), True)
        self.assertIs(self.includes(b"elsewhere/link"), True)
        self.assertIs(self.includes(b"b/.auth_token"), False)
        self.assertEqual(self.looked_up, 0)

    def test_missing(self) -> None:
        """
        A name that is missing is settled by a thread: a tmpfs does not keep in memory that it is
        missing.
        """
        os.unlink(self.path)
        pass_tick(self.top + b"/elsewhere", os.stat(self.top + b"/a").st_ctime_ns)

        def would_wait(directory: int, name: bytes) -> None:
            raise WouldWait

        self.patch(inodes_module, "_inode_at_once", would_wait)
        self.assertIsNone(self.includes(b"b"))
        self.inodes.refresh()
        self.assertIs(self.includes(b"b"), False)

    def test_not_settled(self) -> None:
        """Within a second after a change, or if the clock was set back, names are looked up."""
        for later_ns in (inodes_module.SETTLED_NS // 2, -self.later_ns):
            self.later_ns = later_ns
            SecretFile(self.path).write(f"at {later_ns}".replace(" ", "-"))
            self.inodes.refresh()
            self.looked_up = 0
            for _ in range(3):
                self.assertIs(self.includes(b"a/.auth_token"), True)
            self.assertEqual(self.looked_up, 3)

    def test_replaced(self) -> None:
        """A credential that is replaced, removed or made is left to a thread, which finds it."""
        path = self.path
        SecretFile(self.top + b"/elsewhere/other").write("other")

        def link() -> None:
            os.unlink(path)
            os.link(self.top + b"/elsewhere/other", path)

        def rename() -> None:
            os.rename(self.top + b"/b/.auth_token", path)

        def write() -> None:
            SecretFile(path).write("three")

        for change in (rename, link, write):
            self.settle()
            change()
            self.assertIsNone(self.includes(b"a/.auth_token"), change)
            self.assertIs(self.inodes.include(os.stat(path)), True)
            self.assertIs(self.includes(b"a/.auth_token"), True)
        self.settle()
        os.unlink(path)
        self.assertIsNone(self.includes(b"b"))
        self.assertIs(self.inodes.include(os.stat(self.top + b"/b")), False)
        self.assertIs(self.includes(b"b"), False)

    def test_other_directory(self) -> None:
        """
        Another directory takes the place of the settled one, which comes back later: the
        credentials of both are recognised, whether a thread looked in between or not.
        """
        a, b, away = (self.top + name for name in (b"/a", b"/b", b"/away"))
        for looks in (False, True):
            self.settle()
            os.rename(a, away)
            os.rename(b, a)
            self.assertIsNone(self.includes(b"a/.auth_token"))
            if looks:
                self.assertIs(self.inodes.include(os.stat(self.path)), True)
                self.settle()
            os.rename(a, b)
            os.rename(away, a)
            for name in (b"a/.auth_token", b"b/.auth_token") if looks else (b"a/.auth_token",):
                found = self.includes(name)
                if found is None:
                    found = self.inodes.include(os.stat(self.top + b"/" + name))
                self.assertIs(found, True, (looks, name))

    def test_restored_mount(self) -> None:
        """
        The settled directory comes back unchanged, as when a file system that was mounted over it
        is unmounted: its credential is looked up again.
        """
        self.settle()
        version = inodes_module._version
        known = os.stat(self.top + b"/a")
        directory = self.inodes._directories[self.top + b"/a"]
        there = directory._path, directory._segments
        directory._path = self.top + b"/b"  # as if it were mounted there
        directory._segments = (*directory._segments[:-1], b"b")
        self.inodes._paths = [self.top + b"/b/.auth_token"]
        self.assertIsNone(self.includes(b"b/.auth_token"))
        self.inodes.refresh()
        directory._path, directory._segments = there
        fd = os.open(self.top + b"/a", os.O_PATH)
        self.addCleanup(os.close, fd)
        self.assertEqual(version(fd)[:2], (known.st_dev, known.st_ino))
        self.looked_up = 0
        self.includes(b"a/.auth_token")
        self.assertGreater(self.looked_up, 0)

    def test_closed(self) -> None:
        """After `close`, a credential is not taken for another file."""
        self.settle()
        self.inodes.close()
        self.assertIsNone(self.includes(b"a/.auth_token"))
