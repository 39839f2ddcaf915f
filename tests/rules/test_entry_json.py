"""
Entries in JSON: names that are bytes, times, modes, validators and cursors.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.server.json_text import json_text
from chatfiles.model import FileFacts
from chatfiles.rules import conditional_requests
from chatfiles.rules.entry_json import (
    Kind,
    decode_cursor,
    describe,
    encode_cursor,
    format_time,
    kind_of,
    name_members,
    ref_below,
    ref_of,
    shown,
)
from chatfiles.rules.query import parse_query

NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: not {0, b"/"[0]} & set(name))
#: 2026-11-29T10:02:03.123456789Z.
MOMENT = 1_795_946_523_123_456_789

TIMES: list[tuple[int, str]] = [
    (0, "1970-01-01T00:00:00.000000000Z"),
    (1, "1970-01-01T00:00:00.000000001Z"),
    (-1, "1969-12-31T23:59:59.999999999Z"),
    (MOMENT, "2026-11-29T10:02:03.123456789Z"),
    (951_782_400 * 10**9, "2000-02-29T00:00:00.000000000Z"),
    (2**31 * 10**9, "2038-01-19T03:14:08.000000000Z"),
    (-62_135_596_800 * 10**9, "0001-01-01T00:00:00.000000000Z"),
    (-62_135_596_801 * 10**9, "0001-01-01T00:00:00.000000000Z"),
    (253_402_300_799 * 10**9, "9999-12-31T23:59:59.000000000Z"),
    (253_402_300_800 * 10**9, "9999-12-31T23:59:59.999999999Z"),
    (2**63 * 10**9, "9999-12-31T23:59:59.999999999Z"),
]


def facts(mode: int, size: int = 5, mtime_ns: int = MOMENT) -> os.stat_result:
    """:return: the facts of something with this ``st_mode``."""
    values = (mode, 11, 22, 1, 0, 0, size, 0, mtime_ns // 10**9, 0)
    return os.stat_result(values, {"st_mtime_ns": mtime_ns, "st_ctime_ns": 33, "st_atime_ns": 0})


class NameTests(SynchronousTestCase):
    """``name``, ``ref`` and ``name_base64``."""

    def test_text(self) -> None:
        """A name in UTF-8 is shown whole, and has no base64; a ref has only unreserved bytes."""
        for name, ref in [
            (b"a.txt", "/workspace/a.txt"),
            ("Über ☃".encode(), "/workspace/%C3%9Cber%20%E2%98%83"),
            (b"new\nline", "/workspace/new%0Aline"),
            (b"a+b&c=d#e", "/workspace/a%2Bb%26c%3Dd%23e"),
            ("\ufffd".encode(), "/workspace/%EF%BF%BD"),
        ]:
            members = name_members(name, ref_of(b"/workspace/" + name))
            self.assertEqual(members, {"name": name.decode(), "ref": ref})

    def test_lossy(self) -> None:
        """Bytes that are not UTF-8 are U+FFFD in the text; base64 has the whole name."""
        for name, text in [
            (b"\xff\xfe", "\ufffd\ufffd"),
            (b"a\xe9.txt", "a\ufffd.txt"),
            (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),  # a surrogate
        ]:
            members = name_members(name, ref_of(b"/workspace/" + name))
            self.assertEqual(members["name"], text)
            self.assertEqual(base64.b64decode(str(members["name_base64"])), name)

    @given(NAMES)
    @example(b"n" * 255)
    @example(b"\xff" * 254)
    def test_every_name(self, name: bytes) -> None:
        """Every name becomes strict JSON without surrogates, and its ref is the path again."""
        parent = b"/workspace/d"
        ref = ref_below(ref_of(parent), name)
        self.assertEqual(ref, ref_of(parent + b"/" + name))
        self.assertEqual(parse_query(b"path=" + ref.encode()), {b"path": [parent + b"/" + name]})
        text = json_text(name_members(name, ref))
        members = json.loads(text.decode("utf-8"))
        members["name"].encode("utf-8")
        self.assertNotIn(b"\n", text)
        whole = members.get("name_base64")
        shown_whole = members["name"].encode() == name
        self.assertEqual(whole is None, shown_whole)
        if whole is not None:
            self.assertEqual(base64.b64decode(whole, validate=True), name)

    def test_path(self) -> None:
        """A whole path is shown by the same rule."""
        self.assertEqual(shown(b"/workspace/\xff"), "/workspace/\ufffd")


class TimeTests(SynchronousTestCase):
    """Times by RFC 3339."""

    def test_table(self) -> None:
        """Nine digits, before and after 1970; years that have no form are clamped."""
        for ns, text in TIMES:
            self.assertEqual(format_time(ns), text)

    @given(st.integers(-62_135_596_800 * 10**9, 253_402_300_800 * 10**9 - 1))
    def test_exact(self, ns: int) -> None:
        """The text has the same seconds and nanoseconds."""
        text = format_time(ns)
        seconds = datetime.strptime(text[:19] + "+0000", "%Y-%m-%dT%H:%M:%S%z")
        whole = seconds - datetime(1970, 1, 1, tzinfo=UTC)
        self.assertEqual(whole.days * 86400 + whole.seconds, ns // 10**9)
        self.assertEqual((int(text[20:29]), text[29:]), (ns % 10**9, "Z"))


class DescriptionTests(SynchronousTestCase):
    """What an entry says about each kind."""

    def test_kinds(self) -> None:
        """Four kinds; all that is no file, directory or symlink is ``other``."""
        table = [
            (stat.S_IFREG, Kind.FILE),
            (stat.S_IFDIR, Kind.DIRECTORY),
            (stat.S_IFLNK, Kind.SYMLINK),
            *((mode, Kind.OTHER) for mode in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK)),
            (stat.S_IFCHR, Kind.OTHER),
            (0, Kind.OTHER),
        ]
        for mode, kind in table:
            self.assertIs(kind_of(mode | 0o644), kind)

    def test_file(self) -> None:
        """A file has all members, in this order."""
        found = facts(stat.S_IFREG | 0o644)
        members = describe(b"a.tar.gz", found, MOMENT + 10**9)
        tag = conditional_requests.etag(FileFacts.of(found), MOMENT + 10**9).decode()
        expected = {
            "type": "file",
            "size": 5,
            "mtime": "2026-11-29T10:02:03.123456789Z",
            "mode": "0644",
            "media_type": "application/gzip",
            "etag": tag,
        }
        self.assertEqual(list(members.items()), list(expected.items()))

    def test_etag(self) -> None:
        """The validator is weak while the file is younger than a second."""
        found = facts(stat.S_IFREG | 0o644)
        for age, weak in ((0, True), (10**9 - 1, True), (10**9, False)):
            tag = str(describe(b"f", found, MOMENT + age)["etag"])
            self.assertEqual(tag.startswith('W/"'), weak, age)

    def test_others(self) -> None:
        """A directory has no size; a symlink has only a time; anything else only a type."""
        table: list[tuple[int, list[str]]] = [
            (stat.S_IFDIR | 0o755, ["type", "mtime", "mode"]),
            (stat.S_IFLNK | 0o777, ["type", "mtime"]),
            (stat.S_IFIFO | 0o644, ["type"]),
        ]
        for mode, names in table:
            self.assertEqual(list(describe(b"x", facts(mode), MOMENT)), names)

    def test_modes(self) -> None:
        """The twelve permission bits, octal, with four digits."""
        for mode, text in ((0, "0000"), (0o7, "0007"), (0o644, "0644"), (0o4755, "4755")):
            self.assertEqual(describe(b"x", facts(stat.S_IFREG | mode), 0)["mode"], text)
        self.assertEqual(describe(b"x", facts(stat.S_IFDIR | 0o1777), 0)["mode"], "1777")


class CursorTests(SynchronousTestCase):
    """Cursors are names."""

    @given(NAMES)
    @example(b"n" * 255)
    def test_round_trip(self, name: bytes) -> None:
        """Every name is a cursor, in base64url without padding, or with it."""
        cursor = encode_cursor(name)
        self.assertEqual(decode_cursor(cursor.encode()), name)
        self.assertNotIn("=", cursor)
        self.assertEqual(decode_cursor(base64.urlsafe_b64encode(name)), name)

    def test_invalid(self) -> None:
        """Anything else is refused."""
        for cursor in (
            b"",
            b"=",
            b"====",
            b"A",  # no whole byte
            b"AAAAA",
            b"YQ=",  # half of the padding
            b"YQ===",
            b"YWI==",
            b"YWJj=",
            b"Y Q",
            b"YQ\n",
            b"a/b_",
            b"a+b_",
            "ä".encode(),
            encode_cursor(b"a/b").encode(),
            encode_cursor(b"a\0b").encode(),
            encode_cursor(b"n" * 256).encode(),
        ):
            self.assertIs(decode_cursor(cursor), None, cursor)

    @given(st.binary(max_size=400))
    def test_any_bytes(self, cursor: bytes) -> None:
        """Whatever is given, the result is a name of valid form or ``None``."""
        name = decode_cursor(cursor)
        self.assertTrue(name is None or (1 <= len(name) <= 255 and b"/" not in name))
