"""
Listing and looking: credentials, aliases, permissions, and what is never opened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.errors import (
    ChatfilesError,
    Forbidden,
    NotADirectory,
    NotFound,
    ReadFailed,
    Unavailable,
)
from chatfiles.rules.entry_json import Kind
from chatfiles.workspace.files import credential_inodes, open_beneath
from chatfiles.workspace.files.credential_inodes import RECENT_NS, CredentialInodes
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.open_directory import Found, OpenDirectory
from chatfiles.workspace.files.reader import Reader, current_reader
from chatfiles.workspace.files.store import FileStore
from tests.contract.directories import listed
from tests.contract.file_store import Kind as Lies
from tests.contract.file_store import Symlink, build, scratch, virtual
from tests.support.descriptors import open_below
from tests.workspace.files.test_open_beneath import NOBODY, Opens, as_nobody


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = scratch(self)

    def store(
        self,
        roots: Sequence[bytes] = (b"ws",),
        deny: Sequence[bytes] = (),
        credentials: Sequence[bytes] = (),
    ) -> FileStore:
        """:return: a store with these directories as /workspace, /configs and /home."""
        names = (b"/workspace", b"/configs", b"/home")
        store = FileStore(
            {name: self.top + b"/" + place for name, place in zip(names, roots, strict=False)},
            DenyRules(deny),
            [self.top + b"/" + name for name in credentials],
        )
        self.addCleanup(store.close)
        return store

    def names(self, store: FileStore, raw: bytes) -> set[bytes]:
        """:return: the names that a listing shows."""
        with store.open_directory(virtual(raw)) as directory:
            return set(listed(directory))


class HiddenTests(_Case):
    """What is hidden by its inode, or by a rule about another path."""

    def test_linked_credential(self) -> None:
        """A link to a credential is not listed, looked at or opened, under any name."""
        build(self.top, {b"ws/f": b"f", b"elsewhere/.auth_token": b"t"})
        store = self.store(credentials=[b"elsewhere/.auth_token"])
        os.link(self.top + b"/elsewhere/.auth_token", self.top + b"/ws/innocent")
        os.symlink(self.top + b"/elsewhere/.auth_token", self.top + b"/ws/link")
        self.assertEqual(self.names(store, b"/workspace"), {b"f", b"link"})
        self.assertRaises(NotFound, store.look, virtual(b"/workspace/innocent"))
        self.assertRaises(NotFound, store.open_directory, virtual(b"/workspace/innocent"))
        self.assertRaises(NotADirectory, store.open_directory, virtual(b"/workspace/link"))
        self.assertRaises(NotADirectory, store.open_directory, virtual(b"/workspace/link/x"))
        with store.open_directory(virtual(b"/workspace")) as directory:
            self.assertRaises(NotFound, directory.open_file, b"innocent")
            self.assertRaises(NotFound, directory.open_directory, b"innocent")
            self.assertRaises(NotADirectory, directory.open_directory, b"f")

    def test_replaced_credential(self) -> None:
        """A credential that is replaced is hidden when the last examination is no longer recent."""
        build(self.top, {b"a": b"old", b"b": b"new", b"link": b""})
        now = [10**18]
        inodes = CredentialInodes([self.top + b"/a"], lambda: now[0])
        self.addCleanup(inodes.close)
        new = os.stat(self.top + b"/b")
        self.assertTrue(inodes.include_recent(os.stat(self.top + b"/a")))
        os.rename(self.top + b"/b", self.top + b"/a")
        now[0] += RECENT_NS - 1
        self.assertFalse(inodes.include_recent(new))
        now[0] += 1
        self.assertTrue(inodes.include_recent(new))

    def test_clock_set_back(self) -> None:
        """A clock that was set back does not make an examination recent."""
        build(self.top, {b"a": b"old", b"b": b"new"})
        now = [10**18]
        inodes = CredentialInodes([self.top + b"/a"], lambda: now[0])
        self.addCleanup(inodes.close)
        inodes.include_recent(os.stat(self.top + b"/a"))
        os.rename(self.top + b"/b", self.top + b"/a")
        now[0] -= 1
        self.assertTrue(inodes.include_recent(os.stat(self.top + b"/a")))

    def test_credentials_not_readable(self) -> None:
        """If the credentials cannot be examined, no file is described: it could be one."""
        build(self.top, {b"ws/f": b"f", b"ws/d/g": b"g", b"c/.auth_token": b"t"})
        store = self.store(credentials=[b"c/.auth_token"])

        def fail(path: bytes) -> os.stat_result:
            raise OSError(errno.EIO, "Input/output error")

        directory = store.open_directory(virtual(b"/workspace"))
        self.addCleanup(directory.close)
        self.patch(CredentialInodes, "_examine", lambda _, path: fail(path))
        self.patch(credential_inodes, "RECENT_NS", 0)
        found = directory.look(b"f")
        assert found is not None
        self.assertEqual((found.facts, found.error), (None, "read failed"))
        self.assertRaises(ReadFailed, store.look, virtual(b"/workspace/f"))
        self.assertEqual(listed(directory)[b"d"], Kind.DIRECTORY)

    def test_nested_roots(self) -> None:
        """A rule about one virtual path hides the file under the others, too."""
        build(
            self.top,
            {
                b"ws/conf/.auth_token": b"t",
                b"ws/conf/.hermes/x": b"x",
                b"ws/conf/plain": b"p",
                b"ws/f": b"f",
            },
        )
        store = self.store([b"ws", b"ws/conf"])
        self.assertEqual(self.names(store, b"/workspace"), {b"conf", b"f"})
        self.assertEqual(self.names(store, b"/workspace/conf"), {b"plain", b".hermes"})
        self.assertEqual(self.names(store, b"/workspace/conf/.hermes"), set())
        self.assertRaises(NotFound, store.look, virtual(b"/workspace/conf/.auth_token"))
        directory = store.open_directory(virtual(b"/workspace"))
        with directory, directory.open_directory(b"conf") as conf:
            self.assertEqual(set(listed(conf)), {b"plain", b".hermes"})
            self.assertRaises(NotFound, conf.open_file, b".auth_token")

    def test_root_hidden_below(self) -> None:
        """A denied root is not listed among the roots, nor where it lies in another root."""
        build(self.top, {b"ws/conf/plain": b"p", b"ws/f": b"f"})
        store = self.store([b"ws", b"ws/conf"], deny=[b"/configs"])
        self.assertEqual(self.names(store, b"/workspace"), {b"f"})
        self.assertEqual(store.roots(), [b"/workspace"])
        self.assertRaises(NotFound, store.look, virtual(b"/configs"))

    def test_contents_hidden(self) -> None:
        """A root whose contents are denied is listed, and is empty."""
        build(self.top, {b"ws/f": b"f"})
        store = self.store(deny=[b"/workspace/**"])
        self.assertEqual(store.roots(), [b"/workspace"])
        self.assertEqual(self.names(store, b"/workspace"), set())


class PermissionTests(_Case):
    """What the role may not read."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            raise SkipTest("needs another user's files")
        build(
            self.top,
            {
                b"ws/closed/f": b"f",
                b"ws/names_only/f": b"f",
                b"ws/search_only/f": b"f",
                b"ws/secret": b"s",
                b"ws/plain": b"p",
                b"ws/fifo": Lies.FIFO,
            },
        )
        for name, mode in (
            (b"closed", 0o700),
            (b"names_only", 0o744),
            (b"search_only", 0o711),
            (b"secret", 0o600),
            (b"plain", 0o644),
            (b"fifo", 0o600),
        ):
            os.chmod(self.top + b"/ws/" + name, mode)

    def test_refusals(self) -> None:
        """A directory that may not be listed is 403, but can be looked at."""

        def attempt() -> list[object]:
            store, results = self.store(), list[object]()
            for name in (b"closed", b"search_only", b"names_only", b"closed/f", b"names_only/f"):
                path = virtual(b"/workspace/" + name)
                for operation in (store.open_directory, store.look):
                    try:
                        result = operation(path)
                        results.append(getattr(result, "readable", "opened"))
                    except Forbidden as error:
                        results.append(error.text)
            return results

        denied = "permission denied"
        self.assertEqual(
            as_nobody(attempt),
            [denied, False, denied, False, "opened", True, denied, denied, denied, denied],
        )

    def test_readable(self) -> None:
        """What may not be read is told: by trying to open it, or by its permission bits."""

        def attempt() -> tuple[dict[bytes, bool], dict[bytes, bool]]:
            store = self.store()
            with store.open_directory(virtual(b"/workspace")) as directory:
                names = list(directory.names())
                found = [directory.look(name) for name in names]
            tried = [store.look(virtual(b"/workspace/" + name)) for name in names]
            return (
                {each.name: each.readable for each in found if each is not None},
                {each.name: each.readable for each in tried},
            )

        expected = {
            b"closed": False,
            b"names_only": True,
            b"search_only": False,
            b"secret": False,
            b"plain": True,
            b"fifo": True,
        }
        self.assertEqual(as_nobody(attempt), (expected, expected))

    def test_not_searchable(self) -> None:
        """Of a directory that may be read but not searched, only names are known."""

        def attempt() -> list[Found | None]:
            with self.store().open_directory(virtual(b"/workspace/names_only")) as directory:
                return [directory.look(name) for name in directory.names()]

        (found,) = as_nobody(attempt)
        assert found is not None
        self.assertEqual(found, Found(b"f", None, error="permission denied"))
        self.assertIs(found.kind, Kind.OTHER)

    def test_reads_all(self) -> None:
        """Permission bits do not apply to a superuser."""
        self.assertTrue(current_reader().reads_all)
        store = self.store()
        self.assertTrue(store.look(virtual(b"/workspace/secret")).readable)
        with store.open_directory(virtual(b"/workspace")) as directory:
            found = directory.look(b"secret")
        assert found is not None
        self.assertTrue(found.readable)

    def test_nobody(self) -> None:
        """Another user has no such right."""
        self.assertEqual(as_nobody(current_reader), Reader(NOBODY, frozenset({NOBODY}), False))


class ReaderTests(SynchronousTestCase):
    """Permission bits."""

    def test_table(self) -> None:
        """The first of owner, group and other that applies decides alone."""
        reader = Reader(5, frozenset({6, 7}), False)
        for uid, gid, mode, may in (
            (5, 0, 0o400, True),
            (5, 6, 0o044, False),
            (0, 6, 0o040, True),
            (0, 7, 0o404, False),
            (0, 0, 0o004, True),
            (0, 0, 0o770, False),
        ):
            facts = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))
            self.assertIs(reader.may_read(facts), may)
            self.assertTrue(reader._replace(reads_all=True).may_read(facts))


class OpeningTests(_Case):
    """What is opened, and what is not."""

    def test_not_opened(self) -> None:
        """A listing opens no file and no FIFO; only a look at a file opens it, without reading."""
        build(self.top, {b"ws/f": b"f", b"ws/fifo": Lies.FIFO, b"ws/link": Symlink(b"f")})
        store = self.store()
        for name, opens in ((b"f", True), (b"fifo", False), (b"link", False)):
            watch = Opens(self.top + b"/ws/" + name)
            self.addCleanup(watch.close)
            self.names(store, b"/workspace")
            self.assertFalse(watch.seen(), name)
            if name != b"link":  # inotify watches its target
                store.look(virtual(b"/workspace/" + name))
                self.assertIs(watch.seen(), opens, name)

    def test_without_proc(self) -> None:
        """Without ``/proc`` the results are the same; permission bits say what may be read."""
        build(self.top, {b"ws/d/\xff": b"1", b"ws/d/fifo": Lies.FIFO})
        self.patch(open_beneath, "_reopens", lambda: False)
        store = self.store()
        self.assertEqual(self.names(store, b"/workspace"), {b"d"})
        self.assertEqual(self.names(store, b"/workspace/d"), {b"\xff", b"fifo"})
        self.assertTrue(store.look(virtual(b"/workspace/d/\xff")).readable)
        self.assertIs(store.look(virtual(b"/workspace/d/fifo")).kind, Kind.OTHER)
        with store.open_directory(virtual(b"/workspace/d")) as directory:
            for _ in range(2):
                self.assertEqual(set(directory.names()), {b"\xff", b"fifo"})

    def test_no_leak(self) -> None:
        """No descriptor stays open, whatever the result is."""
        build(self.top, {b"ws/d/f": b"f", b"ws/link": Symlink(b"d"), b"ws/fifo": Lies.FIFO})
        store = self.store()
        store.look(virtual(b"/workspace/d"))
        before = open_below(self.top)
        for name in (b"", b"/d", b"/d/f", b"/link", b"/link/f", b"/fifo", b"/none", b"/d/f/x"):
            for operation in (store.open_directory, store.look):
                try:
                    result = operation(virtual(b"/workspace" + name))
                except ChatfilesError:  # it is tested elsewhere
                    continue
                if isinstance(result, OpenDirectory):
                    result.names().close()
                    result.close()
        self.assertEqual(open_below(self.top), before)

    def test_lack_of_resources(self) -> None:
        """A lack of descriptors or memory is 503; an I/O error is 500, or the entry's error."""
        build(self.top, {b"ws/f": b"f"})
        store = self.store()
        directory = store.open_directory(virtual(b"/workspace"))
        self.addCleanup(directory.close)

        def raising(code: int) -> None:
            def fail(*_: object, **__: object) -> None:
                raise OSError(code, os.strerror(code))

            for name in ("scandir", "stat"):
                self.patch(os, name, fail)

        raising(errno.EMFILE)
        self.assertRaises(Unavailable, directory.names)
        self.assertRaises(Unavailable, directory.look, b"f")
        raising(errno.EIO)
        self.assertRaises(ReadFailed, directory.names)
        found = directory.look(b"f")
        assert found is not None
        self.assertEqual((found.kind, found.error), (Kind.OTHER, "read failed"))
