"""
``chatfiles get -r``: the tree that is saved, and what happens if that fails.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from typing import Any

from click.testing import Result

from chatfiles.cli.errors import local_error
from chatfiles.cli.transfers import output_file
from chatfiles.cli.transfers.output_file import Attributes
from chatfiles.cli.transfers.tree import plan, progress
from chatfiles.cli.transfers.tree.transfer import TreeTransfer
from chatfiles.posix import openat2
from tests.cli.cli_stub import WORKSPACE, StubCase, counted, said
from tests.cli.tree_server import TreeServer, etag

LONG_AGO = 1_600_000_000 * 10**9 + 123_456_789
ODD = b"odd \xff\n\x1b"


class TreeCase(StubCase):
    """A workspace with some files, and ``chatfiles get -r`` of it into ``out``."""

    def setUp(self) -> None:
        super().setUp()
        self.there = tempfile.mkdtemp(prefix="chatfiles-there-")
        self.addCleanup(shutil.rmtree, self.there)
        self.tree = TreeServer(self.there)
        self.tree.start()
        self.addCleanup(self.tree.stop)
        self.put("src/a.txt", b"a" * 1000)
        self.put("src/d/b.txt", b"b" * 3000, 0o640)
        self.put(b"src/d/e/" + ODD, b"odd", 0o755)
        os.mkdir(self.at("src/empty"))
        os.chmod(self.at("src/empty"), 0o555)
        for name in ("src/empty", "src/d/e", "src/d"):
            os.utime(self.at(name), ns=(LONG_AGO, LONG_AGO))

    def at(self, name: str | bytes) -> bytes:
        """:return: a path in the workspace."""
        return os.path.join(os.fsencode(self.there), os.fsencode(name))

    def put(self, name: str | bytes, content: bytes, mode: int = 0o644) -> None:
        """Write a file of the workspace, modified long ago."""
        path = self.at(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
        os.utime(path, ns=(LONG_AGO, LONG_AGO))

    def fetch(self, *words: str, path: str = "/workspace/src", **more: Any) -> Result:
        """Run ``chatfiles get -r`` with the test's token."""
        words = ("get", "--token-file", "token", "-r", WORKSPACE, path, *words)
        return self.invoke(*words, env={"CHATFILES_PLATFORM": self.tree.url}, **more)

    def described(self, top: str | bytes) -> dict[bytes, tuple[int, int, bytes | None]]:
        """:return: mode, time and content of everything below *top*."""
        found = {}
        top = os.fsencode(top)
        for directory, directories, files in os.walk(top):
            for name in directories + files:
                path = os.path.join(directory, name)
                status = os.lstat(path)
                content = None
                if stat.S_ISREG(status.st_mode):
                    with open(path, "rb") as file:
                        content = file.read()
                key = os.path.relpath(path, top)
                found[key] = (stat.S_IMODE(status.st_mode), status.st_mtime_ns, content)
        return found

    def assert_same(self, out: str = "out") -> None:
        """Assert that *out* is what the workspace has."""
        self.assertEqual(self.described(self.path(out)), self.described(self.at("src")))


class SavedTests(TreeCase):
    """Everything is saved as it is there."""

    def test_all(self) -> None:
        """Contents, names in bytes, permissions and times are those of the workspace."""
        self.ended(self.fetch("-o", "out"), 0)
        self.assert_same()
        self.assertEqual(self.files(), ["out"])
        self.assertEqual(self.tree.count("download"), 3)

    def test_default(self) -> None:
        """Without ``-o``, the directory is named after PATH."""
        result = self.fetch(path="/workspace/src/")
        self.ended(result, 0)
        self.assertEqual(result.output, "")
        self.assert_same("src")

    def test_again(self) -> None:
        """What is equal is not fetched again; what is missing is."""
        self.ended(self.fetch("-o", "out"), 0)
        os.unlink(self.path("out/d/b.txt"))
        os.chmod(self.path("out/a.txt"), 0o600)
        self.tree.asked.clear()
        self.ended(self.fetch("-o", "out"), 0)
        self.assert_same()
        self.assertEqual(self.tree.count("download"), 1)

    def test_no_setuid(self) -> None:
        """Only permission bits are restored."""
        os.chmod(self.at("src/a.txt"), 0o6755)
        os.chmod(self.at("src/d"), 0o3755)
        self.ended(self.fetch("-o", "out"), 0)
        for name in ("out/a.txt", "out/d"):
            self.assertEqual(stat.S_IMODE(os.stat(self.path(name)).st_mode), 0o755)

    def test_without_openat2(self) -> None:
        """A kernel without ``openat2`` gives the same result."""
        self.patch(openat2, "_OPENAT2", 100_000)
        openat2.best_mechanism.cache_clear()
        self.addCleanup(openat2.best_mechanism.cache_clear)
        self.ended(self.fetch("-o", "out"), 0)
        self.assert_same()

    def test_many(self) -> None:
        """Many small files arrive over any number of connections."""
        for number in range(100):
            self.put(f"src/many/{number % 7}/{number}", b"%d" % number)
        for jobs in ("1", "16"):
            self.ended(self.fetch("-o", f"out{jobs}", "-j", jobs), 0)
            self.assertEqual(len(self.described(self.path(f"out{jobs}"))), 114)

    def test_connections(self) -> None:
        """Each thread uses one connection for all of its files."""
        for number in range(50):
            self.put(f"src/{number}", b"%d" % number)
        self.ended(self.fetch("-o", "out", "-j", "3"), 0)
        self.assertLessEqual(len(self.tree.connections), 3)
        self.assert_same()

    def test_closed_connections(self) -> None:
        """A connection that the platform has closed is replaced."""
        self.tree.closes = True
        for number in range(20):
            self.put(f"src/{number}", b"%d" % number)
        self.ended(self.fetch("-o", "out"), 0)
        self.assertEqual((self.tree.count("download"), len(self.tree.connections)), (23, 24))
        self.assert_same()

    def test_plan_on_disk(self) -> None:
        """So it is if the plan does not fit in memory."""
        self.patch(plan, "IN_MEMORY", 10)
        self.ended(self.fetch("-o", "out"), 0)
        self.assert_same()

    def test_skipped(self) -> None:
        """Symlinks and special files are reported and not fetched."""
        os.symlink("/etc/passwd", self.at("src/l"))
        os.mkfifo(self.at("src/d/p"))
        result = self.fetch("-o", "out")
        self.ended(result, 0)
        self.assertEqual(result.stderr, "skipped d/p (special)\nskipped l (symlink)\n")
        self.assertFalse(os.path.lexists(self.path("out/l")))
        self.assertEqual(self.fetch("-o", "out", "-q").stderr, "")

    def test_changed_since_the_listing(self) -> None:
        """A file that changed after the listing has the time of the version that was received."""

        def change(operation: str, _: bytes) -> None:
            if operation == "download":
                self.tree.interfering.clear()
                with open(self.at("src/a.txt"), "wb") as file:
                    file.write(b"new")

        self.tree.interfering.append(change)
        self.ended(self.fetch("-o", "out", "-j", "1"), 0)
        self.assert_same()

    def test_other_size(self) -> None:
        """A download that contradicts the listing of the same version is not kept."""
        version = etag(self.at("src/a.txt"))

        def shorter(operation: str, path: bytes) -> bytes | None:
            if operation != "download" or not path.endswith(b"a.txt"):
                return None
            return counted(b"aaaa", f"ETag: {version}")

        self.tree.interfering.append(shorter)
        result = self.fetch("-o", "out")
        self.ended(result, 7, "a.txt: the response cannot be trusted: 4 bytes came", "with 1000")
        self.assertEqual(sorted(os.listdir(self.path("out"))), ["d", "empty"])


class ExistingTests(TreeCase):
    """What is there already is not replaced unless the user wants it."""

    def test_differs(self) -> None:
        """A file that differs stays; the others are saved; ``-f`` replaces it."""
        os.mkdir(self.path("out"))
        self.write("out/a.txt", "mine")
        result = self.fetch("-o", "out")
        self.ended(result, 8, "a.txt: out/a.txt exists and differs")
        text = "1 file or directory was not saved; 2 of 3 files are complete in out\n"
        self.ended(result, 8, text)
        self.assertEqual(self.read("out/a.txt"), b"mine")
        self.assertEqual(self.read("out/d/b.txt"), b"b" * 3000)
        self.ended(self.fetch("-o", "out", "-f"), 0)
        self.assert_same()

    def test_other_time(self) -> None:
        """A file of the same size with another time differs, unless its digest is equal."""
        self.ended(self.fetch("-o", "out"), 0)
        os.utime(self.path("out/a.txt"))
        self.ended(self.fetch("-o", "out"), 8, "exists and differs")
        self.ended(self.fetch("-o", "out", "--verify"), 0)
        self.assert_same()

    def test_whole_seconds(self) -> None:
        """A file system that keeps whole seconds makes no file differ."""
        self.ended(self.fetch("-o", "out"), 0)
        os.utime(self.path("out/a.txt"), (LONG_AGO // 10**9, LONG_AGO // 10**9))
        self.ended(self.fetch("-o", "out"), 0)
        self.assertEqual(self.tree.count("download"), 3)

    def test_verify(self) -> None:
        """With ``--verify``, a file of the same size and time with another content differs."""
        self.ended(self.fetch("-o", "out"), 0)
        self.write("out/a.txt", "x" * 1000)
        os.utime(self.path("out/a.txt"), ns=(LONG_AGO, LONG_AGO))
        self.ended(self.fetch("-o", "out"), 0)
        self.ended(self.fetch("-o", "out", "--verify"), 8, "a.txt: out/a.txt exists and differs")
        self.ended(self.fetch("-o", "out", "--verify", "-f"), 0)
        self.assert_same()

    def test_mismatch(self) -> None:
        """Bytes that do not have the workspace's digest are not saved."""
        wrong = {"sha256": "0" * 64}
        self.tree.interfering.append(
            lambda operation, path: (
                said("200 OK", wrong) if operation == "digest" and b"a.txt" in path else None
            )
        )
        result = self.fetch("-o", "out", "--verify")
        self.ended(result, 7, "a.txt: downloaded bytes do not match sha256 000")
        self.assertFalse(os.path.exists(self.path("out/a.txt")))
        self.assertTrue(os.path.exists(self.path("out/d/b.txt")))

    def test_attributes_refused(self) -> None:
        """A directory that is there and whose attributes may not be changed is a failure."""
        apply = Attributes.apply

        def refuse(attributes: Attributes, descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise PermissionError(errno.EPERM, "not the owner")
            apply(attributes, descriptor)

        self.patch(Attributes, "apply", refuse)
        os.makedirs(self.path("out/empty"))
        self.ended(self.fetch("-o", "out"), 8, "cannot write out/empty: not the owner")


class OutsideTests(TreeCase):
    """Nothing is written outside of the directory."""

    def test_symlinks_here(self) -> None:
        """A symlink that is there already is neither followed nor replaced."""
        outside = tempfile.mkdtemp(prefix="chatfiles-outside-")
        self.addCleanup(shutil.rmtree, outside)
        for mechanism in (openat2.by_openat2, openat2.by_walk):
            self.patch(openat2, "by_openat2", mechanism)
            openat2.best_mechanism.cache_clear()
            self.addCleanup(openat2.best_mechanism.cache_clear)
            for words in ([], ["-f"], ["--verify"]):
                shutil.rmtree(self.path("out"), ignore_errors=True)
                os.mkdir(self.path("out"))
                os.symlink(outside, self.path("out/d"))
                os.symlink(os.path.join(outside, "a"), self.path("out/a.txt"))
                os.symlink(outside, self.path("out/empty"))
                result = self.fetch("-o", "out", *words)
                self.ended(result, 8, "d/b.txt", "a.txt", "empty")
                self.assertEqual(os.listdir(outside), [])
                self.assertTrue(os.path.islink(self.path("out/d")))
                self.assertTrue(os.path.islink(self.path("out/a.txt")))
        self.assertEqual(stat.S_IMODE(os.stat(outside).st_mode), 0o700)

    def test_hostile_names(self) -> None:
        """Names that lead elsewhere are refused one by one; the other files are saved."""
        for name, ref in (
            ("..", "/workspace/src/.."),
            (".", "/workspace/src/."),
            ("", "/workspace/src/"),
            ("x", "/workspace/src/../x"),
            ("x", "/workspace/src/../../x"),
            ("x", "/workspace/x"),
            ("x", "/x"),
            ("x", "x"),
            ("passwd", "/etc/passwd"),
            ("../x", "/workspace/src/../x"),
            ("../x", "/workspace/src/..%2Fx"),
            ("x", "/workspace/src/%2E%2E/x"),
            ("x", "/workspace/src//x"),
            ("x\0", "/workspace/src/x%00"),
            ("x" * 256, "/workspace/src/" + "x" * 256),
        ):
            for kind in ("file", "directory"):
                self.tree.extra.append({"name": name, "ref": ref, "type": kind, "size": 1})
        result = self.fetch("-o", "o/ut")
        self.ended(result, 8, "cannot write to o/ut")
        os.mkdir(self.path("o"))
        result = self.fetch("-o", "o/ut")
        self.ended(result, 7, "30 files or directories were not saved")
        self.assert_same("o/ut")
        self.assertEqual((self.files(), os.listdir(self.path("o"))), (["o"], ["ut"]))

    def test_file_and_directory(self) -> None:
        """A path that is a file and a directory at once fails; nothing else does."""
        self.tree.extra += [
            {"name": "a.txt", "ref": "/workspace/src/a.txt", "type": "directory"},
            {"name": "x", "ref": "/workspace/src/d/b.txt/x", "type": "file", "size": 1},
            {"name": "y", "ref": "/workspace/src/no/y", "type": "file", "size": 1},
        ]
        self.ended(self.fetch("-o", "out"), 8, "cannot write out/no/y: No such file", "b.txt/x")
        self.assertEqual(self.read("out/d/b.txt"), b"b" * 3000)


class InterruptedTests(TreeCase):
    """What is interrupted or fails is reported, and continued."""

    def setUp(self) -> None:
        super().setUp()
        self.pauses: list[float] = []

        def pause(stop: progress.Stop, seconds: float) -> None:
            self.pauses.append(seconds)
            stop.check()

        self.patch(progress.Stop, "pause", pause)

    def cut(self, operation: str, path: bytes) -> bytes | None:
        """:return: the first half of ``b.txt``."""
        if operation == "download" and path.endswith(b"b.txt"):
            return counted(b"b" * 3000, f"ETag: {etag(self.at('src/d/b.txt'))}", short=1500)
        return None

    def test_resumed(self) -> None:
        """A file that was interrupted continues where it stopped."""
        self.tree.interfering.append(self.cut)
        result = self.fetch("-o", "out", "--retries", "0")
        self.ended(result, 7, "d/b.txt: the transfer was interrupted after 1500 of 3000 bytes")
        self.assertEqual(sorted(os.listdir(self.path("out/d"))), ["b.txt.part", "e"])
        self.tree.interfering.clear()
        self.tree.asked.clear()
        self.ended(self.fetch("-o", "out"), 0)
        [headers] = [
            headers for operation, _, headers in self.tree.asked if operation == "download"
        ]
        self.assertEqual(headers["Range"], "bytes=1500-")
        self.assert_same()

    def test_retried(self) -> None:
        """An interrupted file, and an unavailable workspace, are tried again."""
        wires = [None, said("503 X", {"error": "x"}), None]

        def interfere(operation: str, path: bytes) -> bytes | None:
            if operation == "download" and path.endswith(b"b.txt") and wires:
                return wires.pop() or self.cut(operation, path)
            return None

        self.tree.interfering.append(interfere)
        self.ended(self.fetch("-o", "out"), 0, "d/b.txt: the transfer was interrupted")
        self.assertEqual(self.pauses, [1, 2, 4])
        self.assert_same()

    def test_failures(self) -> None:
        """Files that fail are listed at the end; the status is the highest of theirs."""
        wires = {
            b"a.txt": said("404 X", {"error": "file not found", "code": "file_not_found"}),
            b"b.txt": said("403 X", {"error": "permission denied", "code": "permission_denied"}),
        }
        self.tree.interfering.append(
            lambda operation, path: (
                wires.get(os.path.basename(path)) if operation == "download" else None
            )
        )
        result = self.fetch("-o", "out")
        self.ended(result, 4, "chatfiles: a.txt: file not found", "d/b.txt: permission denied")
        self.assertIn("2 files or directories were not saved", result.stderr)
        self.assertIn(os.fsdecode(ODD), os.listdir(self.path("out/d/e")))

    def test_fatal(self) -> None:
        """An error that every file would have ends the command."""
        for number in range(50):
            self.put(f"src/{number}", b"x")
        refused = said("401 X", {"error": "invalid workspace auth token", "code": "invalid_token"})
        self.tree.interfering.append(
            lambda operation, _: refused if operation == "download" else None
        )
        result = self.fetch("-o", "out", "-j", "2")
        self.ended(result, 4, "0 of 53 files are complete in out", "invalid workspace auth token")
        self.assertLess(self.tree.count("download"), 10)

    def test_disk_full(self) -> None:
        """A full disk ends the command; a thread does not wait until it is told to stop."""

        def write(*_: Any) -> None:
            error = OSError(errno.ENOSPC, "No space left on device")
            raise local_error("cannot write out/x", error) from error

        self.patch(output_file.FileSink, "write", write)
        self.patch(TreeTransfer, "_break", lambda _: None)
        self.ended(self.fetch("-o", "out", "-j", "1"), 8, "No space left", "0 of 3 files")
        self.assertEqual(self.tree.count("download"), 1)

    def test_listing(self) -> None:
        """A listing that is interrupted is started again; nothing is fetched before its end."""
        self.patch(time, "sleep", lambda _: None)
        lines = b'{"name":"a.txt","ref":"/workspace/src/a.txt","type":"file","size":1}\n'
        wires = [counted(lines, "Content-Type: application/x-ndjson")] * 2

        def interfere(operation: str, _: bytes) -> bytes | None:
            return wires.pop() if operation == "entries" and wires else None

        self.tree.interfering.append(interfere)
        result = self.fetch("-o", "out", "--retries", "1")
        self.ended(result, 7, "the listing was interrupted after 1 entries; trying again in 1 s")
        self.assertEqual((self.files(), self.tree.count("download")), ([], 0))
        self.ended(self.fetch("-o", "out"), 0)
        self.assert_same()

    def test_not_all(self) -> None:
        """A listing that the workspace has limited is an error; what it has is saved."""
        self.tree.end = {"complete": False, "reason": "too_deep"}
        result = self.fetch("-o", "out")
        self.ended(result, 5, "an unknown number of files", "not complete: too deep", "one by one")
        self.assert_same()

    def test_not_all_and_failures(self) -> None:
        """So it is if files have failed too; those are counted."""
        self.tree.end = {"complete": False, "reason": "too_deep"}
        self.tree.extra.append({"name": "..", "ref": "/workspace/src/..", "type": "file"})
        text = "1 file or directory was not saved, and an unknown number of others"
        self.ended(self.fetch("-o", "out"), 7, text)

    def test_not_looked_at(self) -> None:
        """A directory that the workspace could not read is an error."""
        error = "permission denied"
        self.tree.extra.append(
            {"name": "x", "ref": "/workspace/src/x", "type": "directory", "error": error}
        )
        self.ended(self.fetch("-o", "out"), 4, "chatfiles: x: permission denied")

    def test_refused(self) -> None:
        """If there is no such directory, nothing is created here."""
        self.ended(self.fetch("-o", "out", path="/workspace/no"), 3, "names are taken exactly")
        result = self.fetch("-o", "out", path="/workspace/src/a.txt")
        self.ended(result, 5, "leave -r out to get a file")
        os.symlink("a.txt", self.at("src/link"))
        result = self.fetch("-o", "out", path="/workspace/src/link")
        self.ended(result, 5, "`chatfiles stat` shows what it is; symlinks are never followed")
        self.assertEqual(self.files(), [])

    def test_fault(self) -> None:
        """A fault of the program in a thread is not hidden."""

        def fail(*_: Any) -> None:
            raise ZeroDivisionError

        self.patch(output_file.FileSink, "publish", fail)
        result = self.fetch("-o", "out")
        self.assertIsInstance(result.exception, ZeroDivisionError)

    def test_words(self) -> None:
        """Words that do not fit are refused before a request."""
        self.ended(self.fetch("-o", "-"), 2, "-o names a directory")
        self.ended(self.fetch("-o", ""), 2, "-o names a directory")
        self.ended(self.fetch("-j", "0"), 2, "0 is not in the range")
        self.ended(self.fetch("--archive", "zip"), 2, "exclude each other")
        self.ended(self.fetch("/workspace/other"), 2, "several PATHs need --archive")
        self.ended(self.fetch(path="/"), 2, "PATH does not end in the name")
        self.assertEqual(self.tree.asked, [])


class PagedTests(TreeCase):
    """A tree with more entries than a workspace lists at once is listed directory by directory."""

    def setUp(self) -> None:
        super().setUp()
        self.tree.end = {"complete": False, "reason": "too_many_entries"}
        self.tree.extra = [{"name": "no", "ref": "/workspace/src/no", "type": "directory"}]
        self.patch(time, "sleep", lambda _: None)

    def replace(self, wires: list[bytes], path: bytes = b"/workspace/src/d") -> None:
        """Send *wires* in place of pages of *path*."""

        def interfere(operation: str, asked: bytes) -> bytes | None:
            hit = operation == "entries" and asked == path and wires
            return wires.pop(0) if hit else None

        self.tree.interfering.append(interfere)

    def test_all(self) -> None:
        """Everything is saved, and a line says why it takes longer."""
        self.put(b"src/" + ODD + b"/x", b"x")
        os.symlink("a.txt", self.at("src/l"))
        result = self.fetch("-o", "out")
        self.ended(result, 0, "listing directory by directory", "skipped l (symlink)")
        os.unlink(self.at("src/l"))
        self.assert_same()
        self.assertEqual(self.fetch("-o", "out", "-q").stderr, "")

    def test_plan_on_disk(self) -> None:
        """So it is if the plan does not fit in memory."""
        self.patch(plan, "IN_MEMORY", 10)
        self.ended(self.fetch("-o", "out"), 0)
        self.assert_same()

    def test_retried(self) -> None:
        """Only the page that was interrupted is listed again."""
        self.replace([counted(b"{}", short=1), said("503 X", {"error": "x"})])
        self.ended(self.fetch("-o", "out"), 0, "trying again in 1 s", "trying again in 2 s")
        self.assert_same()
        self.assertEqual(self.tree.count("entries"), 1 + 2 + 3 + 1 + 1)

    def test_unreadable(self) -> None:
        """A directory that cannot be listed is a failure; the others are saved."""
        error = {"error": "permission denied", "code": "permission_denied"}
        self.replace([said("403 X", error)])
        result = self.fetch("-o", "out")
        self.ended(result, 4, "d: permission denied", "1 file or directory was not saved")
        self.assertEqual(self.read("out/a.txt"), b"a" * 1000)

    def test_elsewhere(self) -> None:
        """Entries that are not in the directory that was asked for are refused."""
        for ref in ("/workspace/src/d", "/workspace/src/d/e/d", "/workspace/src/x/d"):
            entries = [{"name": "d", "ref": ref, "type": "directory"}]
            self.replace([said("200 OK", {"entries": entries})])
            result = self.fetch("-o", "out")
            self.ended(result, 7, "is not in /workspace/src/d", "1 file or directory was not saved")

    def test_deep(self) -> None:
        """Directories of more than 64 levels are not listed, so a loop of mounts ends."""
        self.put("src/" + "x/" * 64 + "last", b"x")
        result = self.fetch("-o", "out")
        self.ended(result, 5, "not listed: more than 64 levels deep")
        self.assertTrue(os.path.isdir(self.path("out/" + "x/" * 64)))
        self.assertEqual(self.tree.count("entries"), 1 + 2 + 3 + 63)
