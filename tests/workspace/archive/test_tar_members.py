"""
Tests for `chatfiles.workspace.archive.tar_members`.
"""

from __future__ import annotations

import gzip
import random
import tarfile
from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.streams.file_source import FileChanged
from chatfiles.workspace.archive.member import Member
from chatfiles.workspace.archive.tar_members import GzipTarWriter, TarWriter
from tests.workspace.archive.making import LONG_AGO_NS, Given, changing, made

NOISE = random.Random(1).randbytes(300_000)
SECOND = 10**9
#: Names of any bytes that a path can have, some of them long.
NAMES = st.binary(min_size=1, max_size=12).map(
    lambda name: name.replace(b"\0", b"0").replace(b"/", b"_") * (1 + 30 * (len(name) % 2))
)
FILES = st.builds(
    Given,
    name=NAMES,
    content=st.one_of(
        st.none(), st.binary(max_size=1100), st.sampled_from([NOISE, b"text" * 90_000])
    ),
    mtime_ns=st.integers(-(10**12), 10**20),
    executable=st.booleans(),
)


class TarTests(SynchronousTestCase):
    """Whole archives, as ``tarfile`` reads them."""

    @given(st.lists(FILES, max_size=6), st.integers(70_000, 300_000))
    def test_members(self, files: list[Given], step: int) -> None:
        """Names, contents, times and modes are those that were given, in both formats."""
        plain = made(TarWriter(), files, step)
        packed = made(GzipTarWriter(), files, step)
        self.assertTrue(gzip.decompress(packed) == plain)
        with tarfile.open(fileobj=BytesIO(plain), mode="r|", encoding="utf-8") as whole:
            for info in whole:
                each = files.pop(0)
                name = info.name.encode("utf-8", "surrogateescape")
                self.assertEqual(name, each.name)
                self.assertEqual(info.isdir(), each.content is None)
                content = whole.extractfile(info)
                self.assertTrue((content.read() if content else None) == each.content)
                self.assertEqual(info.mtime, each.mtime_ns // SECOND)
                is_executable = each.executable or each.content is None
                self.assertEqual(info.mode, 0o755 if is_executable else 0o644)
                self.assertEqual((info.uid, info.gid, info.uname, info.gname), (0, 0, "", ""))
        self.assertEqual(files, [])

    def test_end(self) -> None:
        """It ends with two empty blocks, and gzip with its trailer."""
        plain = made(TarWriter(), [Given(b"a", b"x")])
        self.assertEqual(len(plain), 512 * 4)
        self.assertEqual(plain[-1024:], bytes(1024))
        packed = made(GzipTarWriter(), [Given(b"a", b"x")])
        self.assertEqual(packed[-4:], (4 * 512).to_bytes(4, "little"))

    def test_large(self) -> None:
        """A size of more than 8 GiB is exact."""
        header = TarWriter().begin(Member(b"a", (1 << 43) + 1, LONG_AGO_NS))
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        self.assertEqual(info.size, (1 << 43) + 1)

    def test_changed(self) -> None:
        """There is no way to continue after a file that has changed."""
        for writer in (TarWriter(), GzipTarWriter()):
            torn = changing(Given(b"a", NOISE), 100)
            self.assertRaises(FileChanged, made, writer, [torn])

    def test_noise(self) -> None:
        """What does not shrink is stored, also with gzip."""
        packed = made(GzipTarWriter(), [Given(b"a", NOISE)] * 3)
        self.assertLess(len(packed), 3 * len(NOISE) + 1000)
