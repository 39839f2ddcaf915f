"""
Tests for `chatfiles.workspace.files.store`.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import shutil
from collections.abc import Callable, Mapping, Sequence

from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface import implementer

from chatfiles.errors import (
    Forbidden,
    NotARegularFile,
    NotFound,
    ReadFailed,
    Unavailable,
    UnknownLength,
)
from chatfiles.model import FileFacts
from chatfiles.posix import openat2
from chatfiles.posix.openat2 import (
    Mechanism,
    WouldWait,
    best_mechanism,
    by_openat2,
    by_walk,
    cache_answers,
)
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.workspace.files import cached_directory
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.interface import IFileStore
from chatfiles.workspace.files.open_directory import Found, OpenDirectory
from chatfiles.workspace.files.open_file import OpenFile
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.secret_file import SecretFile
from tests.contract.directories import DirectoryContract
from tests.contract.file_store import (
    FileStoreContract,
    Kind,
    Symlink,
    Tree,
    answers_at_once,
    build,
    content,
    scratch,
    virtual,
)
from tests.support.descriptors import open_below


class _OnDisk(FileStoreContract):
    mechanism: Mechanism | None = None

    def make_store(
        self, tree: Tree, *, roots: Sequence[bytes] = (b"/workspace", b"/configs")
    ) -> IFileStore:
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
    """The store with openat2: the kernel resolves paths."""

    mechanism = staticmethod(by_openat2)
    if best_mechanism() is not by_openat2:
        skip = "openat2 is not available here"


class WalkContractTests(_OnDisk, SynchronousTestCase):
    """The store that opens one path segment after the other."""

    mechanism = staticmethod(by_walk)


class _DirectoriesOnDisk(DirectoryContract):
    mechanism: Mechanism | None = None
    top: bytes

    make_store = _OnDisk.make_store
    remove_root = _OnDisk.remove_root


class OpenAt2DirectoryTests(_DirectoriesOnDisk, SynchronousTestCase):
    """Directories of the store with openat2."""

    mechanism = staticmethod(by_openat2)
    if best_mechanism() is not by_openat2:
        skip = "openat2 is not available here"


class WalkDirectoryTests(_DirectoriesOnDisk, SynchronousTestCase):
    """Directories of the store that opens one path segment after the other."""

    mechanism = staticmethod(by_walk)


@implementer(IFileStore)
class _AtOnceFirst:
    """A store whose files are opened as a role does it: at once if possible, else in a thread."""

    def __init__(self, store: IFileStore) -> None:
        self._store = store
        self.asked = self.waited = 0

    def open(self, path: VirtualPath) -> OpenFile:
        self.asked += 1
        try:
            return self._store.open_at_once(path)
        except WouldWait:
            self.waited += 1
            return self._store.open(path)

    def open_at_once(self, path: VirtualPath) -> OpenFile:
        return self._store.open_at_once(path)

    def open_descriptor_at_once(self, path: VirtualPath) -> tuple[int, FileFacts]:
        return self._store.open_descriptor_at_once(path)

    def open_directory(self, path: VirtualPath) -> OpenDirectory:
        return self._store.open_directory(path)

    def look(self, path: VirtualPath) -> Found:
        return self._store.look(path)

    def roots(self) -> Sequence[bytes]:
        return self._store.roots()

    def is_available(self, root: bytes) -> bool:
        return self._store.is_available(root)


class AtOnceContractTests(_OnDisk, SynchronousTestCase):
    """The store that opens from the kernel's cache: the results are those of `open`."""

    #: Tests that ask for nothing but missing files: those are always left to a thread.
    waiting = frozenset({"test_first_obstacle_decides"})

    if not cache_answers():
        skip = "this kernel does not open from its cache alone"

    def make_store(
        self, tree: Tree, *, roots: Sequence[bytes] = (b"/workspace", b"/configs")
    ) -> IFileStore:
        store = super().make_store(
            {**tree, **{root + b"/~warm": b"" for root in roots}}, roots=roots
        )
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")
        for root in roots:
            store.open(virtual(root + b"/~warm")).close()
        both = _AtOnceFirst(store)
        self.addCleanup(self.check_asked, both)
        return both

    def check_asked(self, store: _AtOnceFirst) -> None:
        """At least one of the requested files, if any, was opened or refused at once."""
        if store.asked and self._testMethodName not in self.waiting:
            self.assertLess(store.waited, store.asked)


class AtOnceTests(SynchronousTestCase):
    """Which files are opened on the reactor's thread."""

    if not cache_answers():
        skip = "this kernel does not open from its cache alone"

    def setUp(self) -> None:
        self.top = scratch(self)
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")
        build(self.top, {b"ws/f": b"f", b"ws/other": b"o", b"configs/.auth_token": b"t"})

    def store(self) -> FileStore:
        roots = {b"/workspace": self.top + b"/ws"}
        store = FileStore(roots, DenyRules(), [self.top + b"/configs/.auth_token"])
        self.addCleanup(store.close)
        return store

    def warm(self) -> FileStore:
        """:return: a store that opens at once."""
        store = self.store()
        store.open(virtual(b"/workspace/f")).close()
        self.assertEqual(self.at_once(store), b"f")
        return store

    def at_once(self, store: FileStore, raw: bytes = b"/workspace/f") -> bytes | None:
        """:return: the content; ``None`` if it is left to a thread."""
        try:
            with store.open_at_once(virtual(raw)) as file:
                return content(file)
        except WouldWait:
            return None

    def test_learns(self) -> None:
        """A file on a local disk is opened at once after a thread has examined the disk."""
        store = self.store()
        self.assertIsNone(self.at_once(store))  # the disk has not been examined yet
        store.open(virtual(b"/workspace/f")).close()
        self.assertEqual(self.at_once(store), b"f")

    def test_other_file_systems(self) -> None:
        """
        A file on a network file system, or on one that cannot say what is in memory, is left to a
        thread, so that it does not block other clients.
        """
        for patched in ("is_local", "reads_without_waiting"):
            store = self.store()
            patch = self.patch(cached_directory, patched, lambda fd: False)
            store.open(virtual(b"/workspace/f")).close()
            self.assertIsNone(self.at_once(store), patched)
            patch.restore()

    def test_not_in_memory(self) -> None:
        """
        A name that the kernel has to look up on the disk is left to a thread, so that it does not
        block other clients.
        """
        store = self.warm()

        def syscall(*_: object) -> int:
            ctypes.set_errno(errno.EAGAIN)
            return -1

        self.patch(openat2, "_syscall", syscall)
        self.assertIsNone(self.at_once(store))

    def test_mounted_meanwhile(self) -> None:
        """
        A root that another file system is mounted over is left to a thread, which examines it
        first.
        """
        store = self.warm()
        os.rename(self.top + b"/ws", self.top + b"/gone")
        store._roots[b"/workspace"]._directory._path = b"/proc"
        self.assertIsNone(self.at_once(store))

    def test_cannot_learn(self) -> None:
        """
        When descriptors run out while the disk is examined, the file is served, no descriptor stays
        open, and the disk is examined again later.
        """
        self.warm()  # opens what the process keeps open
        store = self.store()
        store.find_credentials()  # opens what the store keeps open
        before = open_below(self.top)

        def fail() -> bool:
            raise OSError(errno.EMFILE, "Too many open files")

        patch = self.patch(cached_directory, "cache_answers", fail)
        with store.open(virtual(b"/workspace/f")) as file:
            self.assertEqual(content(file), b"f")
        self.assertEqual(open_below(self.top), before)
        self.assertIsNone(self.at_once(store))
        patch.restore()
        store.open(virtual(b"/workspace/f")).close()  # the disk is examined again
        store.open(virtual(b"/workspace/f")).close()
        self.assertEqual(self.at_once(store), b"f")

    def test_root_gone(self) -> None:
        """A root that has vanished is left to a thread, so that the refusal is the same."""
        store = self.warm()
        shutil.rmtree(self.top + b"/ws")
        self.assertIsNone(self.at_once(store))

    def test_far_credentials(self) -> None:
        """Files are left to a thread if the role's own secrets are on a network file system."""
        store = self.warm()
        configs = store._credentials._directories[self.top + b"/configs"]
        configs._segments = (b"proc",)  # as if mounted there
        self.assertIsNone(self.at_once(store))

    def test_credential_behind_symlink(self) -> None:
        """
        Files are left to a thread if a secret is behind a symlink, which may lead to a network file
        system.
        """
        os.rename(self.top + b"/configs/.auth_token", self.top + b"/elsewhere")
        os.symlink(b"../elsewhere", self.top + b"/configs/.auth_token")
        store = self.store()
        store.open(virtual(b"/workspace/f")).close()
        self.assertIsNone(self.at_once(store))

    def test_credential_replaced(self) -> None:
        """
        After a secret is replaced, files are left to a thread until one has found the new inode.
        """
        store = self.warm()
        SecretFile(self.top + b"/configs/.auth_token").write("new")
        self.assertIsNone(self.at_once(store))
        store.open(virtual(b"/workspace/f")).close()
        self.assertEqual(self.at_once(store), b"f")

    def test_thread_is_looking(self) -> None:
        """Files are left to a thread while another examines the secrets, as it may hang."""
        store = self.warm()
        with store._credentials._lock:
            self.assertIsNone(self.at_once(store))
        self.assertEqual(self.at_once(store), b"f")

    def test_linked_credential(self) -> None:
        """
        A link to a secret is not served, even if it is made after the last check of the secrets.
        """
        store = self.warm()
        os.link(self.top + b"/configs/.auth_token", self.top + b"/ws/innocent")
        with self.assertRaises(NotFound):
            _AtOnceFirst(store).open(virtual(b"/workspace/innocent"))


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
    """The directories of the roots."""

    def test_unknown_root(self) -> None:
        """A misspelt root raises `ValueError`."""
        with self.assertRaises(ValueError):
            self.store({b"/etc": b"/etc"})

    def test_text_and_relative(self) -> None:
        """
        A directory given as text, or relative, stays valid after the process changes its directory.
        """
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
        """The root directory of the machine can be a root."""
        build(self.top, {b"f": b"f"})
        store = self.store({b"/workspace": b"/"})
        self.assertEqual(self.read(store, b"/workspace" + self.top + b"/f"), b"f")

    def test_size_that_is_not_announced(self) -> None:
        """
        A file of procfs, which has content but a size of 0, is refused; it is not sent as an empty
        file.
        """
        store = self.store({b"/workspace": b"/proc/self"})
        before = len(os.listdir("/proc/self/fd"))
        with self.assertRaises(UnknownLength):
            store.open(virtual(b"/workspace/status"))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_appears_later(self) -> None:
        """A directory that is mounted or made after the role has started is found."""
        store = self.store()
        self.assertEqual(store.why_missing(b"/workspace"), "No such file or directory")
        with self.assertRaises(ReadFailed):  # the operator has said that it is there
            store.open(virtual(b"/workspace/f"))
        build(self.top, {b"ws/f": b"f"})
        self.assertEqual(self.read(store, b"/workspace/f"), b"f")
        self.assertEqual(store.why_missing(b"/workspace"), "")

    def test_not_on_this_machine(self) -> None:
        """
        A machine without plugins has none: the root is not missing, and its files are not found.
        """
        if os.path.exists(b"/plugins"):
            raise SkipTest("there are plugins")
        store = self.store({b"/plugins": b"/plugins"})
        self.assertEqual(store.why_missing(b"/plugins"), "")
        with self.assertRaises(NotFound):
            store.open(virtual(b"/plugins/f"))

    def test_replaced(self) -> None:
        """A directory that is replaced is no longer served, although the old one still exists."""
        build(self.top, {b"ws/f": b"old", b"new/f": b"new"})
        store = self.store()
        self.assertEqual(self.read(store, b"/workspace/f"), b"old")
        os.rename(self.top + b"/ws", self.top + b"/ws.old")
        with self.assertRaises(ReadFailed):
            store.open(virtual(b"/workspace/f"))
        os.rename(self.top + b"/new", self.top + b"/ws")
        self.assertEqual(self.read(store, b"/workspace/f"), b"new")

    def test_operators_symlink(self) -> None:
        """A symlink of the operator in a root's path is followed, always to where it leads now."""
        build(self.top, {b"1/f": b"1", b"2/f": b"2", b"ws": Symlink(b"1"), b"l": Symlink(b".")})
        store = self.store({b"/workspace": self.top + b"/ws", b"/home": self.top + b"/l/1"})
        self.assertEqual(self.read(store, b"/workspace/f"), b"1")
        self.assertEqual(self.read(store, b"/home/f"), b"1")
        os.symlink(b"2", self.top + b"/next")
        os.rename(self.top + b"/next", self.top + b"/ws")
        self.assertEqual(self.read(store, b"/workspace/f"), b"2")

    def test_planted_symlink(self) -> None:
        """
        A symlink that is planted in place of a root, or above it, is not followed: write permission
        beside a root does not turn it into any directory of the machine.
        """
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
        """Uploads go to the directory that downloads come from."""
        os.mkdir(self.top + b"/ws")
        store = self.store()
        root = store.open_root(b"/workspace")
        self.addCleanup(os.close, root)
        self.assertTrue(os.path.samestat(os.fstat(root), os.stat(self.top + b"/ws")))
        self.assertRaises(NotFound, store.open_root, b"/home")
        os.rmdir(self.top + b"/ws")
        self.assertRaises(ReadFailed, store.open_root, b"/workspace")

    def test_not_a_directory(self) -> None:
        """A root that is a file makes reads fail; its files are not reported as missing."""
        build(self.top, {b"ws": b"f"})
        with self.assertRaises(ReadFailed):
            self.store().open(virtual(b"/workspace/f"))

    def test_no_permission(self) -> None:
        """The refusal says why a root cannot be opened."""
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
    """
    The file that was checked is the one that is served (reference/downloads, "Same descriptor").
    """

    def test_replaced_and_deleted(self) -> None:
        """A file that is replaced or deleted after it was opened does not change for its reader."""
        build(self.top, {b"ws/f": b"old", b"ws/g": b"new"})
        store = self.store()
        with store.open(virtual(b"/workspace/f")) as file:
            os.rename(self.top + b"/ws/g", self.top + b"/ws/f")
            self.assertEqual(content(file), b"old")
            os.unlink(self.top + b"/ws/f")
            self.assertEqual(content(file), b"old")

    def test_dropped(self) -> None:
        """A file whose client leaves while it is being opened is closed."""
        build(self.top, {b"ws/f": b"f"})
        file: OpenFile | None = self.store().open(virtual(b"/workspace/f"))
        assert file is not None
        number = file.fd
        file = None
        gc.collect()
        with self.assertRaises(OSError):
            os.fstat(number)

    def test_nothing_leaks(self) -> None:
        """A refusal leaves no descriptor open."""
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
            before = open_below(self.top)
            for name in (b"none", b"f/x", b"fifo", b"d", b"d/l", b"d/l/x", b"d/x", b"linked"):
                with self.assertRaises((NotFound, NotARegularFile)):
                    store.open(virtual(b"/workspace/" + name))
            self.assertEqual(open_below(self.top), before)


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
        """A hard link to a credential is not found; one to another file is served."""
        os.link(self.top + b"/ws/f", self.top + b"/ws/other")
        store = self.store(credentials=[self.token, self.top + b"/cfg/none"])
        self.refused(store, b"/workspace/d/linked")
        self.assertEqual(self.read(store, b"/workspace/other"), b"f")

    def test_another_name_for_the_directory(self) -> None:
        """A root that contains the configs directory does not serve the credentials in it."""
        store = self.store({b"/home": self.top}, credentials=[self.token])
        self.refused(store, b"/home/cfg/.auth_token")

    def test_mounted_symlink(self) -> None:
        """A credential that is mounted behind a symlink is not served under its real name."""
        os.rename(self.token, self.top + b"/ws/data")
        os.symlink(self.top + b"/ws/data", self.token)
        self.refused(self.store(credentials=[self.token]), b"/workspace/data")

    def test_appears_later(self) -> None:
        """A credential that did not exist when the role started is not served."""
        late = self.top + b"/cfg/late"
        store = self.store(credentials=[late])
        self.assertEqual(self.read(store, b"/workspace/f"), b"f")
        os.link(self.top + b"/ws/f", late)
        self.refused(store, b"/workspace/f")

    def test_replaced(self) -> None:
        """Links to the inodes of former credentials are not served."""
        store = self.store(credentials=[self.token])
        SecretFile(self.token).write("two")
        self.link(b"ws/second")
        self.refused(store, b"/workspace/d/linked")
        self.refused(store, b"/workspace/second")
        os.unlink(self.token)
        self.refused(store, b"/workspace/second")
        self.assertEqual(self.read(store, b"/workspace/d/g"), b"g")

    def test_cannot_be_said(self) -> None:
        """
        A file is refused if it is unknown whether it is a credential; no descriptor stays open.
        """
        store = self.store(credentials=[self.token])
        for code, expected in ((errno.EMFILE, Unavailable), (errno.EIO, ReadFailed)):
            self.patch(store._credentials, "include", _raising(code))
            before = open_below(self.top)
            with self.assertRaises(expected):
                store.open(virtual(b"/workspace/f"))
            self.assertEqual(open_below(self.top), before)


def _raising(code: int) -> Callable[[os.stat_result], bool]:
    def include(facts: os.stat_result) -> bool:
        raise OSError(code, os.strerror(code))

    return include


class DenyTests(_StoreCase):
    """The operator's own rules, and those that always hold."""

    def test_under_another_root(self) -> None:
        """
        What is denied in one root is denied in another one that holds the same directory, too.
        """
        build(
            self.top,
            {
                b"ws/conf/.hermes/key": b"k",
                b"ws/conf/.auth_token": b"t",
                b"ws/.c/.platform_inbound_secret.tmp-1": b"s",
                b"ws/.c/f": b"f",
                b"ws/conf/f": b"f",
            },
        )
        store = self.store(
            {b"/workspace": self.top + b"/ws", b"/configs": self.top + b"/ws/conf"},
            credentials=[self.top + b"/ws/.c/.auth_token"],
            deny=[b"/workspace/conf/f"],
        )
        for opened in (store.open, store.open_at_once):
            for raw in (
                b"/workspace/conf/.hermes/key",
                b"/workspace/conf/.auth_token",
                b"/workspace/.c/.platform_inbound_secret.tmp-1",
                b"/configs/f",
            ):
                with self.assertRaises(NotFound):
                    opened(virtual(raw))
        self.assertEqual(self.read(store, b"/workspace/.c/f"), b"f")

    def test_extra(self) -> None:
        """A rule of the operator is applied; one for a whole root hides that the root exists."""
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
