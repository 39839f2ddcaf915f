"""
The contract of `IFileStore`, as a suite to mix into a test case; and the file trees with which
stores are tested.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from chatfiles.errors import ChatfilesError, NotARegularFile, NotFound, ReadFailed
from chatfiles.model import FileFacts
from chatfiles.posix.filesystems import is_local, reads_without_waiting
from chatfiles.posix.openat2 import cache_answers
from chatfiles.rules.virtual_paths import ROOTS, VirtualPath
from chatfiles.workspace.files.interface import IFileStore

if TYPE_CHECKING:
    from chatfiles.workspace.files.open_file import OpenFile

    _Base = SynchronousTestCase
else:
    _Base = object


class Kind(Enum):
    """What may lie at a path, besides a regular file."""

    DIRECTORY = auto()
    FIFO = auto()
    SOCKET = auto()


@dataclass(frozen=True)
class Symlink:
    """A symlink; *target* is its content, bytes."""

    target: bytes


#: Path → content of a regular file, or what else lies there.  Parents are made as needed.
Tree = Mapping[bytes, bytes | Kind | Symlink]


def virtual(raw: bytes) -> VirtualPath:
    """:return: *raw*, which is at or below a root, as it is parsed."""
    root = next(root for root in ROOTS if raw == root or raw.startswith(root + b"/"))
    rest = raw[len(root) + 1 :]
    return VirtualPath(raw, root, tuple(rest.split(b"/")) if rest else ())


def scratch(case: SynchronousTestCase) -> bytes:
    """:return: a new directory that any user may enter, removed after the test."""
    path = os.path.realpath(tempfile.mkdtemp(prefix="cf-").encode())
    os.chmod(path, 0o755)
    case.addCleanup(shutil.rmtree, path, True)
    return path


def build(directory: bytes, tree: Tree) -> None:
    """Create *tree* on disk; its paths are relative to *directory*, and never leave it."""
    for path, entry in tree.items():
        place = directory + b"/" + path.lstrip(b"/")
        above = os.path.dirname(place)
        assert os.path.realpath(above) == above, "a symlink of the tree would be followed"
        os.makedirs(above, exist_ok=True)
        if isinstance(entry, bytes):
            with open(place, "xb") as file:
                file.write(entry)
        elif isinstance(entry, Symlink):
            os.symlink(entry.target, place)
        elif entry is Kind.DIRECTORY:
            os.mkdir(place)
        elif entry is Kind.FIFO:
            os.mkfifo(place)
        else:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(place)


def answers_at_once(directory: bytes) -> bool:
    """:return: whether the reactor thread may open files there: the file system is local."""
    if not cache_answers():
        return False
    with tempfile.TemporaryFile(dir=directory) as file:
        return is_local(file.fileno()) and reads_without_waiting(file.fileno())


def content(file: OpenFile) -> bytes:
    """:return: all bytes of an open file, read from its descriptor."""
    return os.pread(file.fd, file.facts.size + 1, 0)


#: Unusual names that are easily handled wrongly; each is valid (reference/paths, "Form").
NAMES: Sequence[bytes] = (
    b"new\nline",
    b"n" * 255,
    b"\xff\xfe not UTF-8",
    "Über \N{SNOWMAN}".encode(),
    b"a..b.txt",
    b"..foo",
    b"...",
    b" lead and trail ",
    b"-rf",
    b"~",
    b"$HOME",
    b"*",
    b"back\\slash",
    b'quo"te',
    b"per%2e%2ecent",
    b"\x01\x7f",
)


class FileStoreContract(_Base):
    """The suite. A test case that mixes it in implements `make_store` and `remove_root`."""

    def make_store(
        self, tree: Tree, *, roots: Sequence[bytes] = (b"/workspace", b"/configs")
    ) -> IFileStore:
        """
        :param tree: virtual path → entry.
        :param roots: the roots that are configured; each has a directory.
        """
        raise NotImplementedError

    def remove_root(self, root: bytes) -> None:
        """Remove the directory of *root* from the store that was made last."""
        raise NotImplementedError

    def refused(self, store: IFileStore, raw: bytes, error: type[ChatfilesError]) -> ChatfilesError:
        """:return: the error with which *raw* is refused, which must be an *error*."""
        attempt: Callable[[], OpenFile] = lambda: store.open(virtual(raw))  # noqa: E731
        refusal = self.assertRaises(error, attempt)
        assert isinstance(refusal, error)
        return refusal

    def test_provides(self) -> None:
        """A store provides `IFileStore`."""
        verifyObject(IFileStore, self.make_store({}))

    def test_regular_file(self) -> None:
        """The descriptor, the facts and the name are those of the file at the path."""
        store = self.make_store({b"/workspace/a/b.txt": b"hello b\n", b"/workspace/b.txt": b"no"})
        with store.open(virtual(b"/workspace/a/b.txt")) as file:
            self.assertEqual(content(file), b"hello b\n")
            self.assertEqual(file.facts, FileFacts.of(os.fstat(file.fd)))
            self.assertEqual(file.facts.size, 8)
            self.assertEqual(file.name, b"b.txt")

    def test_empty_file(self) -> None:
        """An empty file can be opened."""
        store = self.make_store({b"/workspace/empty": b""})
        with store.open(virtual(b"/workspace/empty")) as file:
            self.assertEqual((file.facts.size, content(file)), (0, b""))

    def test_close(self) -> None:
        """
        Leaving the block closes the descriptor. Closing again does nothing, even if another file
        has the number now.
        """
        store = self.make_store({b"/workspace/f": b"f"})
        with store.open(virtual(b"/workspace/f")) as file:
            number = file.fd
        self.assertEqual(file.fd, -1)
        self.assertRaises(OSError, os.fstat, number)
        elsewhere = os.open(b"/", os.O_PATH)
        try:
            os.dup2(elsewhere, number)  # another file has the number now
            file.close()
            os.close(number)
        finally:
            os.close(elsewhere)

    def test_independent(self) -> None:
        """
        Two openings of one file have descriptors of their own, so that closing one keeps the other.
        """
        store = self.make_store({b"/workspace/f": b"f"})
        with store.open(virtual(b"/workspace/f")) as first:
            with store.open(virtual(b"/workspace/f")) as second:
                self.assertNotEqual(first.fd, second.fd)
            self.assertEqual(content(first), b"f")

    def test_missing(self) -> None:
        """A missing file is 404 ``file not found``."""
        store = self.make_store({b"/workspace/f": b"f", b"/workspace/fifo": Kind.FIFO})
        for raw in (
            b"/workspace/none",
            b"/workspace/none/below",
            b"/workspace/f/below",
            b"/workspace/f/below/further",
            b"/workspace/fifo/below",
            b"/workspace/F",
        ):
            error = self.refused(store, raw, NotFound)
            self.assertEqual((error.text, error.code), ("file not found", "file_not_found"), raw)

    def test_root_not_configured(self) -> None:
        """A root that is not configured is indistinguishable from a missing file."""
        store = self.make_store({}, roots=[b"/workspace"])
        for raw in (b"/plugins", b"/plugins/x", b"/configs/x"):
            self.assertEqual(self.refused(store, raw, NotFound).code, "file_not_found")

    def test_not_regular(self) -> None:
        """Anything that is not a regular file is refused with 400."""
        store = self.make_store(
            {
                b"/workspace/dir": Kind.DIRECTORY,
                b"/workspace/fifo": Kind.FIFO,
                b"/workspace/socket": Kind.SOCKET,
            }
        )
        for raw in (
            b"/workspace",
            b"/workspace/dir",
            b"/workspace/fifo",
            b"/workspace/socket",
        ):
            error = self.refused(store, raw, NotARegularFile)
            self.assertEqual(error.text, "path is not a regular file", raw)

    def test_symlinks(self) -> None:
        """No symlink is followed, and the error does not depend on its target."""
        store = self.make_store(
            {
                b"/workspace/real/file": b"f",
                b"/workspace/to_file": Symlink(b"real/file"),
                b"/workspace/to_dir": Symlink(b"real"),
                b"/workspace/dangling": Symlink(b"nowhere"),
                b"/workspace/loop": Symlink(b"loop"),
                b"/workspace/up": Symlink(b".."),
                b"/workspace/absolute": Symlink(b"/etc/passwd"),
                b"/workspace/real/inner": Symlink(b"../real"),
            }
        )
        for raw in (
            b"/workspace/to_file",
            b"/workspace/to_file/below",
            b"/workspace/to_dir",
            b"/workspace/to_dir/file",
            b"/workspace/to_dir/missing",
            b"/workspace/to_dir/missing/deeper",
            b"/workspace/dangling",
            b"/workspace/dangling/below",
            b"/workspace/loop",
            b"/workspace/loop/below",
            b"/workspace/up/workspace/real/file",
            b"/workspace/absolute",
            b"/workspace/real/inner/file",
        ):
            self.refused(store, raw, NotARegularFile)

    def test_first_obstacle_decides(self) -> None:
        """
        The first obstacle in a path decides the error: a symlink below something missing is 404.
        """
        store = self.make_store(
            {b"/workspace/f": b"f", b"/workspace/link": Symlink(b"f")},
        )
        self.refused(store, b"/workspace/none/link", NotFound)
        self.refused(store, b"/workspace/f/link", NotFound)

    def test_names(self) -> None:
        """A file whose name is valid, but unusual, can be opened."""
        store = self.make_store({b"/workspace/d/" + name: name for name in NAMES})
        for name in NAMES:
            with store.open(virtual(b"/workspace/d/" + name)) as file:
                self.assertEqual((content(file), file.name), (name, name))

    def test_denied(self) -> None:
        """A file on the deny list is indistinguishable from a missing file."""
        tree: Tree = {
            b"/configs/.auth_token": b"t",
            b"/configs/.auth_token.tmp-1": b"t",
            b"/configs/.platform_inbound_secret": b"s",
            b"/configs/.hermes/deep/er": b"h",
            b"/configs/plain": b"p",
        }
        store = self.make_store(tree)
        missing = self.refused(store, b"/configs/missing", NotFound)
        for raw in (*list(tree)[:-1], b"/configs/.hermes", b"/configs/.hermes/nothing"):
            error = self.refused(store, raw, NotFound)
            self.assertEqual((error.text, error.code), (missing.text, missing.code), raw)
        store.open(virtual(b"/configs/plain")).close()

    def test_root_gone(self) -> None:
        """
        If the directory of a root has vanished, the error is ``read failed``, not a missing file.
        """
        store = self.make_store({b"/workspace/f": b"f"})
        store.open(virtual(b"/workspace/f")).close()
        self.remove_root(b"/workspace")
        for raw in (b"/workspace/f", b"/workspace/none"):
            self.assertEqual(self.refused(store, raw, ReadFailed).text, "read failed")
