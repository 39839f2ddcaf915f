"""
The archives, as programs of users read them.
"""

from __future__ import annotations

import random
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.workspace.archive.deflate import PIECE
from chatfiles.workspace.archive.member import Member
from chatfiles.workspace.archive.zip_members import ZipWriter
from tests import SOAK
from tests.workspace.archive.making import (
    LONG_AGO_NS,
    WRITERS,
    Given,
    changing,
    made,
    program,
    unpacked,
)

NOISE = random.Random(1).randbytes(700_000)
GIVEN = [
    Given(b"top", None),
    Given(b"top/empty", None),
    Given(b"top/empty.txt", b""),
    Given(b"top/noise.bin", NOISE),
    Given(b"top/one", b"1", executable=True),
    Given(b"top/" + 60 * b"long" + b"/deep", b"deep"),
    Given(b"top/text.txt", b"a line of text\n" * 50_000),
    Given("top/ünïcödé €".encode(), b"name"),
    Given(b"chatfiles-manifest.json", b"{}"),
]
#: Names that only a tar can have as they are.
ODD = [Given(b"top/\xff\xfe", b"bytes"), Given(b"top/a\\b\nc", b"odd")]

#: Format, program, its package, arguments, whether by a pipe.
READERS: Sequence[tuple[str, str, str, Sequence[str], bool]] = [
    ("zip", "unzip", "unzip", ["-q", "{}"], False),
    ("zip", "unzip", "unzip", ["-tqq", "{}"], False),
    ("zip", "7z", "p7zip-full", ["x", "-bd", "{}"], False),
    ("zip", "bsdtar", "libarchive-tools", ["-xf", "{}"], False),
    ("zip", "bsdtar", "libarchive-tools", ["-xf", "-"], True),
    ("zip", "busybox", "busybox-static", ["unzip", "-q", "{}"], False),
    ("zip", "jar", "default-jdk-headless", ["xf", "{}"], False),
    ("zip", "jar", "default-jdk-headless", ["x"], True),
    ("tar", "tar", "tar", ["-xf", "-"], True),
    ("tar", "bsdtar", "libarchive-tools", ["-xf", "-"], True),
    ("tar", "busybox", "busybox-static", ["tar", "-xf", "-"], True),
    ("tar", "7z", "p7zip-full", ["x", "-bd", "{}"], False),
    ("tar.gz", "tar", "tar", ["-xzf", "-"], True),
    ("tar.gz", "bsdtar", "libarchive-tools", ["-xzf", "-"], True),
    ("tar.gz", "busybox", "busybox-static", ["tar", "-xzf", "-"], True),
]


class ReaderTests(SynchronousTestCase):
    """Each program makes the files that were given; the methods are made below."""

    maxDiff = None

    def read(
        self,
        archive_format: str,
        command: tuple[str, str],
        arguments: Sequence[str],
        by_pipe: bool,
        changes: bool,
    ) -> None:
        path = program(*command)
        given = list(GIVEN)
        if archive_format != "zip" and command[0] in ("tar", "busybox"):
            given += ODD
        expected: dict[bytes, bytes | None] = {each.name: each.content for each in given}
        expected[b"top/" + 60 * b"long"] = None
        if changes:
            given.insert(5, changing(Given(b"top/torn", NOISE), 300_000))
        archive = made(WRITERS[archive_format](), given)
        found = unpacked(archive, [path, *arguments], by_pipe=by_pipe)
        if "-tqq" in arguments:
            self.assertEqual(found, {})
            return
        self.assertEqual(found.keys(), expected.keys())
        self.assertTrue(found == expected)

    def test_changed_by_pipe(self) -> None:
        """A program that reads the stream, not the central directory, reports what has changed."""
        torn = [GIVEN[0], changing(Given(b"top/torn", NOISE), 300_000)]
        archive = made(WRITERS["zip"](), torn)
        for name, package, arguments in (
            ("bsdtar", "libarchive-tools", ["-xf", "-"]),
            ("jar", "default-jdk-headless", ["x"]),
        ):
            command = [program(name, package), *arguments]
            error = self.assertRaises(AssertionError, unpacked, archive, command, by_pipe=True)
            self.assertIn("crc", str(error).lower())

    def test_very_large(self) -> None:
        """A file of more than 4 GiB, and one behind it, are whole for all that read a zip."""
        if not SOAK:
            raise SkipTest("CHATFILES_SOAK=1 is not set")
        size = (1 << 32) + 5
        writer = ZipWriter()
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(writer.begin(Member(b"zeros", size, LONG_AGO_NS)))
            for start in range(0, size, PIECE):
                file.write(writer.data(bytes(min(PIECE, size - start))))
            file.write(writer.end())
            last = writer.begin(Member(b"last", 4, LONG_AGO_NS)) + writer.data(b"last")
            file.write(last + writer.end())
            file.writelines(writer.finish())
        for command, package in (
            (["unzip", "-tqq", path], "unzip"),
            (["7z", "t", "-bd", path], "p7zip-full"),
            (["bsdtar", "-xOf", path], "libarchive-tools"),
            (["bsdtar", "-xOf", "-"], "libarchive-tools"),
            (["busybox", "unzip", "-t", path], "busybox-static"),
            (["jar", "t"], "default-jdk-headless"),
        ):
            program(command[0], package)
            with open(path, "rb") as archive:
                done = subprocess.run(command, stdin=archive, capture_output=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""), command)
        with zipfile.ZipFile(path) as whole:
            self.assertEqual([info.file_size for info in whole.infolist()], [size, 4])
            self.assertEqual(whole.read("last"), b"last")


def _method(*values: Any) -> Callable[[ReaderTests], None]:
    def test(self: ReaderTests) -> None:
        self.read(*values)

    return test


for _format, _name, _package, _arguments, _by_pipe in READERS:
    _what = "_".join([_format, _name, *_arguments]).translate({ord(c): None for c in "{}-."})
    _test = _method(_format, (_name, _package), _arguments, _by_pipe, False)
    setattr(ReaderTests, f"test_{_what}", _test)
    if _format == "zip" and not _by_pipe:
        _test = _method(_format, (_name, _package), _arguments, _by_pipe, True)
        setattr(ReaderTests, f"test_changed_{_what}", _test)
