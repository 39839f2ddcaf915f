"""
Tests for `chatfiles.workspace.secret_file`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.errors import Unauthorized, Unavailable
from chatfiles.posix.openat2 import WouldWait
from chatfiles.workspace import secret_file as secret_module
from chatfiles.workspace.files import credential_inodes as inodes_module
from chatfiles.workspace.files.credential_inodes import CredentialInodes
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.inbound_secrets import InboundSecrets, require_secret
from chatfiles.workspace.secret_file import SecretFile, is_secret
from tests.contract.file_store import answers_at_once, scratch

SECRET = "s3cret-" + "x" * 36


def texts(events: Sequence[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in events]


class _FileCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = scratch(self)
        self.path = self.top + b"/.auth_token"
        self.secrets = InboundSecrets(self.path)
        self.file = self.secrets.current

    def put(self, content: bytes, mode: int = 0o600) -> None:
        with open(self.path, "wb") as file:
            file.write(content)
        os.chmod(self.path, mode)


class ReadTests(_FileCase):
    """Reading a secret."""

    def test_contents(self) -> None:
        """
        A secret is visible ASCII without white space, in a file of up to 4096 bytes; white space
        around it is ignored, and anything else counts as no secret.
        """
        for content, secret in (
            (b"abc", "abc"),
            (b"abc\n", "abc"),
            (b" \tabc \r\n\n", "abc"),
            (b"!~", "!~"),
            (b"a" * 4096, "a" * 4096),
            (b"a" * 4095 + b"\n", "a" * 4095),
            (b"", None),
            (b" \n", None),
            (b"a" * 4097, None),
            (b"a" + b"\n" * 4096, None),
            (b"a b", None),
            (b"a\nb", None),
            (b"a\0b", None),
            (b"a\x7f", None),
            ("geheim\N{SNOWMAN}".encode(), None),
            (b"\xff\xfe", None),
            (b"\xef\xbb\xbfabc", None),
        ):
            self.put(content)
            self.assertEqual(self.file.read(), secret, content[:20])
            self.assertIs(self.secrets.present(), secret is not None)

    def test_not_there(self) -> None:
        """
        A missing file, or something else in its place, counts as no secret; no error is raised.
        """
        self.assertIsNone(self.file.read())
        os.mkfifo(self.path)
        self.assertIsNone(self.file.read())
        os.unlink(self.path)
        os.mkdir(self.path)
        self.assertIsNone(self.file.read())
        self.assertIsNone(SecretFile(self.path + b"/x/y").read())
        loop = self.top + b"/loop"
        os.symlink(b"loop", loop)
        self.assertIsNone(SecretFile(loop).read())

    def test_mounted(self) -> None:
        """A secret that is mounted behind a symlink, as containers have it, is found."""
        os.symlink(b"data/token", self.path)
        os.mkdir(self.top + b"/data")
        self.assertIsNone(self.file.read())
        with open(self.top + b"/data/token", "w") as file:
            file.write("abc\n")
        self.assertEqual(self.file.read(), "abc")

    def test_changes_count_at_once(self) -> None:
        """A change that keeps size and times is noticed, and so is a removal."""
        self.put(b"one")
        self.assertEqual(self.file.read(), "one")
        before = os.stat(self.path)
        self.put(b"two")
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.assertEqual(self.file.read(), "two")
        os.unlink(self.path)
        self.assertIsNone(self.file.read())

    def test_relative(self) -> None:
        """
        A relative path, here given as text, stays valid after the process changes its directory.
        """
        self.put(b"abc")
        before = os.getcwd()
        os.chdir(self.top)
        try:
            file = SecretFile(".auth_token")
        finally:
            os.chdir(before)
        self.assertEqual(file.read(), "abc")

    def test_nothing_leaks(self) -> None:
        """Reading leaves no descriptor open."""
        before = os.listdir("/proc/self/fd")
        for content in (b"abc", b"", b"a" * 5000):
            self.put(content)
            self.file.read()
        self.assertEqual(os.listdir("/proc/self/fd"), before)


class AtOnceTests(_FileCase):
    """Reading a secret on the reactor's thread."""

    def setUp(self) -> None:
        super().setUp()
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")

    def warm(self) -> None:
        self.put(b"abc")
        self.assertRaises(WouldWait, self.file.read_at_once)  # nothing is known of the disk yet
        self.assertEqual((self.file.read(), self.file.read_at_once()), ("abc", "abc"))

    def test_as_read(self) -> None:
        """`read_at_once` notices a change and returns what `read` returns."""
        self.warm()
        for content in (b"two\n", b"", b"a b", b"a" * 4097):
            self.put(content)
            self.assertEqual(self.file.read_at_once(), self.file.read(), content[:10])

    def test_settled(self) -> None:
        """
        The file is read again unless its last change is over a second old: two changes within one
        tick of the kernel's clock have the same time.
        """
        self.warm()
        changed, reads = os.stat(self.path).st_ctime_ns, [0]
        read = secret_module._content_at_once

        def counted(handle: int) -> tuple[int, bytes]:
            reads[0] += 1
            return read(handle)

        self.patch(secret_module, "_content_at_once", counted)
        for age, expected in ((-1, 2), (0, 2), (10**9, 2), (10**9 + 1, 1)):
            self.file._now_ns = partial(int, changed + age)
            reads[0] = 0
            self.assertEqual([self.file.read_at_once() for _ in range(2)], ["abc"] * 2)
            self.assertEqual(reads[0], expected, age)

    def test_require(self) -> None:
        """A missing or wrong secret is refused while the right one is in memory."""
        self.warm()
        self.assertTrue(self.secrets.matches(b"abc"))  # the kernel learns what is missing
        require_secret(self.secrets, "abc", at_once=True)
        for wrong in (None, "", "abd"):
            self.assertRaises(Unauthorized, require_secret, self.secrets, wrong, at_once=True)
        os.unlink(self.path)
        self.assertRaises(WouldWait, require_secret, self.secrets, "abc", at_once=True)

    def test_symlink(self) -> None:
        """
        A secret that is mounted behind a symlink is left to a thread: it may lie on any file
        system.
        """
        self.warm()
        os.rename(self.path, self.top + b"/real")
        os.symlink(b"real", self.path)
        self.assertRaises(WouldWait, self.file.read_at_once)
        self.assertEqual(self.file.read(), "abc")
        self.assertRaises(WouldWait, self.file.read_at_once)

    def test_directory_behind_symlink(self) -> None:
        """
        A secret in a directory behind a symlink, as containers exchange them, is left to a thread:
        it may lie on any file system.
        """
        os.mkdir(self.top + b"/1")
        os.symlink(b"1", self.top + b"/data")
        with open(self.top + b"/1/s", "w") as new:
            new.write("abc")
        file = SecretFile(self.top + b"/data/s")
        self.assertEqual(file.read(), "abc")
        self.assertRaises(WouldWait, file.read_at_once)

    def test_taken_back(self) -> None:
        """
        The directory is checked again each time, as another file system may be mounted over it.
        """
        self.warm()
        self.file._directory._segments = (b"proc",)  # as if it were mounted there
        self.file._name = b"version"
        self.assertRaises(WouldWait, self.file.read_at_once)

    def test_not_in_memory(self) -> None:
        """
        What has to come from a disk is left to a thread, so that other clients are not blocked; no
        descriptor stays open.
        """
        self.warm()

        def preadv(*_: Any) -> int:
            raise BlockingIOError(errno.EAGAIN, "not in memory")

        before = os.listdir("/proc/self/fd")
        self.patch(os, "preadv", preadv)
        self.assertRaises(WouldWait, self.file.read_at_once)
        self.assertEqual(os.listdir("/proc/self/fd"), before)


class LogTests(_FileCase):
    """What is logged about a secret."""

    def test_shared(self) -> None:
        """A warning is logged once if other users can read or write the file."""
        for mode in (0o640, 0o604, 0o620):
            self.put(SECRET.encode(), mode)
            file = SecretFile(self.path)
            with capturedLogs() as events:
                self.assertEqual([file.read(), file.read()], [SECRET, SECRET])
            (text,) = texts(events)
            self.assertIn("chmod 600", text)
            self.assertIn(".auth_token", text)

    def test_said_once(self) -> None:
        """A fault is logged once, and again when it comes back."""
        with capturedLogs() as events:
            for _ in range(3):
                self.file.read()
            self.put(b"")
            self.file.read()
            self.put(SECRET.encode())
            self.file.read()
            self.put(b"a b")
            self.file.read()
            self.file.read()
            os.unlink(self.path)
            self.file.read()
        told = [text.split("token ", 1)[1] for text in texts(events)]
        self.assertEqual(
            told,
            [
                "does not exist yet",
                "is empty",
                "holds something else than one line of visible ASCII",
                "cannot be read: No such file or directory",
            ],
        )

    def test_not_yet(self) -> None:
        """A file that has never been there is no warning: registration may write it."""
        with capturedLogs() as events:
            self.file.read()
            self.put(SECRET.encode())
            self.file.read()
            os.unlink(self.path)
            self.file.read()
        self.assertEqual([event["log_level"].name for event in events], ["info", "warn"])

    def test_out_of_descriptors(self) -> None:
        """
        When descriptors run out, `Unavailable` is raised, and nothing is logged: the secret is
        neither wrong nor missing.
        """

        def fail(*_: object, **__: object) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        self.put(SECRET.encode())
        self.patch(os, "open", fail)
        with capturedLogs() as events:
            for use in (self.file.read, self.secrets.present):
                self.assertRaises(Unavailable, use)
            self.assertRaises(Unavailable, self.secrets.matches, b"guess")
        self.assertEqual(texts(events), [])

    def test_never_the_secret(self) -> None:
        """Neither the log nor the ``repr``, as in a traceback, shows the secret."""
        with capturedLogs() as events:
            for mode in (0o600, 0o666):
                self.put(SECRET.encode(), mode)
                self.secrets.matches(b"guess")
            self.put(SECRET.encode() + b" \xff")
            self.file.read()
            self.file.write(SECRET)
        self.assertNotIn(SECRET, repr(events) + str(texts(events)) + repr(self.file))


class MatchTests(_FileCase):
    """Checking the secret that a client presents."""

    def test_matches(self) -> None:
        """The right secret matches, and no other."""
        self.put(b"abc\n")
        self.assertTrue(self.secrets.matches(b"abc"))
        for wrong in (b"", b"ab", b"abcd", b"ABC", b"abc\n", b"\xff", b"abd", b"a" * 10000):
            self.assertFalse(self.secrets.matches(wrong), wrong)

    def test_no_secret(self) -> None:
        """A workspace without a secret refuses every presented one, an empty one included."""
        for content in (None, b"", b"\n", b"a b", b"\xff"):
            if content is not None:
                self.put(content)
            for presented in (b"", b"None", b"a b", b"\xff", content or b""):
                self.assertFalse(self.secrets.matches(presented))

    def test_require(self) -> None:
        """
        `require_secret` accepts the platform's secret and raises `Unauthorized` for anything else.
        """
        self.assertRaises(Unauthorized, require_secret, self.secrets, "")
        self.put(b"abc")
        require_secret(self.secrets, "abc")
        for wrong in (None, "", "abcd", "\udcff"):
            self.assertRaises(Unauthorized, require_secret, self.secrets, wrong)


class WriteTests(_FileCase):
    """Storing a secret."""

    def test_stored(self) -> None:
        """
        A stored secret can be read back, and is accessible to the owner only, whatever the umask.
        """
        for umask in (0, 0o777):
            before = os.umask(umask)
            try:
                self.assertTrue(self.file.write(SECRET + str(umask)))
            finally:
                os.umask(before)
            self.assertEqual(self.file.read(), SECRET + str(umask))
            self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
            self.assertEqual(os.listdir(self.top), [b".auth_token"])

    def test_only_when_changed(self) -> None:
        """A secret that has not changed is not written, so that a heartbeat costs no fsync."""
        self.put(SECRET.encode() + b"\n")
        inode = os.stat(self.path).st_ino
        self.assertFalse(self.file.write(SECRET))
        self.assertEqual(os.stat(self.path).st_ino, inode)

    def test_refused(self) -> None:
        """What `read` does not accept as a secret is refused, and the stored one is kept."""
        self.put(SECRET.encode())
        for rubbish in ("", "a b", "a\n", "é", "a" * 4097, "a\0"):
            self.assertRaises(ValueError, self.file.write, rubbish)
        self.assertEqual(self.file.read(), SECRET)

    def test_no_directory(self) -> None:
        """A missing directory is created, for its owner only; another file there is reported."""
        file = SecretFile(self.top + b"/none/configs/.auth_token")
        self.assertTrue(file.write(SECRET))
        self.assertEqual(file.read(), SECRET)
        mode = os.stat(self.top + b"/none/configs").st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o700)
        below_a_file = SecretFile(file.path + b"/.auth_token")
        self.assertRaises(NotADirectoryError, below_a_file.write, SECRET)

    def test_temporary_name(self) -> None:
        """
        While a secret is being stored, its temporary name is random, private, and denied to
        downloads.
        """
        names: list[bytes] = []
        rename = os.rename

        def renamed(source: bytes, target: bytes, **kwargs: int) -> None:
            names.append(source)
            self.assertEqual(stat.S_IMODE(os.stat(self.top + b"/" + source).st_mode), 0o600)
            rename(source, target, **kwargs)

        self.patch(os, "rename", renamed)
        rules = DenyRules()
        for name in (b".auth_token", b".platform_inbound_secret"):
            SecretFile(self.top + b"/" + name).write("a")
            SecretFile(self.top + b"/" + name).write("b")
        self.assertEqual(len(set(names)), 4)
        for name in names:
            self.assertTrue(rules.denies(b"/configs/" + name), name)

    def test_leftovers(self) -> None:
        """Copies of the secret that a killed process has left are removed; other files are kept."""
        for name in (b".auth_token.tmp-00", b".auth_token.tmp-ff"):
            with open(self.top + b"/" + name, "wb") as file:
                file.write(b"old")
        os.mkdir(self.top + b"/.auth_token.tmp-dir")
        for name in (b".auth_token.bak", b".platform_inbound_secret.tmp-00"):
            with open(self.top + b"/" + name, "wb") as file:
                file.write(b"not ours")
        self.file.write(SECRET)
        self.assertEqual(
            sorted(os.listdir(self.top)),
            [
                b".auth_token",
                b".auth_token.bak",
                b".auth_token.tmp-dir",
                b".platform_inbound_secret.tmp-00",
            ],
        )


class SecretFormTests(SynchronousTestCase):
    """`is_secret`."""

    def test_is_secret(self) -> None:
        """Only what can stand in a header is a secret."""
        for value in ("a", SECRET, "~" * 4096):
            self.assertTrue(is_secret(value))
        others: list[object] = [None, 1, b"a", "", " a", "a\n", "a\r\nX: y", "é", "a" * 4097, ["a"]]
        for other in others:
            self.assertFalse(is_secret(other), other)


class InodeTests(SynchronousTestCase):
    """`CredentialInodes`: which inodes are, or were, a credential."""

    def setUp(self) -> None:
        self.top = scratch(self)
        self.path = self.top + b"/.auth_token"
        self.make(self.path, b"one")
        self.inodes = self.make_inodes()

    def make_inodes(self) -> CredentialInodes:
        inodes = CredentialInodes([self.path, self.top + b"/none"])
        inodes.refresh()
        self.addCleanup(inodes.close)
        return inodes

    def make(self, path: bytes, content: bytes) -> os.stat_result:
        with open(path, "wb") as file:
            file.write(content)
        return os.stat(path)

    def includes(self, path: bytes) -> bool:
        return self.inodes.include(os.stat(path))

    def held(self) -> int:
        """:return: how many descriptors lead into the directory."""
        links = []
        for fd in os.listdir(b"/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # the one of this listing
                links.append(os.readlink(b"/proc/self/fd/" + fd))
        return sum(link.startswith(self.top) for link in links)

    def test_current(self) -> None:
        """A link to the credential is recognised; another file with the same content is not one."""
        os.link(self.path, self.top + b"/link")
        self.make(self.top + b"/other", b"one")
        self.assertTrue(self.includes(self.top + b"/link"))
        self.assertFalse(self.includes(self.top + b"/other"))

    def test_seen_at_the_start(self) -> None:
        """
        The first secret is remembered when the platform replaces it before any file is requested.
        """
        os.link(self.path, self.top + b"/link")
        inodes = self.make_inodes()
        SecretFile(self.path).write("two")
        self.assertTrue(inodes.include(os.stat(self.top + b"/link")))

    def test_replaced_and_gone(self) -> None:
        """
        Former credentials without a link are closed, so that a file that gets their inode can be
        served.
        """
        self.includes(self.path)
        for content in ("two", "three", "four"):
            SecretFile(self.path).write(content)
            self.assertTrue(self.includes(self.path))
        self.assertEqual(self.held(), 1)

    def test_number_is_kept(self) -> None:
        """
        A former credential is held open while it is linked, so that no other file gets its inode.
        """
        facts = os.stat(self.path)
        os.link(self.path, self.top + b"/link")
        self.includes(self.path)
        SecretFile(self.path).write("two")
        self.assertTrue(self.includes(self.path))
        os.unlink(self.top + b"/link")
        new = [self.make(self.top + b"/%d" % n, b"new").st_ino for n in range(200)]
        self.assertNotIn(facts.st_ino, new)
        SecretFile(self.path).write("three")
        self.assertTrue(self.includes(self.path))
        self.assertEqual(self.held(), 1)

    def test_swapped(self) -> None:
        """
        Credentials that change places repeatedly are held open once each, and stay recognised.
        """
        self.make(self.top + b"/b", b"two")
        for _ in range(3):
            os.rename(self.path, self.top + b"/t")
            os.rename(self.top + b"/b", self.path)
            os.rename(self.top + b"/t", self.top + b"/b")
            self.assertTrue(self.includes(self.path))
            self.assertTrue(self.includes(self.top + b"/b"))
        self.assertEqual(self.held(), 2)

    def test_bounded(self) -> None:
        """
        At most `MAX_REPLACED` former credentials are held open: replacing one does not exhaust
        descriptors.
        """
        for n in range(inodes_module.MAX_REPLACED + 10):
            os.link(self.path, self.top + b"/%d" % n)
            self.includes(self.path)
            SecretFile(self.path).write(f"secret-{n}")
        self.assertTrue(self.includes(self.path))
        self.assertTrue(self.includes(self.top + b"/%d" % n))
        self.assertFalse(self.includes(self.top + b"/0"))
        self.assertEqual(self.held(), inodes_module.MAX_REPLACED + 1)

    def test_at_once(self) -> None:
        """
        `include_at_once` recognises a credential, and raises `WouldWait` if it cannot be sure.
        """
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")
        os.link(self.path, self.top + b"/link")
        linked, other = os.stat(self.top + b"/link"), self.make(self.top + b"/other", b"")
        at_once = self.inodes.include_at_once
        with contextlib.suppress(FileNotFoundError):
            os.stat(self.top + b"/none")  # now it is known that nothing is there
        self.assertEqual((at_once(linked), at_once(other)), (True, False))
        SecretFile(self.path).write("two")
        self.assertRaises(WouldWait, at_once, other)
        self.assertFalse(self.inodes.include(other))
        self.assertEqual((at_once(linked), at_once(other)), (True, False))
        os.rename(self.path, self.top + b"/real")
        os.symlink(b"real", self.path)
        self.assertTrue(self.inodes.include(os.stat(self.path)))
        self.assertRaises(WouldWait, at_once, other)
        os.unlink(self.path)
        self.assertRaises(WouldWait, at_once, other)
        before = self.held()
        self.assertRaises(WouldWait, at_once, other)
        self.assertEqual(self.held(), before)

    def test_settled(self) -> None:
        """
        The names are looked up again unless the last change of their directory is over a second
        old: two changes within one tick of the kernel's clock have the same time.
        """
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")
        other, looked_up = self.make(self.top + b"/other", b""), []
        with contextlib.suppress(FileNotFoundError):
            os.stat(self.top + b"/none")
        find = inodes_module._inode_at_once

        def counted(directory: int, name: bytes) -> tuple[int, int] | None:
            looked_up.append(name)
            return find(directory, name)

        self.patch(inodes_module, "_inode_at_once", counted)
        changed = os.stat(self.top).st_ctime_ns
        for age, expected in ((-1, 4), (0, 4), (10**9, 4), (10**9 + 1, 2)):
            self.inodes._now_ns = partial(int, changed + age)
            looked_up.clear()
            self.assertFalse(self.inodes.include_at_once(other))
            self.assertFalse(self.inodes.include_at_once(other))
            self.assertEqual(len(looked_up), expected, age)

    def test_close(self) -> None:
        """Closing releases all descriptors, and can be repeated."""
        self.includes(self.path)
        self.assertEqual(self.held(), 1)
        self.inodes.close()
        self.inodes.close()
        self.assertEqual(self.held(), 0)

    def test_cannot_look(self) -> None:
        """A credential that cannot be examined is an error; it does not count as missing."""

        def fail(*_: Any, **__: Any) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        facts = os.stat(self.path)
        inodes = self.make_inodes()
        inodes.close()
        self.patch(os, "open", fail)
        self.assertRaises(OSError, inodes.include, facts)
        self.assertRaises(OSError, self.make_inodes().include, facts)
