"""
Tests for `chatfiles.workspace.archive.zip_members`.
"""

from __future__ import annotations

import random
import stat
import struct
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.archive.deflate import longest
from chatfiles.workspace.archive.member import Member
from chatfiles.workspace.archive.zip_members import FULL_32, ZipWriter, escaped
from tests.workspace.archive.making import LONG_AGO_NS, Given, changing, made

NOISE = random.Random(1).randbytes(300_000)
SECOND = 10**9

ESCAPED: Sequence[tuple[bytes, bytes]] = [
    (b"plain.txt", b"plain.txt"),
    (b"50%", b"50%"),
    ("é\u2028\u202e".encode(), "é\u2028\u202e".encode()),
    (b" ", b" "),
    (b"a:b", b"a:b"),
    (b"CON.", b"CON."),
    (b"a\\b", b"a%5Cb"),
    (b"a\\50%", b"a%5C50%25"),
    (b"\xff", b"%FF"),
    (b"\xff%", b"%FF%25"),
    (b"\xed\xa0\x80", b"%ED%A0%80"),
    (b"\xc3\xa9\xff", b"\xc3\xa9%FF"),
    (b"\x01\n\x7f", b"%01%0A%7F"),
    ("\u0085".encode(), b"%C2%85"),
]

FILES = st.builds(
    Given,
    name=st.text("abc/é%", min_size=1, max_size=8).map(lambda text: f"f-{text}".encode()),
    content=st.one_of(
        st.none(), st.binary(max_size=300), st.sampled_from([NOISE, b"text" * 90_000])
    ),
    mtime_ns=st.integers(315_532_800 * SECOND, 4_354_819_198 * SECOND),
    executable=st.booleans(),
)


def read(archive: bytes) -> zipfile.ZipFile:
    """:return: the archive, every member of which was read."""
    whole = zipfile.ZipFile(BytesIO(archive))
    if (bad := whole.testzip()) is not None:
        raise AssertionError(bad)
    return whole


def local_header(archive: bytes, at: int = 0) -> tuple[int, ...]:
    """:return: version, flags, method, time, date, checksum, two sizes and two lengths."""
    return struct.unpack_from("<HHHHHLLLHH", archive, at + 4)


class EscapeTests(SynchronousTestCase):
    """Names that a zip cannot have."""

    def test_table(self) -> None:
        """Each name has the form of the table."""
        for name, expected in ESCAPED:
            self.assertEqual(escaped(name), expected)

    @given(st.binary(min_size=1, max_size=20))
    def test_any(self, name: bytes) -> None:
        """The result is UTF-8 that can be shown, and another one for another name."""
        text = escaped(name).decode("utf-8")
        self.assertNotIn("\\", text)
        self.assertFalse(any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text))


class ZipTests(SynchronousTestCase):
    """Whole archives, as ``zipfile`` reads them."""

    maxDiff = None

    @given(
        st.lists(FILES, max_size=6, unique_by=lambda each: each.name), st.integers(70_000, 300_000)
    )
    def test_members(self, files: list[Given], step: int) -> None:
        """Names, contents, times and modes are those that were given."""
        whole = read(made(ZipWriter(), files, step))
        for info, each in zip(whole.infolist(), files, strict=True):
            is_directory = each.content is None
            self.assertEqual(info.filename.encode(), each.name + (b"/" if is_directory else b""))
            self.assertTrue(whole.read(info) == (each.content or b""))
            when = datetime.fromtimestamp(each.mtime_ns // SECOND, UTC)
            even = when.replace(second=when.second & ~1)
            self.assertEqual(info.date_time, even.timetuple()[:6])
            mode = 0o755 if is_directory or each.executable else 0o644
            kind = stat.S_IFDIR if is_directory else stat.S_IFREG
            self.assertEqual((info.external_attr >> 16, info.create_system), (kind | mode, 3))

    def test_headers(self) -> None:
        """A file is deflated with a descriptor; a name that is not ASCII has the UTF-8 flag."""
        for name, content, expected in (
            (b"a", b"x", (20, 0x8, 8)),
            (b"a", b"", (20, 0x8, 8)),
            ("é".encode(), b"x", (20, 0x808, 8)),
            (b"d", None, (20, 0, 0)),
            ("é".encode(), None, (20, 0x800, 0)),
        ):
            archive = made(ZipWriter(), [Given(name, content)])
            self.assertEqual(local_header(archive)[:3], expected)
            (info,) = read(archive).infolist()
            found = (info.extract_version, info.flag_bits, info.compress_type)
            self.assertEqual(found, expected)

    def test_extended_timestamp(self) -> None:
        """The time is in both headers, in UTC, if it has 32 bits."""
        for seconds, expected in (
            (LONG_AGO_NS // SECOND, b"UT\x05\x00\x01" + struct.pack("<l", 1_600_000_000)),
            (-1, b"UT\x05\x00\x01\xff\xff\xff\xff"),
            (1 << 31, b""),
        ):
            archive = made(ZipWriter(), [Given(b"a", b"x", seconds * SECOND + 999)])
            length = local_header(archive)[-1]
            self.assertEqual(archive[31 : 31 + length], expected)
            (info,) = read(archive).infolist()
            self.assertEqual(info.extra, expected)

    def test_times_that_dos_does_not_know(self) -> None:
        """They become the first or last that it knows."""
        for seconds, year in ((-(10**11), 1980), (0, 1980), (10**11, 2107)):
            (info,) = read(made(ZipWriter(), [Given(b"a", b"", seconds * SECOND)])).infolist()
            self.assertEqual(info.date_time[0], year)

    def test_level(self) -> None:
        """What does not shrink is not compressed."""
        noise, text = (
            read(made(ZipWriter(), [Given(b"a", content)])).infolist()[0].compress_size
            for content in (NOISE, bytes(300_000))
        )
        self.assertTrue(len(NOISE) < noise < longest(len(NOISE)))
        self.assertLess(text, 3000)


class ChangedTests(SynchronousTestCase):
    """Files that change while they are read."""

    def test_left_out(self) -> None:
        """The central directory does not contain them, and what follows can be read."""
        others = [Given(b"a", b"one"), Given(b"c", NOISE)]
        for content in (NOISE, b"text" * 90_000, b"x"):
            for missing in (len(content), len(content) // 2, 1):
                torn = changing(Given(b"b", content), missing)
                archive = made(ZipWriter(), [others[0], torn, others[1]], 100_000)
                whole = read(archive)
                self.assertEqual(whole.namelist(), ["a", "c"])
                self.assertTrue(whole.read("c") == NOISE)
                self.assertIn(b"b", archive)

    def test_padded(self) -> None:
        """In the stream they have their length, zeros at the end, and a wrong checksum."""
        archive = made(ZipWriter(), [changing(Given(b"b", NOISE), 250_000)], 50_000)
        length = sum(local_header(archive)[-2:])
        inflate = zlib.decompressobj(-15)
        content = inflate.decompress(archive[30 + length :])
        self.assertTrue(content == NOISE[:50_000] + bytes(250_000))
        signature, crc, _, size = struct.unpack_from("<4sLLL", inflate.unused_data)
        self.assertEqual((signature, size), (b"PK\x07\x08", len(NOISE)))
        self.assertNotEqual(crc, zlib.crc32(content))

    def test_zeros_take_no_space(self) -> None:
        """The zeros are compressed, also if the file is not."""
        archive = made(ZipWriter(), [changing(Given(b"b", NOISE + bytes(10**7)), 10**7)], 300_000)
        self.assertLess(len(archive), len(NOISE) + 10**5)


class Zip64Tests(SynchronousTestCase):
    """Archives that need 64 bits."""

    def test_header_of_a_large_file(self) -> None:
        """The size decides, before the first byte; any length that it may have has to fit."""
        largest = bisect_left(range(FULL_32), FULL_32, key=longest) - 1
        for size, is_wide in (
            (largest - 10_000_000, False),
            (largest, False),
            (largest + 1, True),
            (FULL_32, True),
            (1 << 40, True),
        ):
            header = ZipWriter().begin(Member(b"a", size, LONG_AGO_NS))
            version, *_, compressed, given, name, extra = local_header(header)
            expected = (45, FULL_32, FULL_32) if is_wide else (20, 0, 0)
            self.assertEqual((version, compressed, given), expected)
            self.assertEqual(len(header), 30 + name + extra)
            self.assertEqual(b"\x01\0\x10\0" + bytes(16) in header, is_wide)

    def test_far(self) -> None:
        """Members behind the first 4 GiB are found."""
        given = [Given(b"d", None), Given(b"a", NOISE), Given(b"b", b"x")]
        for offset in (FULL_32 - 1, FULL_32, FULL_32 + 1, 1 << 40):
            archive = made(ZipWriter(offset), given)
            whole = zipfile.ZipFile(Sparse(archive, offset))
            self.assertEqual(whole.testzip(), None)
            self.assertEqual(whole.getinfo("d/").header_offset, offset)
            self.assertTrue(whole.read("a") == NOISE)

    def test_many(self) -> None:
        """65535 members, and one more and less."""
        for count in (65534, 65535, 65536):
            archive = made(ZipWriter(), [Given(b"d%d" % n, None) for n in range(count)])
            # Not `read`, which opens each member: that takes long.
            self.assertEqual(len(zipfile.ZipFile(BytesIO(archive)).namelist()), count)
            self.assertEqual(b"PK\x06\x06" in archive, count >= 65535)


class Sparse(BytesIO):
    """A file that begins with *offset* bytes which no reader needs."""

    def __init__(self, content: bytes, offset: int) -> None:
        super().__init__(content)
        self._offset = offset

    def seek(self, at: int, whence: int = 0) -> int:
        """See `BytesIO.seek`."""
        return super().seek(at - self._offset if whence == 0 else at, whence) + self._offset

    def tell(self) -> int:
        """See `BytesIO.tell`."""
        return super().tell() + self._offset
