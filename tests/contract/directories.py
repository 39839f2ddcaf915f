"""
The contract of `IFileStore` for directories, as a suite to mix into a test case.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import ChatfilesError, NotADirectory, NotARegularFile, NotFound, ReadFailed
from chatfiles.rules.entry_json import Kind
from chatfiles.workspace.files.interface import IFileStore
from tests.contract.file_store import NAMES, Symlink, Tree, content, virtual
from tests.contract.file_store import Kind as Lies

if TYPE_CHECKING:
    from chatfiles.workspace.files.open_directory import OpenDirectory

    _Base = SynchronousTestCase
else:
    _Base = object

TREE: Tree = {
    b"/workspace/d/file": b"12345",
    b"/workspace/d/sub/below": b"b",
    b"/workspace/d/fifo": Lies.FIFO,
    b"/workspace/d/socket": Lies.SOCKET,
    b"/workspace/d/to_file": Symlink(b"file"),
    b"/workspace/d/to_dir": Symlink(b"sub"),
    b"/workspace/d/dangling": Symlink(b"nowhere"),
    b"/workspace/d/.dot": b"",
}
KINDS = {
    b"file": Kind.FILE,
    b"sub": Kind.DIRECTORY,
    b"fifo": Kind.OTHER,
    b"socket": Kind.OTHER,
    b"to_file": Kind.SYMLINK,
    b"to_dir": Kind.SYMLINK,
    b"dangling": Kind.SYMLINK,
    b".dot": Kind.FILE,
}


def listed(directory: OpenDirectory) -> dict[bytes, Kind]:
    """:return: what a listing shows: each name with its kind."""
    found = [directory.look(name) for name in directory.names()]
    return {each.name: each.kind for each in found if each is not None}


class DirectoryContract(_Base):
    """The suite.  A test case that mixes it in implements `make_store` and `remove_root`."""

    def make_store(
        self, tree: Tree, *, roots: Sequence[bytes] = (b"/workspace", b"/configs")
    ) -> IFileStore:
        """See `tests.contract.file_store.FileStoreContract.make_store`."""
        raise NotImplementedError

    def remove_root(self, root: bytes) -> None:
        """Remove the directory of *root* from the store that was made last."""
        raise NotImplementedError

    def open_at(self, store: IFileStore, raw: bytes) -> OpenDirectory:
        """:return: the directory, which is closed after the test."""
        directory = store.open_directory(virtual(raw))
        self.addCleanup(directory.close)
        return directory

    def assert_refused(
        self, attempt: Callable[[], object], error: type[ChatfilesError], code: str
    ) -> None:
        """*attempt* fails with this error."""
        refusal = self.assertRaises(error, attempt)
        assert isinstance(refusal, error)
        self.assertEqual(refusal.code, code)

    def test_names(self) -> None:
        """All names are listed, without ``.`` and ``..``, and again when they are read again."""
        store = self.make_store({b"/workspace/d/" + name: name for name in NAMES})
        directory = self.open_at(store, b"/workspace/d")
        for _ in range(2):
            self.assertEqual(sorted(directory.names()), sorted(NAMES))
        self.assertEqual(directory.path, virtual(b"/workspace/d"))

    def test_half_read(self) -> None:
        """Reading can be given up, and begins from the start the next time."""
        store = self.make_store(TREE)
        directory = self.open_at(store, b"/workspace/d")
        names = directory.names()
        next(names)
        names.close()
        directory.names().close()
        self.assertEqual(listed(directory), KINDS)

    def test_kinds(self) -> None:
        """Each kind is shown as what it is, without following a symlink."""
        self.assertEqual(listed(self.open_at(self.make_store(TREE), b"/workspace/d")), KINDS)

    def test_facts(self) -> None:
        """The facts are those of the entry."""
        directory = self.open_at(self.make_store(TREE), b"/workspace/d")
        for name in KINDS:
            found = directory.look(name)
            assert found is not None
            assert found.facts is not None
            real = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            self.assertEqual((found.name, found.facts), (name, real))
            self.assertEqual((found.readable, found.error), (True, ""))

    def test_vanished(self) -> None:
        """A name that does not exist is no entry."""
        directory = self.open_at(self.make_store(TREE), b"/workspace/d")
        for name in (b"none", b"n" * 255):
            self.assertIsNone(directory.look(name))

    def test_root(self) -> None:
        """A root can be listed."""
        store = self.make_store({b"/workspace/f": b"f"}, roots=[b"/workspace"])
        self.assertIn(b"f", list(self.open_at(store, b"/workspace").names()))

    def test_children(self) -> None:
        """What is in a directory is opened beneath its descriptor, by the same rules."""
        store = self.make_store(TREE)
        directory = self.open_at(store, b"/workspace/d")
        with directory.open_directory(b"sub") as child:
            self.assertEqual(child.path, virtual(b"/workspace/d/sub"))
            self.assertEqual(list(child.names()), [b"below"])
            with child.open_file(b"below") as file:
                self.assertEqual((content(file), file.name), (b"b", b"below"))
        for name in (b"to_dir", b"file", b"fifo", b"dangling"):
            self.assertRaises(NotADirectory, directory.open_directory, name)
        for name in (b"to_file", b"sub", b"fifo", b"socket"):
            self.assertRaises(NotARegularFile, directory.open_file, name)
        for name in (b"none",):
            self.assertRaises(NotFound, directory.open_directory, name)
            self.assertRaises(NotFound, directory.open_file, name)
        for name in (b"..", b".", b"", b"sub/below", b"a\0b"):
            self.assertRaises(ChatfilesError, directory.open_directory, name)
            self.assertRaises(ChatfilesError, directory.open_file, name)

    def test_moved(self) -> None:
        """A directory that is moved while it is open is the same directory."""
        store = self.make_store(TREE)
        directory = self.open_at(store, b"/workspace/d")
        with store.open_directory(virtual(b"/workspace")) as above:
            os.rename(b"d", b"e", src_dir_fd=above.fd, dst_dir_fd=above.fd)
        self.assertEqual(listed(directory), KINDS)

    def test_removed(self) -> None:
        """A directory that is removed while it is open has no names."""
        store = self.make_store({b"/workspace/d/e": Lies.DIRECTORY})
        directory = self.open_at(store, b"/workspace/d/e")
        with store.open_directory(virtual(b"/workspace/d")) as above:
            os.rmdir(b"e", dir_fd=above.fd)
        self.assertEqual(list(directory.names()), [])

    def test_not_a_directory(self) -> None:
        """What is not a directory is 400, and so is what is behind a symlink."""
        store = self.make_store(TREE)
        for name in (
            b"file",
            b"fifo",
            b"socket",
            b"to_file",
            b"to_dir",
            b"dangling",
            b"to_dir/below",
            b"to_dir/none",
            b"dangling/none",
        ):
            path = virtual(b"/workspace/d/" + name)
            attempt = lambda path=path: store.open_directory(path)  # noqa: E731
            self.assert_refused(attempt, NotADirectory, "not_a_directory")

    def test_missing(self) -> None:
        """What is missing is 404; so is a name below a file, and a root without a directory."""
        store = self.make_store(TREE)
        for raw in (
            b"/workspace/none",
            b"/workspace/none/none",
            b"/workspace/d/file/below",
            b"/workspace/d/fifo/below",
            b"/plugins",
            b"/plugins/x",
        ):
            for operation in (store.open_directory, store.look):
                attempt = lambda o=operation, raw=raw: o(virtual(raw))  # noqa: E731
                self.assert_refused(attempt, NotFound, "file_not_found")

    def test_look(self) -> None:
        """Anything can be looked at, also a root; nothing is followed."""
        store = self.make_store(TREE)
        for name, kind in KINDS.items():
            found = store.look(virtual(b"/workspace/d/" + name))
            self.assertEqual((found.name, found.kind), (name, kind))
            self.assertEqual((found.readable, found.error), (True, ""))
        self.assertIs(store.look(virtual(b"/workspace/d")).kind, Kind.DIRECTORY)
        root = store.look(virtual(b"/workspace"))
        self.assertEqual((root.name, root.kind), (b"workspace", Kind.DIRECTORY))

    def test_look_behind_symlinks(self) -> None:
        """A symlink before the end of the path is 400."""
        store = self.make_store(TREE)
        for name in (b"to_dir/below", b"to_dir/none", b"dangling/none", b"to_file/x"):
            path = virtual(b"/workspace/d/" + name)
            attempt = lambda path=path: store.look(path)  # noqa: E731
            self.assert_refused(attempt, NotARegularFile, "not_a_regular_file")

    def test_denied(self) -> None:
        """
        What is denied is neither listed, looked at nor opened.  The directory that a rule ``X/**``
        names is listed, and is empty.
        """
        hidden = (
            b".auth_token",
            b".AUTH_TOKEN.tmp",
            b".chatfiles-part-1",
            b".Chatfiles-Part-2.json",
        )
        tree: dict[bytes, bytes] = {b"/configs/" + name: b"s" for name in hidden}
        tree |= {b"/configs/.hermes/deep/er": b"h", b"/configs/plain": b"p"}
        tree |= {b"/workspace/.chatfiles-part-1": b"x", b"/workspace/.chatfiles-par": b"x"}
        store = self.make_store(tree)
        configs = self.open_at(store, b"/configs")
        self.assertEqual(set(listed(configs)), {b".hermes", b"plain"})
        for name in hidden:
            self.assertRaises(NotFound, configs.open_file, name)
            self.assertRaises(NotFound, store.open, virtual(b"/configs/" + name))
            self.assertRaises(NotFound, store.look, virtual(b"/configs/" + name))
        self.assertIs(store.look(virtual(b"/configs/.hermes")).kind, Kind.DIRECTORY)
        hermes = configs.open_directory(b".hermes")
        self.addCleanup(hermes.close)
        self.assertEqual(listed(hermes), {})
        self.assertEqual(listed(self.open_at(store, b"/configs/.hermes")), {})
        self.assertRaises(NotFound, hermes.open_directory, b"deep")
        for raw in (b"/configs/.hermes/deep", b"/configs/.hermes/deep/er", b"/configs/.hermes/no"):
            self.assertRaises(NotFound, store.look, virtual(raw))
            self.assertRaises(NotFound, store.open_directory, virtual(raw))
        workspace = listed(self.open_at(store, b"/workspace"))
        self.assertEqual({name for name in workspace if name[:1] == b"."}, {b".chatfiles-par"})

    def test_root_gone(self) -> None:
        """If the directory of a root has vanished, that is a failure, and the root unavailable."""
        store = self.make_store(TREE)
        self.assertEqual(store.roots(), [b"/configs", b"/workspace"])
        self.assertTrue(store.is_available(b"/workspace"))
        self.remove_root(b"/workspace")
        self.assertFalse(store.is_available(b"/workspace"))
        self.assertTrue(store.is_available(b"/configs"))
        for raw in (b"/workspace", b"/workspace/d"):
            self.assertRaises(ReadFailed, store.open_directory, virtual(raw))
            self.assertRaises(ReadFailed, store.look, virtual(raw))
