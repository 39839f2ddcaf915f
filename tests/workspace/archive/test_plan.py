"""
Tests for `chatfiles.workspace.archive.plan`.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable

from chatfiles.errors import ChatfilesError, NotARegularFile, NotFound, TooLarge, Unavailable
from chatfiles.workspace.archive.plan import DENIED, FILE, Counter, Limits
from chatfiles.workspace.files.reader import Reader
from tests.contract.file_store import Kind, Symlink, virtual
from tests.workspace.archive.source_case import GENEROUS, SourceCase
from tests.workspace.files.test_open_beneath import as_nobody


class CountTests(SourceCase):
    """What is counted."""

    deny = (b"/workspace/d/hidden/**", b"/workspace/d/*.key")

    def test_folder(self) -> None:
        """Files and directories are counted, also those given; nothing that is skipped is."""
        self.build(
            {
                b"/workspace/d/a": b"12345",
                b"/workspace/d/e/f": b"123",
                b"/workspace/d/empty": Kind.DIRECTORY,
                b"/workspace/d/fifo": Kind.FIFO,
                b"/workspace/d/link": Symlink(b"a"),
                b"/workspace/d/hidden/x": b"secret",
                b"/workspace/d/x.key": b"secret",
                b"/workspace/d/.chatfiles-part-1": b"partial",
            }
        )
        plan = self.count(b"/workspace/d")
        self.assertEqual((plan.entries, plan.bytes), (6, 8))  # d, a, e, f, empty, hidden

    def test_one_file(self) -> None:
        """A file counts as one."""
        self.build({b"/workspace/a": b"12345"})
        plan = self.count(b"/workspace/a")
        self.assertEqual((plan.entries, plan.bytes, plan.folders), (1, 5, {}))

    def test_several(self) -> None:
        """The directory at the top counts; a path that adds nothing does not."""
        self.build({b"/workspace/a/b": b"12345", b"/configs/c": b"1", b"/workspace/d": b"12"})
        for paths, entries, size in (
            ([b"/workspace/a", b"/workspace/d"], 4, 7),
            ([b"/workspace/a", b"/workspace/a/b", b"/workspace/a"], 2, 5),
            ([b"/workspace/a/b", b"/configs/c", b"/workspace/a"], 4, 6),
        ):
            plan = self.count(*paths)
            self.assertEqual((plan.entries, plan.bytes), (entries, size), paths)

    def test_unreadable(self) -> None:
        """A directory that must not be listed is not counted, and nothing in it."""
        self.build({b"/workspace/d/closed/x": b"1", b"/workspace/d/open": b"12"})
        os.chmod(self.at(b"/workspace/d/closed"), 0)
        plan = as_nobody(lambda: self.count(b"/workspace/d"))
        self.assertEqual((plan.entries, plan.bytes), (2, 2))

    def test_unreadable_files(self) -> None:
        """A file that must not be read is not counted, and no attempt is made to open it later."""
        self.build({b"/workspace/d/private": b"1", b"/workspace/d/open": b"12"})
        os.chmod(self.at(b"/workspace/d/private"), 0)
        plan = as_nobody(lambda: self.count(b"/workspace/d"))
        self.assertEqual((plan.entries, plan.bytes), (2, 2))
        (folder,) = plan.folders.values()
        self.assertEqual(folder.entries, [FILE + b"open", DENIED + b"private"])

    def test_access_control_list(self) -> None:
        """A file is counted if the system lets the role read it, whatever its bits say."""
        self.build({b"/workspace/d/private": b"1"})
        self.patch(Reader, "may_read", lambda *_: False)  # as with the bits beside a list
        plan = self.count(b"/workspace/d")
        self.assertEqual((plan.entries, plan.bytes), (2, 1))

    def test_calls(self) -> None:
        """Each root is counted by calls of its own, in the order of the request."""
        self.build({b"/workspace/a": b"1", b"/workspace/b": b"1", b"/configs/c": b"1"})
        paths = [b"/workspace/a", b"/workspace/b", b"/configs/c", b"/workspace/a"]
        counter = Counter(self.store, GENEROUS, map(virtual, paths))
        self.assertEqual([root for root, _ in counter.calls()], [b"/workspace", b"/configs"])

    def test_memory(self) -> None:
        """An entry takes less than 400 bytes, however many there are."""
        names = [b"a-name-of-usual-length-%d.txt" % number for number in range(5000)]
        self.build({b"/workspace/d/" + name: b"" for name in names})
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        plan = self.count(b"/workspace/d")
        self.assertEqual(plan.entries, 5001)
        self.assertLess(tracemalloc.get_traced_memory()[0] / 5000, 200)


class RefusalTests(SourceCase):
    """What cannot be archived."""

    deny = (b"/workspace/denied",)

    def setUp(self) -> None:
        super().setUp()
        self.build(
            {
                b"/workspace/a": b"12345",
                b"/workspace/denied": b"1",
                b"/workspace/fifo": Kind.FIFO,
                b"/workspace/link": Symlink(b"a"),
                b"/workspace/dir/x": b"1",
                b"/workspace/to": Symlink(b"dir"),
            }
        )

    def refused(self, error: type[ChatfilesError], count: Callable[[], object]) -> ChatfilesError:
        """:return: the error that *count* raises."""
        raised = self.assertRaises(error, count)
        assert isinstance(raised, ChatfilesError)
        return raised

    def test_paths(self) -> None:
        """A path that is missing, denied, a symlink or special is refused."""
        for path, error in (
            (b"/workspace/missing", NotFound),
            (b"/workspace/denied", NotFound),
            (b"/workspace/a/below", NotFound),
            (b"/home", NotFound),
            (b"/workspace/fifo", NotARegularFile),
            (b"/workspace/link", NotARegularFile),
            (b"/workspace/to", NotARegularFile),
            (b"/workspace/to/x", NotARegularFile),
        ):
            refused = self.refused(error, lambda: self.count(path))  # noqa: B023
            self.assertNotIn(b"/workspace", str(refused.detail).encode())
            # also if it is below another given path, and adds nothing
            several = [b"/workspace/a", b"/workspace", path, b"/workspace/missing"]
            refused = self.refused(error, lambda: self.count(*several))  # noqa: B023
            self.assertEqual(refused.detail, path.decode())

    def test_limits(self) -> None:
        """Counting ends at the first entry or byte that is too many."""
        for limits, entries, size, limit in (
            (Limits(2, 100), 3, None, 2),
            (Limits(100, 5), None, 6, 5),
        ):
            with self.subTest(limits):
                error = self.refused(
                    TooLarge,
                    lambda: self.count(b"/workspace", limits=limits),  # noqa: B023
                )
                self.assertEqual(
                    (error.code, error.text), ("archive_too_large", "archive too large")
                )
                assert isinstance(error.detail, dict)
                self.assertEqual(error.detail.keys(), {"entries", "bytes", "limit"})
                self.assertEqual(error.detail["limit"], limit)
                self.assertEqual(error.detail["entries"], entries or error.detail["entries"])
                self.assertEqual(error.detail["bytes"], size or error.detail["bytes"])
        for limits in (Limits(4, 6), Limits(100, 6)):
            self.assertEqual(self.count(b"/workspace", limits=limits).bytes, 6)

    def test_limit_of_a_file(self) -> None:
        """One file may be too large, too."""
        self.refused(TooLarge, lambda: self.count(b"/workspace/a", limits=Limits(1, 4)))
        self.assertEqual(self.count(b"/workspace/a", limits=Limits(1, 5)).bytes, 5)

    def test_depth(self) -> None:
        """64 levels below the path are allowed, and an empty directory at the last one."""
        deep = b"/workspace/deep" + b"/d" * 64
        self.build({deep: Kind.DIRECTORY})
        self.assertEqual(self.count(b"/workspace/deep").entries, 65)
        self.build({deep + b"/x": b""})
        error = self.refused(TooLarge, lambda: self.count(b"/workspace/deep"))
        assert isinstance(error.detail, dict)
        self.assertEqual(error.detail["limit"], 64)
        self.assertEqual(self.count(b"/workspace/deep/d").entries, 65)

    def test_stopped(self) -> None:
        """A count that is not needed any more ends."""
        counter = Counter(self.store, GENEROUS, [virtual(b"/workspace")])
        counter.stop()
        ((_, call),) = counter.calls()
        self.refused(Unavailable, call)
