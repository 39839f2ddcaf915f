"""
Tests for `chatfiles.workspace.files.write_targets`: which places clients may
change (reference/writes, "Writable prefixes").
"""

from __future__ import annotations

import errno
import os
import socket

from chatfiles.errors import ChatfilesError
from chatfiles.rules.virtual_paths import check_form
from chatfiles.workspace.files.write_targets import write_refusal
from tests.workspace.publication.writing_case import WritingCase


class TargetTests(WritingCase):
    """`Targets.open`."""

    def refused(self, path: str) -> tuple[int, str]:
        """:return: status and code of the error."""
        try:
            with self.targets.open(check_form([path.encode()])) as target:
                target.look_at_file()
        except ChatfilesError as error:
            return error.status, error.code
        return 0, ""

    def test_table(self) -> None:
        """What stands at a path, or above it, decides what a client receives."""
        self.write("out/file", b"x")
        self.write("out/secret/x", b"x")
        self.write("other/file", b"x")
        at = self.at
        os.symlink("file", at("out/link"))
        os.symlink(at("other"), at("out/linked"))
        os.symlink("nowhere", at("out/dangling"))
        os.mkfifo(at("out/fifo"))
        os.mkdir(at("out/directory"))
        with socket.socket(socket.AF_UNIX) as listener:
            here = os.getcwd()
            os.chdir(at("out"))  # the path of a socket must be short
            listener.bind("socket")
            os.chdir(here)
        os.link(at("configs/.auth_token"), at("out/token"))
        not_writable, missing = (403, "not_writable"), (404, "file_not_found")
        no_parent, not_regular = (404, "parent_not_found"), (400, "not_a_regular_file")
        table = {
            "out/file": (0, ""),
            "out/new": (0, ""),
            "out": (0, ""),
            "other/file": not_writable,
            "outside": not_writable,
            "": not_writable,
            "out/secret/x": missing,
            "out/secret/no/such": missing,
            "out/.chatfiles-part-1": missing,
            "out/token": missing,
            "out/none/new": no_parent,
            "out/file/new": no_parent,
            "out/fifo/new": no_parent,
            "out/link": not_regular,
            "out/dangling": not_regular,
            "out/linked/file": not_regular,
            "out/linked/new": not_regular,
            "out/directory": not_regular,
            "out/fifo": not_regular,
            "out/socket": not_regular,
        }
        for path, expected in table.items():
            found = self.refused("/workspace" + (path and "/" + path))
            # A prefix is a directory: only operations on directories use it.
            self.assertEqual(found, not_regular if path == "out" else expected, path)
        for path in ("/home/x", "/configs/x", "/plugins/x"):
            self.assertEqual(self.refused(path), not_writable, path)

    def test_before_the_disk(self) -> None:
        """A path outside the prefixes is refused whether or not it exists, or is denied."""
        for path in ("/workspace/other/secret", "/configs/.auth_token", "/workspace/none/x"):
            self.assertEqual(self.refused(path), (403, "not_writable"))

    def test_require_below(self) -> None:
        """A prefix itself is not below a prefix."""
        for path, allowed in ((b"/workspace/out/x", True), (b"/workspace/out", False)):
            try:
                self.targets.require_below(check_form([path]))
            except ChatfilesError as error:
                self.assertEqual((allowed, error.code), (False, "not_writable"))
            else:
                self.assertTrue(allowed)

    def test_made(self) -> None:
        """Missing directories are created on request, and removed if they are not used."""
        path = check_form([b"/workspace/out/a/b/new"])
        before = self.descriptors()
        self.targets.make(path).close()
        self.assertEqual(os.listdir(self.at("out")), [])
        target = self.targets.make(path)
        target.keep_directories()
        target.close()
        self.assertTrue(os.path.isdir(self.at("out/a/b")))
        self.assertEqual(os.stat(self.at("out/a")).st_mode & 0o777, 0o755 & ~self.umask())
        self.assertEqual(self.descriptors(), before)

    def test_not_made(self) -> None:
        """No directory is created behind a symlink, below a file or outside the prefix."""
        self.write("out/file", b"x")
        os.mkdir(self.at("other"))
        os.symlink(self.at("other"), self.at("out/link"))
        before = self.descriptors()
        for path, code in (
            ("out/file/a/new", "parent_not_found"),
            ("out/new/../x", "invalid_path"),
            ("out/link/a/new", "not_a_regular_file"),
            ("other/a/new", "not_writable"),
        ):
            with self.assertRaises(ChatfilesError) as raised:
                self.targets.make(check_form([b"/workspace/" + path.encode()]))
            self.assertEqual(raised.exception.code, code)
        self.assertEqual(os.listdir(self.at("other")), [])
        self.assertEqual(sorted(os.listdir(self.at("out"))), ["file", "link"])
        self.assertEqual(self.descriptors(), before)

    def test_same_directory(self) -> None:
        """A target stays in the directory that was found, wherever that is moved."""
        self.write("out/d/file", b"x")
        with self.targets.open(check_form([b"/workspace/out/d/file"])) as target:
            os.rename(self.at("out/d"), self.at("moved"))
            os.symlink(self.at("configs"), self.at("out/d"))
            self.assertIsNotNone(target.look_at_file())
            target.sync()

    def test_refusals(self) -> None:
        """Each error of the system has one meaning for clients."""
        table = {
            errno.ENOSPC: 507,
            errno.EDQUOT: 507,
            errno.EACCES: 403,
            errno.EROFS: 403,
            errno.EMFILE: 503,
            errno.ENOENT: 404,
            errno.EISDIR: 400,
            errno.ENAMETOOLONG: 400,
            errno.EFBIG: 413,
            errno.EBUSY: 409,
            errno.ETXTBSY: 409,
            errno.EXDEV: 500,
            errno.EIO: 500,
        }
        found = {code: write_refusal(OSError(code, "")).status for code in table}
        self.assertEqual(found, table)
