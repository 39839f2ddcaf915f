"""
Walks: order, depth, directories that cannot be entered, and what stays open.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.errors import Unavailable
from chatfiles.rules.entry_json import Kind
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.open_directory import OpenDirectory
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.files.walk import Walk
from tests.contract.file_store import Kind as Lies
from tests.contract.file_store import Symlink, Tree, build, scratch, virtual
from tests.workspace.files.test_open_beneath import as_nobody

TREE: Tree = {
    b"a/b/c/f": b"f",
    b"a/g": b"g",
    b"empty": Lies.DIRECTORY,
    b"link": Symlink(b"a"),
    b"fifo": Lies.FIFO,
    b".chatfiles-part-x": b"",
}


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = scratch(self)

    def walk(self, tree: Tree, depth: int = 64) -> Walk:
        """:return: a walk over *tree*, which is built below the root."""
        os.makedirs(self.top + b"/ws", exist_ok=True)
        build(self.top + b"/ws", tree)
        return self.begin(depth)

    def begin(self, depth: int = 64) -> Walk:
        """:return: a walk over the root as it is."""
        store = FileStore({b"/workspace": self.top + b"/ws"}, DenyRules())
        self.addCleanup(store.close)
        walk = Walk(store.open_directory(virtual(b"/workspace")), depth)
        self.addCleanup(walk.close)
        return walk


def visited(walk: Walk) -> list[bytes]:
    """:return: the paths below the root that the rest of a walk visits."""
    paths = [each.directory.path.raw + b"/" + each.found.name for each in walk if each]
    return [path.removeprefix(b"/workspace/") for path in paths]


class WalkTests(_Case):
    """`Walk`."""

    def test_all(self) -> None:
        """Everything is visited once, nothing hidden, and no symlink is followed."""
        paths = visited(self.walk(TREE))
        self.assertEqual(
            sorted(paths),
            [b"a", b"a/b", b"a/b/c", b"a/b/c/f", b"a/g", b"empty", b"fifo", b"link"],
        )
        for path in paths:  # a directory before what is in it
            above = path.rpartition(b"/")[0]
            self.assertIn(above, [b"", *paths[: paths.index(path)]])

    def test_directory_order(self) -> None:
        """The entries of a directory come in its own order, what is below right behind it."""
        walk = self.walk({b"%d/x" % number: b"" for number in range(20)})
        with os.scandir(self.top + b"/ws") as scan:
            order = [entry.name for entry in scan]
        expected = [path for name in order for path in (name, name + b"/x")]
        self.assertEqual(visited(walk), expected)

    def test_depth(self) -> None:
        """A walk ends at its depth."""
        self.assertEqual(visited(self.walk({b"a/b/c/f": b""}, 1)), [b"a"])
        self.assertEqual(visited(self.begin(2)), [b"a", b"a/b"])
        self.assertEqual(visited(self.begin(3)), [b"a", b"a/b", b"a/b/c"])
        self.assertEqual(visited(self.begin(4)), [b"a", b"a/b", b"a/b/c", b"a/b/c/f"])

    def test_levels(self) -> None:
        """Each entry has its level, also a directory that has been entered."""
        walk = self.walk({b"a/b/f": b"", b"g": b""})
        levels = {visit.found.name: visit.level for visit in walk if visit is not None}
        self.assertEqual(levels, {b"a": 1, b"b": 2, b"f": 3, b"g": 1})

    def test_descriptors(self) -> None:
        """One descriptor is open for each level, and one for the names of the last one."""
        walk = self.walk({b"a/%d/f" % number: b"" for number in range(50)})
        before = len(os.listdir("/proc/self/fd")) - 2
        most = 0
        for _ in walk:
            most = max(most, len(os.listdir("/proc/self/fd")))
        self.assertLessEqual(most, before + 4)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_closed(self) -> None:
        """A walk that is closed in the middle ends, and leaves nothing open."""
        walk = self.walk({b"a/b/c/d/f": b""})
        before = len(os.listdir("/proc/self/fd")) - 2
        next(walk), next(walk)
        walk.close()
        walk.close()
        self.assertEqual(list(walk), [])
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_unreadable(self) -> None:
        """A directory that may not be listed has an error, and the walk continues behind it."""
        if os.geteuid() != 0:
            raise SkipTest("needs another user's files")
        build(self.top + b"/ws", {b"a/f": b"", b"closed/f": b"", b"z/f": b""})
        os.chmod(self.top + b"/ws/closed", 0o700)

        def attempt() -> dict[bytes, tuple[bool, str]]:
            return {
                each.directory.path.raw + b"/" + each.found.name: each.found[2:]
                for each in self.begin()
                if each
            }

        seen = as_nobody(attempt)
        self.assertEqual(seen.pop(b"/workspace/closed"), (False, "permission denied"))
        self.assertEqual(len(seen), 4)
        self.assertEqual(set(seen.values()), {(True, "")})

    def replacing(self, action: Callable[[bytes], None]) -> list[tuple[bytes, Kind]]:
        """:return: what a walk sees if *action* runs before directory ``d`` is opened."""
        walk = self.walk({b"d/below": b""})
        opening = OpenDirectory.open_directory

        def late(directory: OpenDirectory, name: bytes) -> OpenDirectory:
            action(self.top + b"/ws/" + name)
            return opening(directory, name)

        self.patch(OpenDirectory, "open_directory", late)
        return [(each.found.name, each.found.kind) for each in walk if each]

    def test_vanishes(self) -> None:
        """A directory that vanishes before it is opened is left out."""

        def remove(path: bytes) -> None:
            os.rename(path, self.top + b"/gone")

        self.assertEqual(self.replacing(remove), [])

    def test_becomes_symlink(self) -> None:
        """A directory that becomes a symlink before it is opened is shown as that."""

        def replace(path: bytes) -> None:
            os.rename(path, self.top + b"/gone")
            os.symlink(self.top + b"/gone", path)

        self.assertEqual(self.replacing(replace), [(b"d", Kind.SYMLINK)])

    def test_no_descriptors(self) -> None:
        """A lack of descriptors ends the walk with an error: the tree is not shown as smaller."""
        walk = self.walk({b"a/b/c/d/f": b""})
        next(walk)
        free = os.open("/", os.O_PATH)
        os.close(free)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            self.assertRaises(Unavailable, list, walk)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_removed_meanwhile(self) -> None:
        """A directory that is removed while the walk is in it ends there."""
        walk = self.walk({b"d/%d" % number: b"" for number in range(3)})
        next(walk)
        for number in range(3):
            os.unlink(self.top + b"/ws/d/%d" % number)
        os.rmdir(self.top + b"/ws/d")
        self.assertEqual(visited(walk), [])


class TreeTests(SynchronousTestCase):
    """Any tree."""

    @settings(max_examples=30, deadline=None)
    @given(
        st.sets(
            st.lists(st.sampled_from([b"a", b"b", b"\xff", b"c\n"]), min_size=1, max_size=4).map(
                b"/".join
            ),
            max_size=12,
        ),
        st.integers(1, 4),
    )
    def test_same_as_os_walk(self, paths: set[bytes], depth: int) -> None:
        """A walk visits what ``os.walk`` finds, down to its depth."""
        top = scratch(self)
        for path in paths:
            os.makedirs(top + b"/" + path, exist_ok=True)
        store = FileStore({b"/workspace": top}, DenyRules())
        try:
            seen = visited(Walk(store.open_directory(virtual(b"/workspace")), depth))
        finally:
            store.close()
        expected = [
            os.path.join(above, name)[len(top) + 1 :]
            for above, directories, files in os.walk(top)
            for name in (*directories, *files)
        ]
        wanted = [path for path in expected if path.count(b"/") < depth]
        self.assertEqual(sorted(seen), sorted(wanted))
