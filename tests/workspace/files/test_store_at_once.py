"""
Opening a file on the reactor's thread in one step: which paths may be, and what is remembered.
"""

from __future__ import annotations

import os
import shutil

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.errors import ChatfilesError, NotARegularFile, NotFound, Unavailable
from chatfiles.posix.openat2 import WouldWait
from chatfiles.workspace.files import store as store_module
from chatfiles.workspace.files.cached_directory import CachedDirectory
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.store import FileStore
from tests.contract.file_store import Symlink, answers_at_once, build, content, scratch, virtual

TREE = {
    b"ws/f": b"f",
    b"ws/d/e/f": b"deep",
    b"ws/.env": b"hidden",
    b"ws/to-file": Symlink(b"f"),
    b"ws/to-directory": Symlink(b"d"),
    b"outside/f": b"secret",
    b"configs/.auth_token": b"t",
}


class OneStepTests(SynchronousTestCase):
    """A store that knows its file system."""

    def setUp(self) -> None:
        self.top = scratch(self)
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")
        build(self.top, TREE)  # type: ignore[arg-type]
        self.one_step = 0
        open_beneath = CachedDirectory.open_beneath_at_once

        def counting(directory: CachedDirectory, segments: tuple[bytes, ...]) -> int:
            fd = open_beneath(directory, segments)
            self.one_step += 1
            return fd

        self.patch(CachedDirectory, "open_beneath_at_once", counting)

    def store(self, directory: bytes | None = None, *, find: bool = True) -> FileStore:
        roots = {b"/workspace": directory or self.top + b"/ws"}
        store = FileStore(
            roots, DenyRules([b"/workspace/.env"]), [self.top + b"/configs/.auth_token"], find=find
        )
        self.addCleanup(store.close)
        return store

    def warm(self, directory: bytes | None = None, path: bytes = b"/workspace/f") -> FileStore:
        """:return: a store that opens at once."""
        store = self.store(directory)
        store.open(virtual(path)).close()
        self.assertIsInstance(self.at_once(store, path), bytes)
        self.one_step = 0
        return store

    def at_once(
        self, store: FileStore, path: bytes = b"/workspace/f"
    ) -> bytes | type[ChatfilesError] | None:
        """:return: the content, or the error; ``None`` if it is left to a thread."""
        try:
            with store.open_at_once(virtual(path)) as file:
                return content(file)
        except WouldWait:
            return None
        except ChatfilesError as error:
            return type(error)

    def test_one_step(self) -> None:
        """A file is opened in one step, in whatever depth."""
        store = self.warm()
        self.assertEqual(self.at_once(store), b"f")
        self.assertEqual(self.at_once(store, b"/workspace/d/e/f"), b"deep")
        self.assertEqual(self.one_step, 2)

    def test_refused(self) -> None:
        """What is no regular file is refused as by a thread, symlinks at any place among it."""
        os.mkfifo(self.top + b"/ws/fifo")
        store = self.warm()
        before = len(os.listdir("/proc/self/fd"))
        for path in (
            b"/workspace/missing",
            b"/workspace/to-file",
            b"/workspace/to-directory/e/f",
            b"/workspace/d/e",
            b"/workspace/f/x",
            b"/workspace/fifo",
            b"/workspace/.env",
            b"/workspace",
            b"/home/f",
        ):
            with self.assertRaises(ChatfilesError) as raised:
                store.open(virtual(path))
            # Depending on the kernel, some of them are left to a thread.
            self.assertIn(self.at_once(store, path), (type(raised.exception), None), path)
        self.assertIs(self.at_once(store, b"/workspace/to-directory/e/f"), NotARegularFile)
        self.assertIs(self.at_once(store, b"/workspace/fifo"), NotARegularFile)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_mount_point(self) -> None:
        """
        A file on a file system that is mounted beneath the root is left to a thread: it may block.
        """
        shared = b"/dev/shm"
        if not os.path.ismount(shared) or not os.access(shared, os.W_OK):
            raise SkipTest("there is no second file system")
        place = shared + b"/cf-%d" % os.getpid()
        build(place, {b"f": b"far"})
        self.addCleanup(shutil.rmtree, place)
        near = b"/workspace" + self.top + b"/ws/f"
        store = self.warm(b"/", near)
        self.assertEqual(self.at_once(store, near), b"f")
        before = len(os.listdir("/proc/self/fd"))
        for far in (b"/workspace" + place + b"/f", b"/workspace/proc/version"):
            self.assertIsNone(self.at_once(store, far), far)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        with store.open(virtual(b"/workspace" + place + b"/f")) as file:
            self.assertEqual(content(file), b"far")

    def test_root_replaced(self) -> None:
        """A root is found again for every file: no file of a replaced one is served."""
        store = self.warm()
        os.rename(self.top + b"/ws", self.top + b"/old")
        self.assertIsNone(self.at_once(store))
        build(self.top, {b"ws/f": b"new"})
        self.assertEqual(self.at_once(store), b"new")
        self.assertRaises(NotFound, store.open, virtual(b"/workspace/d/e/f"))
        self.assertIs(self.at_once(store, b"/workspace/d/e/f"), NotFound)

    def test_root_replaced_by_symlink(self) -> None:
        """A symlink in place of the root, or above it, is not followed."""
        for name in (b"/p/ws", b"/p"):
            top = self.top = scratch(self)
            build(
                top,
                {
                    b"p/ws/f": b"f",
                    b"outside/ws/f": b"secret",
                    b"outside/f": b"secret",
                    b"configs/.auth_token": b"t",
                },
            )
            store = self.warm(top + b"/p/ws")
            shutil.rmtree(top + name)
            os.symlink(top + b"/outside", top + name)
            self.assertIsNone(self.at_once(store), name)

    def test_remembered(self) -> None:
        """What the rules say of a path is remembered, if they allow it and it is short."""
        store = self.warm()
        asked: list[bytes] = []
        denies = DenyRules.denies

        def counting(rules: DenyRules, path: bytes) -> bool:
            asked.append(path)
            return denies(rules, path)

        self.patch(DenyRules, "denies", counting)
        for _ in range(3):
            self.at_once(store)
        self.assertEqual(asked, [])
        for _ in range(2):
            self.assertIs(self.at_once(store, b"/workspace/.env"), NotFound)
        self.assertEqual(asked, [b"/workspace/.env"] * 2)
        long = b"/workspace/" + b"/".join([b"d" * 100] * 3)
        for _ in range(2):
            self.at_once(store, long)
        self.assertEqual(asked.count(long), 2)

    def test_bounded(self) -> None:
        """The number of remembered paths is bounded."""
        store = self.store()
        self.assertEqual(store._known_root.cache_info().maxsize, store_module._PATHS)
        for number in range(store_module._PATHS + 10):
            self.at_once(store, b"/workspace/%d" % number)
        self.assertEqual(store._known_root.cache_info().currsize, store_module._PATHS)

    def test_forgotten(self) -> None:
        """
        When another directory becomes known, the rules are asked again: it may be an alias of one
        whose files are hidden.
        """
        store = self.store(self.top, find=False)
        hidden = b"/workspace/configs/.auth_token"
        self.assertIs(self.at_once(store, hidden), Unavailable)
        store._credential_places = []  # as if they were somewhere else
        store.find_root(b"/workspace")
        self.assertIsNone(self.at_once(store, hidden))  # the rules allow it
        store.find_credentials()
        self.assertIs(self.at_once(store, hidden), NotFound)
