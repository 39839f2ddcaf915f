"""
Tests for `chatfiles.workspace.store`.
"""

from __future__ import annotations

import errno
import gc
import os
import shutil
from collections.abc import Callable, Mapping, Sequence

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import Forbidden, NotARegularFile, NotFound, ReadFailed, Unavailable
from chatfiles.workspace.confined import Mechanism, best_mechanism, by_openat2, by_walk
from chatfiles.workspace.credentials import SecretFile
from chatfiles.workspace.deny import DenyRules
from chatfiles.workspace.store import FileStore, OpenFile
from tests.contract.file_store import (
    FileStoreContract,
    Kind,
    Symlink,
    Tree,
    build,
    content,
    scratch,
    virtual,
)


class _OnDisk(FileStoreContract):
    mechanism: Mechanism | None = None

    def make_store(
        self, tree: Tree, *, roots: Sequence[bytes] = (b"/workspace", b"/configs")
    ) -> FileStore:
        self.top = scratch(self)
        for root in roots:
            os.mkdir(self.top + root)
        build(self.top, tree)
        return FileStore(
            {root: self.top + root for root in roots}, DenyRules(), mechanism=self.mechanism
        )

    def remove_root(self, root: bytes) -> None:
        shutil.rmtree(self.top + root)


class OpenAt2ContractTests(_OnDisk, SynchronousTestCase):
    """The store where the kernel resolves paths."""

    mechanism = staticmethod(by_openat2)
    if best_mechanism() is not by_openat2:
        skip = "openat2 is not available here"


class WalkContractTests(_OnDisk, SynchronousTestCase):
    """The store that walks."""

    mechanism = staticmethod(by_walk)


class _StoreCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = scratch(self)

    def store(
        self,
        roots: Mapping[bytes, str | bytes] | None = None,
        deny: Sequence[bytes] = (),
        credentials: Sequence[bytes] = (),
        mechanism: Mechanism | None = None,
    ) -> FileStore:
        store = FileStore(
            {b"/workspace": self.top + b"/ws"} if roots is None else roots,
            DenyRules(deny),
            credentials,
            mechanism=mechanism,
        )
        self.addCleanup(store.close)
        return store

    def read(self, store: FileStore, raw: bytes) -> bytes:
        with store.open(virtual(raw)) as file:
            return content(file)


class RootTests(_StoreCase):
    """Where the roots are."""

    def test_unknown_root(self) -> None:
        """A misspelt root is silently never served."""
        with self.assertRaises(ValueError):
            self.store({b"/etc": b"/etc"})

    def test_text_and_relative(self) -> None:
        """A directory given as text, or relative, is found no more once the process has moved."""
        build(self.top, {b"ws/f": b"f"})
        before = os.getcwd()
        os.chdir(self.top)
        try:
            store = self.store({b"/workspace": "ws", b"/home": os.fsdecode(self.top) + "/ws/"})
        finally:
            os.chdir(before)
        self.assertEqual(self.read(store, b"/workspace/f"), b"f")
        self.assertEqual(self.read(store, b"/home/f"), b"f")

    def test_whole_machine(self) -> None:
        """The root directory of the machine cannot be a root."""
        build(self.top, {b"f": b"f"})
        store = self.store({b"/workspace": b"/"})
        self.assertEqual(self.read(store, b"/workspace" + self.top + b"/f"), b"f")

    def test_appears_later(self) -> None:
        """A directory that is mounted or made after the role has started is never found."""
        store = self.store()
        with self.assertRaises(NotFound):
            store.open(virtual(b"/workspace/f"))
        build(self.top, {b"ws/f": b"f"})
        self.assertEqual(self.read(store, b"/workspace/f"), b"f")

    def test_replaced(self) -> None:
        """A directory that is replaced while the old one lives on keeps being served."""
        build(self.top, {b"ws/f": b"old", b"new/f": b"new"})
        store = self.store()
        self.assertEqual(self.read(store, b"/workspace/f"), b"old")
        os.rename(self.top + b"/ws", self.top + b"/ws.old")
        with self.assertRaises(ReadFailed):
            store.open(virtual(b"/workspace/f"))
        os.rename(self.top + b"/new", self.top + b"/ws")
        self.assertEqual(self.read(store, b"/workspace/f"), b"new")

    def test_operators_symlink(self) -> None:
        """A root behind a symlink of the operator fails, or sticks to where it led at first."""
        build(self.top, {b"1/f": b"1", b"2/f": b"2", b"ws": Symlink(b"1"), b"l": Symlink(b".")})
        store = self.store({b"/workspace": self.top + b"/ws", b"/home": self.top + b"/l/1"})
        self.assertEqual(self.read(store, b"/workspace/f"), b"1")
        self.assertEqual(self.read(store, b"/home/f"), b"1")
        os.symlink(b"2", self.top + b"/next")
        os.rename(self.top + b"/next", self.top + b"/ws")
        self.assertEqual(self.read(store, b"/workspace/f"), b"2")

    def test_planted_symlink(self) -> None:
        """Whoever may write beside a root turns it into any directory of the machine."""
        for missing_at_start in (False, True):
            for name in (b"p/ws", b"p"):
                top = self.top = scratch(self)
                build(top, {b"outside/ws/f": b"secret"})
                if not missing_at_start:
                    build(top, {b"p/ws/f": b"f"})
                store = self.store({b"/workspace": top + b"/p/ws"})
                if not missing_at_start:
                    self.assertEqual(self.read(store, b"/workspace/f"), b"f")
                    shutil.rmtree(top + b"/" + name)
                elif name == b"p/ws":
                    os.mkdir(top + b"/p")
                target = b"/outside/ws" if name == b"p/ws" else b"/outside"
                os.symlink(top + target, top + b"/" + name)
                with self.assertRaises(ReadFailed):
                    store.open(virtual(b"/workspace/f"))

    def test_open_root(self) -> None:
        """Uploads go to another directory than downloads come from."""
        os.mkdir(self.top + b"/ws")
        store = self.store()
        root = store.open_root(b"/workspace")
        self.addCleanup(os.close, root)
        self.assertTrue(os.path.samestat(os.fstat(root), os.stat(self.top + b"/ws")))
        self.assertRaises(NotFound, store.open_root, b"/home")
        os.rmdir(self.top + b"/ws")
        self.assertRaises(ReadFailed, store.open_root, b"/workspace")

    def test_not_a_directory(self) -> None:
        """A root that is a file makes its files look missing."""
        build(self.top, {b"ws": b"f"})
        with self.assertRaises(ReadFailed):
            self.store().open(virtual(b"/workspace/f"))

    def test_no_permission(self) -> None:
        """Why a root cannot be opened is told wrongly."""
        for code, expected in (
            (errno.EACCES, Forbidden),
            (errno.EMFILE, Unavailable),
            (errno.ENAMETOOLONG, ReadFailed),
            (errno.EIO, ReadFailed),
        ):
            os.makedirs(self.top + b"/ws", exist_ok=True)
            store = self.store(mechanism=_failing(code))
            with self.assertRaises(expected):
                store.open(virtual(b"/workspace/f"))


def _failing(code: int) -> Mechanism:
    def fail(root_fd: int, segments: Sequence[bytes], flags: int) -> int:
        raise OSError(code, os.strerror(code))

    return fail


class OneDescriptorTests(_StoreCase):
    """What was judged is what is served (CONTRACT 6.2)."""

    def test_replaced_and_deleted(self) -> None:
        """A file that is replaced or deleted after it was opened changes under its reader."""
        build(self.top, {b"ws/f": b"old", b"ws/g": b"new"})
        store = self.store()
        with store.open(virtual(b"/workspace/f")) as file:
            os.rename(self.top + b"/ws/g", self.top + b"/ws/f")
            self.assertEqual(content(file), b"old")
            os.unlink(self.top + b"/ws/f")
            self.assertEqual(content(file), b"old")

    def test_dropped(self) -> None:
        """A file whose caller left while it was being opened stays open for ever."""
        build(self.top, {b"ws/f": b"f"})
        file: OpenFile | None = self.store().open(virtual(b"/workspace/f"))
        assert file is not None
        number = file.fd
        file = None
        gc.collect()
        with self.assertRaises(OSError):
            os.fstat(number)

    def test_nothing_leaks(self) -> None:
        """A refusal leaves a descriptor open."""
        build(
            self.top,
            {
                b"ws/f": b"f",
                b"ws/fifo": Kind.FIFO,
                b"ws/d/l": Symlink(b"x"),
                b"token": b"t",
            },
        )
        os.link(self.top + b"/token", self.top + b"/ws/linked")
        for mechanism in (best_mechanism(), by_walk):
            store = self.store(credentials=[self.top + b"/token"], mechanism=mechanism)
            with self.assertRaises(NotFound):
                store.open(virtual(b"/workspace/linked"))
            before = os.listdir("/proc/self/fd")
            for name in (b"none", b"f/x", b"fifo", b"d", b"d/l", b"d/l/x", b"d/x", b"linked"):
                with self.assertRaises((NotFound, NotARegularFile)):
                    store.open(virtual(b"/workspace/" + name))
            self.assertEqual(os.listdir("/proc/self/fd"), before)


class CredentialTests(_StoreCase):
    """The role's own credentials are never served, wherever their inode is linked."""

    def setUp(self) -> None:
        super().setUp()
        build(self.top, {b"cfg/.auth_token": b"one", b"ws/f": b"f", b"ws/d/g": b"g"})
        self.token = self.top + b"/cfg/.auth_token"
        self.link(b"ws/d/linked")

    def link(self, name: bytes) -> None:
        os.link(self.token, self.top + b"/" + name)

    def refused(self, store: FileStore, raw: bytes) -> None:
        error = self.assertRaises(NotFound, lambda: store.open(virtual(raw)))
        self.assertEqual((error.text, error.code), ("file not found", "file_not_found"))

    def test_hard_link(self) -> None:
        """A hard link to a credential gives it away; or one to another file is refused."""
        os.link(self.top + b"/ws/f", self.top + b"/ws/other")
        store = self.store(credentials=[self.token, self.top + b"/cfg/none"])
        self.refused(store, b"/workspace/d/linked")
        self.assertEqual(self.read(store, b"/workspace/other"), b"f")

    def test_another_name_for_the_directory(self) -> None:
        """A root that contains the configs directory serves what is in it."""
        store = self.store({b"/home": self.top}, credentials=[self.token])
        self.refused(store, b"/home/cfg/.auth_token")

    def test_mounted_symlink(self) -> None:
        """A credential that is mounted behind a symlink is served under its real name."""
        os.rename(self.token, self.top + b"/ws/data")
        os.symlink(self.top + b"/ws/data", self.token)
        self.refused(self.store(credentials=[self.token]), b"/workspace/data")

    def test_appears_later(self) -> None:
        """A credential that was not there when the role started is served."""
        late = self.top + b"/cfg/late"
        store = self.store(credentials=[late])
        self.assertEqual(self.read(store, b"/workspace/f"), b"f")
        os.link(self.top + b"/ws/f", late)
        self.refused(store, b"/workspace/f")

    def test_replaced(self) -> None:
        """The secret before the last one is given away by a link to its inode."""
        store = self.store(credentials=[self.token])
        SecretFile(self.token).write("two")
        self.link(b"ws/second")
        self.refused(store, b"/workspace/d/linked")
        self.refused(store, b"/workspace/second")
        os.unlink(self.token)
        self.refused(store, b"/workspace/second")
        self.assertEqual(self.read(store, b"/workspace/d/g"), b"g")

    def test_cannot_be_said(self) -> None:
        """A file is served although nobody could tell whether it is a credential."""
        store = self.store(credentials=[self.token])
        for code, expected in ((errno.EMFILE, Unavailable), (errno.EIO, ReadFailed)):
            self.patch(store._credentials, "include", _raising(code))
            before = os.listdir("/proc/self/fd")
            with self.assertRaises(expected):
                store.open(virtual(b"/workspace/f"))
            self.assertEqual(os.listdir("/proc/self/fd"), before)


def _raising(code: int) -> Callable[[os.stat_result], bool]:
    def include(facts: os.stat_result) -> bool:
        raise OSError(code, os.strerror(code))

    return include


class DenyTests(_StoreCase):
    """The operator's own rules."""

    def test_extra(self) -> None:
        """A rule of the operator does not hold, or one for a root tells that it is there."""
        build(self.top, {b"ws/.git/config": b"c", b"ws/f": b"f", b"cfg/f": b"f"})
        store = self.store(
            {b"/workspace": self.top + b"/ws", b"/configs": self.top + b"/cfg"},
            deny=[b"/workspace/**/.git", b"/configs"],
        )
        for raw in (
            b"/workspace/.git/config",
            b"/workspace/.git",
            b"/workspace/a/.git/b",
            b"/configs",
            b"/configs/f",
        ):
            with self.assertRaises(NotFound):
                store.open(virtual(raw))
        self.assertEqual(self.read(store, b"/workspace/f"), b"f")
