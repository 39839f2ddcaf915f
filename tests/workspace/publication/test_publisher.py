"""
Tests for `chatfiles.workspace.publication.publisher`: files are created or replaced in one
step, and the conditions hold at that moment.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from unittest import mock

from chatfiles.errors import ChatfilesError, NotARegularFile, PreconditionFailed
from chatfiles.model import FileFacts
from chatfiles.rules.conditional_requests import SETTLED_NS, WriteConditions, etag
from chatfiles.workspace.files.write_targets import Target
from chatfiles.workspace.publication.leftovers import sweep_below
from chatfiles.workspace.publication.publisher import usual_mode
from chatfiles.workspace.publication.unpublished_file import (
    UnnamedFiles,
    UnpublishedFile,
    can_name_later,
)
from tests.workspace.publication.writing_case import WritingCase
from tests.workspace.uploads.uploads_case import KILLED, in_child

CREATE = WriteConditions(if_none_match=(b"*",))


class PublisherTests(WritingCase):
    """`Publisher.publish`."""

    def mode(self, path: str) -> int:
        return stat.S_IMODE(os.stat(self.at(path)).st_mode)

    def test_new(self) -> None:
        """A file appears, with the usual mode, and nothing else stays."""
        published = self.publish("out/x", b"new")
        self.assertTrue(published.is_new)
        self.assertEqual((self.read("out/x"), os.listdir(self.at("out"))), (b"new", ["x"]))
        self.assertEqual(self.mode("out/x"), 0o644 & ~self.umask())
        self.assertEqual(published.facts, FileFacts.of(os.stat(self.at("out/x"))))

    def test_replaced(self) -> None:
        """A file is replaced; its permission bits stay, and its other hard links keep the old."""
        self.write("out/x", b"old")
        os.chmod(self.at("out/x"), 0o6751)
        os.link(self.at("out/x"), self.at("out/other"))
        published = self.publish("out/x", b"new")
        self.assertFalse(published.is_new)
        self.assertEqual((self.read("out/x"), self.read("out/other")), (b"new", b"old"))
        self.assertEqual(self.mode("out/x"), 0o751)
        self.assertEqual(published.facts, FileFacts.of(os.stat(self.at("out/x"))))
        self.assertEqual(sorted(os.listdir(self.at("out"))), ["other", "x"])

    def test_mode(self) -> None:
        """The mode that the client wants counts, whatever was there."""
        for _ in range(2):
            self.publish("out/x", b"", mode=0o640)
            self.assertEqual(self.mode("out/x"), 0o640)
            os.chmod(self.at("out/x"), 0o777)

    def test_never_visible_before(self) -> None:
        """No client can read a file with its hidden name: it has mode 0600 and is denied."""
        self.write("out/x", b"old")
        seen: list[str] = []
        real = os.rename

        def rename(old: str, new: bytes, **more: int) -> None:
            seen.append(old)
            self.assertEqual(self.sweep(), 0, "it is locked")
            self.assertEqual(self.mode("out/" + old) & 0o077, self.mode("out/x") & 0o077)
            real(old, new, **more)

        with mock.patch("os.rename", rename):
            self.publish("out/x", b"new")
        self.assertEqual(len(seen), 1)
        self.assertRegex(seen[0], r"\A\.chatfiles-part-[0-9a-f]{32}\.part\Z")

    def test_conditions(self) -> None:
        """Each condition decides; a file that is refused leaves nothing."""
        epoch = (b"Thu, 01 Jan 1970 00:00:00 GMT",)
        table = [
            ("x", WriteConditions(if_match=(b'"1", %s',)), True),
            ("x", WriteConditions(if_match=(b'"other"',)), False),
            ("x", WriteConditions(if_match=(b"*",)), True),
            ("x", WriteConditions(if_none_match=(b"*",)), False),
            ("x", WriteConditions(if_none_match=(b"%s",)), False),
            ("x", WriteConditions(if_none_match=(b'"other"',)), True),
            ("x", WriteConditions(if_unmodified_since=epoch), False),
            ("new", WriteConditions(if_match=(b"*",)), False),
            ("new", WriteConditions(if_none_match=(b"*",)), True),
            ("new", WriteConditions(if_unmodified_since=epoch), True),
        ]
        for name, conditions, holds in table:
            self.write("out/x", b"old")
            tag = etag(FileFacts.of(os.stat(self.at("out/x"))), self.now_ns)
            match = tuple(value.replace(b"%s", tag) for value in conditions.if_match)
            none = tuple(value.replace(b"%s", tag) for value in conditions.if_none_match)
            since = conditions.if_unmodified_since
            publish = partial(self.publish, "out/" + name, b"put")
            if holds:
                publish(conditions=WriteConditions(match, none, since))
                self.assertEqual(self.read("out/" + name), b"put", conditions)
                os.unlink(self.at("out/" + name))
            else:
                with self.assertRaises(PreconditionFailed):
                    publish(conditions=WriteConditions(match, none, since))
                self.assertEqual(os.listdir(self.at("out")), ["x"])
                self.assertEqual(self.read("out/x"), b"old")

    def test_own_version(self) -> None:
        """
        What the role has just written has a strong tag at once; the file of another process has a
        weak one for a second, which ``If-Match`` never matches.
        """
        first = self.publish("out/x", b"1")
        self.now_ns = first.facts.mtime_ns
        self.publish("out/x", b"2", WriteConditions((first.etag,)))
        self.write("out/y", b"1")
        facts = FileFacts.of(os.stat(self.at("out/y")))
        tag = etag(facts, facts.mtime_ns + SETTLED_NS)
        self.now_ns = facts.mtime_ns
        self.assertRaises(PreconditionFailed, self.publish, "out/y", b"2", WriteConditions((tag,)))
        self.now_ns += SETTLED_NS
        self.publish("out/y", b"2", WriteConditions((tag,)))

    def test_one_wins(self) -> None:
        """Of fifty writers with one ``If-Match``, one replaces the file."""
        for _ in range(5):
            tag = self.publish("out/x", b"0").etag

            def write(number: int, tag: bytes = tag) -> int:
                try:
                    self.publish("out/x", b"%d" % number, WriteConditions((tag,)))
                except PreconditionFailed:
                    return 0
                return number

            with ThreadPoolExecutor(16) as pool:
                winners = [n for n in pool.map(write, range(1, 51)) if n]
            self.assertEqual([b"%d" % n for n in winners], [self.read("out/x")])
            self.assertEqual(os.listdir(self.at("out")), ["x"])

    def test_one_creates(self) -> None:
        """Of many writers with ``If-None-Match: *``, in several processes, one creates the file."""
        children = []
        for number in range(6):
            pid = os.fork()
            if not pid:
                try:
                    self.publish("out/x", b"%d" % number, CREATE)
                    os._exit(0)
                except PreconditionFailed:
                    os._exit(12)
                finally:
                    os._exit(1)
            children.append(pid)
        ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        self.assertEqual(sorted(ends), [0, 12, 12, 12, 12, 12])
        self.assertEqual(self.read("out/x"), b"%d" % ends.index(0))

    def test_created_meanwhile(self) -> None:
        """A file that another process creates at the same moment is seen: it is replaced."""
        real = os.link

        def link(source: str, name: object, **more: int) -> None:
            if name == b"x" and not os.path.exists(self.at("out/x")):
                self.write("out/x", b"other")
            real(source, name, **more)  # type: ignore[arg-type]

        with mock.patch("os.link", link):
            self.assertFalse(self.publish("out/x", b"new").is_new)
            os.unlink(self.at("out/x"))
            with self.assertRaises(PreconditionFailed):
                self.publish("out/x", b"new", CREATE)
        self.assertEqual(self.read("out/x"), b"other")

    def test_something_else(self) -> None:
        """Whatever else has the name is neither replaced nor written to."""
        for make in (os.mkdir, os.mkfifo, lambda path: os.symlink("y", path)):
            make(self.at("out/x"))
            self.assertRaises(NotARegularFile, self.publish, "out/x", b"new")
            self.assertEqual(os.listdir(self.at("out")), ["x"])
            (os.rmdir if make is os.mkdir else os.unlink)(self.at("out/x"))

    def test_credential(self) -> None:
        """A name of one of the role's own credentials is a missing file."""
        os.link(self.at("configs/.auth_token"), self.at("out/x"))
        with self.assertRaises(ChatfilesError) as raised:
            self.publish("out/x", b"new")
        self.assertEqual(raised.exception.code, "file_not_found")
        self.assertEqual(self.read("configs/.auth_token"), b"token")

    def test_killed(self) -> None:
        """Killed between the hidden name and the final one: the old file is there, and swept."""
        self.write("out/x", b"old")

        def act() -> None:
            with mock.patch("os.rename", side_effect=lambda *_, **__: os._exit(KILLED)):
                self.publish("out/x", b"new")

        self.assertEqual(in_child(act), KILLED)
        self.assertEqual((self.read("out/x"), len(os.listdir(self.at("out")))), (b"old", 2))
        self.assertEqual(self.sweep(), 1)
        self.assertEqual(os.listdir(self.at("out")), ["x"])

    def sweep(self) -> int:
        """:return: how many leftovers were removed."""
        root_fd = os.open(self.root, os.O_PATH)
        try:
            return sweep_below(root_fd, (b"out",))
        finally:
            os.close(root_fd)

    def test_in_the_lock(self) -> None:
        """What has the name is looked at, and changed, in one hold of the directory's lock."""
        self.publish("out/y", b"")  # tries what the file system has
        held: list[int] = []
        seen: list[tuple[str, int]] = []
        real = self.publisher.locks.of

        @contextmanager
        def of(*directories: int) -> Iterator[None]:
            with real(*directories):
                held.append(len(directories))
                yield
                held.pop()

        def watch(owner: type, name: str) -> None:
            original = getattr(owner, name)

            def call(this: object, *given: object) -> object:
                seen.append((name, len(held)))
                return original(this, *given)

            self.patch(owner, name, call)

        self.patch(self.publisher.locks, "of", of)
        watch(Target, "look_at_file")
        watch(UnpublishedFile, "publish")
        watch(UnpublishedFile, "replace")
        for _ in range(2):
            self.publish("out/x", b"new")
        expected = [("look_at_file", 1), ("publish", 1), ("look_at_file", 1), ("replace", 1)]
        self.assertEqual(seen, expected)

    def test_usual_mode(self) -> None:
        """A new file has no permission that the umask withholds."""
        for umask in (0o022, 0o077, 0o002):
            before = os.umask(umask)
            try:
                self.assertEqual(usual_mode.__wrapped__(), 0o644 & ~umask)
            finally:
                os.umask(before)


class NamedFileTests(PublisherTests):
    """The same, on a file system without unnamed files."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(UnnamedFiles, "new_file", lambda _, fd: self.named(fd))

    def named(self, directory_fd: int) -> UnpublishedFile:
        return UnpublishedFile(directory_fd, unnamed=False)

    def test_tried(self) -> None:
        """Whether a file system has unnamed files is tried without a trace."""
        fd = os.open(self.at("out"), os.O_PATH)
        self.addCleanup(os.close, fd)
        can_name_later(fd)
        self.assertEqual(os.listdir(self.at("out")), [])
