"""
Cases for ranges, conditions, and the headers of every response (reference/downloads, "Ranges and
conditions"), for both ways to a file.
"""

from __future__ import annotations

import os
import random
import time
from email.utils import formatdate

from tests.live.processes import LONG_AGO, lines_of
from tests.live.rawhttp import Response
from tests.live.transfers import MIB, Way

__all__ = ["RangeCases"]

DATE = formatdate(LONG_AGO, usegmt=True)
EARLIER, LATER = (formatdate(LONG_AGO + by, usegmt=True) for by in (-1, 1))


class RangeCases(Way):
    """Ranges and conditions (RFC 9110), and the headers of every response."""

    # ``Range`` → status, ``Content-Range`` for a file of 11 bytes.
    RANGES: tuple[tuple[str, int, str | None], ...] = (
        ("bytes=0-0", 206, "bytes 0-0/11"),
        ("bytes=0-4", 206, "bytes 0-4/11"),
        ("bytes=3-7", 206, "bytes 3-7/11"),
        ("bytes=0-10", 206, "bytes 0-10/11"),
        ("bytes=0-", 206, "bytes 0-10/11"),
        ("bytes=2-", 206, "bytes 2-10/11"),
        ("bytes=10-10", 206, "bytes 10-10/11"),
        ("bytes=10-", 206, "bytes 10-10/11"),
        ("bytes=5-1000", 206, "bytes 5-10/11"),
        ("bytes=5-99999999999999999999999999", 206, "bytes 5-10/11"),
        ("bytes=000-004", 206, "bytes 0-4/11"),
        ("bytes=-1", 206, "bytes 10-10/11"),
        ("bytes=-11", 206, "bytes 0-10/11"),
        ("bytes=-12", 206, "bytes 0-10/11"),
        ("bytes=-1000", 206, "bytes 0-10/11"),
        ("bytes=-99999999999999999999", 206, "bytes 0-10/11"),
        ("Bytes=0-4", 206, "bytes 0-4/11"),
        ("bytes=0-4\t", 206, "bytes 0-4/11"),
        ("bytes= 0-4", 206, "bytes 0-4/11"),
        ("bytes=,0-4,", 206, "bytes 0-4/11"),
        ("bytes=11-", 416, "bytes */11"),
        ("bytes=11-11", 416, "bytes */11"),
        ("bytes=11-20", 416, "bytes */11"),
        ("bytes=99999999999999999999999-", 416, "bytes */11"),
        ("bytes=-0", 416, "bytes */11"),
        ("bytes=-000", 416, "bytes */11"),
        ("bytes=", 200, None),
        ("bytes", 200, None),
        ("bytes=-", 200, None),
        ("bytes=--1", 200, None),
        ("bytes=4-3", 200, None),
        ("bytes=5-4,", 200, None),
        ("bytes=a-b", 200, None),
        ("bytes=0x1-0x4", 200, None),
        ("bytes=1.5-3", 200, None),
        ("bytes=+1-4", 200, None),
        ("bytes=1-+4", 200, None),
        ("bytes=0 - 4", 200, None),
        ("bytes =0-4", 200, None),
        ("bytes:0-4", 200, None),
        ("bytes=0-4;q=1", 200, None),
        ("bytes=0-4-5", 200, None),
        ("bytes=１-2", 200, None),
        ("octets=0-4", 200, None),
        ("items=0-4", 200, None),
        ("=0-4", 200, None),
        ("0-4", 200, None),
        ("none", 200, None),
        ("\xff=0-4", 200, None),
        ("bytes=\xff-4", 200, None),
    )

    SEVERAL: tuple[str, ...] = (
        "bytes=0-0,-1",
        "bytes=0-1,5-8",
        "bytes=5-8,0-1",
        "bytes=0-4,2-6",
        "bytes=0-,0-,0-,0-",
        "bytes=0-,1-,2-,3-,4-",
        "bytes=0-1,20-30",
        "bytes=" + ",".join(["0-0"] * 1000),
        "bytes=" + ",".join(f"{n}-{n}" for n in range(11)),
    )

    CONTENT = b"hello world"

    def write_eleven(self) -> None:
        """Write the file that these tests request."""
        self.pair.write("workspace/eleven.txt", self.CONTENT)

    def eleven(
        self, fields: dict[str, str] | list[tuple[str, str]], method: str = "GET"
    ) -> Response:
        """:return: the response to a request for the file."""
        if isinstance(fields, dict):
            fields = list(fields.items())
        raw = [(name, value.encode().decode("latin-1")) for name, value in fields]
        return self.get("/workspace/eleven.txt", raw, method=method)

    def test_ranges(self) -> None:
        """One range returns that part; an unsatisfiable one is 416; an invalid one is ignored."""
        self.write_eleven()
        for given, status, content_range in self.RANGES:
            answer = self.eleven({"Range": given})
            self.assertEqual(
                (answer.status, answer.get("content-range")), (status, content_range), given
            )
            if status == 206:
                first, last = map(int, answer["content-range"][6:].split("/")[0].split("-"))
                self.assertEqual(answer.body, self.CONTENT[first : last + 1], given)
                self.assertEqual(answer["content-length"], str(len(answer.body)))
                self.assertEqual(answer["accept-ranges"], "bytes")
            elif status == 200:
                self.assertEqual(answer.body, self.CONTENT, given)
            else:
                self.assert_error(answer, 416, "range not satisfiable", given)

    def test_several_ranges(self) -> None:
        """Several ranges return the whole file, so that they cost no more than it."""
        self.write_eleven()
        for given in self.SEVERAL:
            answer = self.eleven({"Range": given})
            self.assertEqual((answer.status, answer.body), (200, self.CONTENT), given[:40])
        twice = [("Range", "bytes=0-0"), ("Range", "bytes=1-1")]
        answer = self.eleven(twice)
        self.assertEqual((answer.status, answer.body), (200, self.CONTENT))

    def test_ranges_of_nothing(self) -> None:
        """A range of an empty file is unsatisfiable."""
        self.pair.write("workspace/nothing", b"")
        for given, status in (("bytes=0-", 416), ("bytes=0-0", 416), ("bytes=-0", 416)):
            answer = self.get("/workspace/nothing", {"Range": given})
            self.assertEqual((answer.status, answer["content-range"]), (status, "bytes */0"))
        answer = self.get("/workspace/nothing", {"Range": "bytes=-1"})
        self.assertIn(answer.status, (200, 416))

    def test_parts_make_the_whole(self) -> None:
        """A download that is resumed with ``Range`` and ``If-Range`` yields the file."""
        content = random.Random(3).randbytes(3 * MIB)
        self.pair.write("workspace/parts.bin", content)
        tag = self.get("/workspace/parts.bin", method="HEAD")["etag"]
        got = b""
        for size in (1, 65535, 65536, 65537, MIB, 2 * MIB):
            wanted = f"bytes={len(got)}-{len(got) + size - 1}"
            answer = self.get("/workspace/parts.bin", {"Range": wanted, "If-Range": tag})
            self.assertEqual((answer.status, answer["etag"]), (206, tag))
            got += answer.body
        self.assertTrue(got == content)

    def test_conditions(self) -> None:
        """Every condition of RFC 9110, 13, is evaluated, in the order that it requires."""
        self.write_eleven()
        tag = self.eleven({})["etag"]
        self.assertRegex(tag, r'\A"[^"]+"\Z')
        weak, other = f"W/{tag}", '"other"'
        for fields, status in (
            ({"If-None-Match": tag}, 304),
            ({"If-None-Match": weak}, 304),
            ({"If-None-Match": "*"}, 304),
            ({"If-None-Match": f"{other}, {tag}"}, 304),
            ({"If-None-Match": f"{other},,{weak} , "}, 304),
            ({"If-None-Match": other}, 200),
            ({"If-None-Match": tag.strip('"')}, 200),
            ({"If-None-Match": ""}, 200),
            ({"If-Match": tag}, 200),
            ({"If-Match": "*"}, 200),
            ({"If-Match": f"{other}, {tag}"}, 200),
            ({"If-Match": other}, 412),
            ({"If-Match": weak}, 412),
            ({"If-Match": tag.strip('"')}, 412),
            ({"If-Modified-Since": DATE}, 304),
            ({"If-Modified-Since": LATER}, 304),
            ({"If-Modified-Since": EARLIER}, 200),
            ({"If-Modified-Since": "yesterday"}, 200),
            ({"If-Modified-Since": DATE.replace("GMT", "CET")}, 200),
            ({"If-Unmodified-Since": DATE}, 200),
            ({"If-Unmodified-Since": LATER}, 200),
            ({"If-Unmodified-Since": EARLIER}, 412),
            ({"If-Unmodified-Since": "tomorrow"}, 200),
            # their order (13.2.2)
            ({"If-None-Match": other, "If-Modified-Since": DATE}, 200),
            ({"If-None-Match": tag, "If-Modified-Since": EARLIER}, 304),
            ({"If-Match": tag, "If-Unmodified-Since": EARLIER}, 200),
            ({"If-Match": other, "If-None-Match": tag}, 412),
            ({"If-Match": tag, "If-None-Match": tag}, 304),
            ({"If-Match": other, "Range": "bytes=0-1"}, 412),
            ({"If-None-Match": tag, "Range": "bytes=0-1"}, 304),
            ({"If-None-Match": tag, "Range": "bytes=11-"}, 304),
            ({"If-None-Match": other, "Range": "bytes=0-1"}, 206),
            ({"If-None-Match": other, "Range": "bytes=11-"}, 416),
            # If-Range
            ({"If-Range": tag, "Range": "bytes=0-1"}, 206),
            ({"If-Range": DATE, "Range": "bytes=0-1"}, 206),
            ({"If-Range": other, "Range": "bytes=0-1"}, 200),
            ({"If-Range": weak, "Range": "bytes=0-1"}, 200),
            ({"If-Range": EARLIER, "Range": "bytes=0-1"}, 200),
            ({"If-Range": LATER, "Range": "bytes=0-1"}, 200),
            ({"If-Range": "nonsense", "Range": "bytes=0-1"}, 200),
            ({"If-Range": other, "Range": "bytes=11-"}, 200),
            ({"If-Range": tag}, 200),
        ):
            answer, head = self.eleven(fields), self.eleven(fields, "HEAD")
            self.assertEqual(answer.status, status, fields)
            self.assertEqual(head.status, status, fields)
            self.assertEqual(lines_of(head.fields), lines_of(answer.fields), fields)
            if status == 304:
                self.assertEqual((answer["etag"], answer["last-modified"]), (tag, DATE), fields)
                self.assertIsNone(answer.get("content-range"))
            elif status == 412:
                self.assert_error(answer, 412, "precondition failed", fields)
            elif status == 200:
                self.assertEqual(answer.body, self.CONTENT, fields)

    #: Headers of every response with content of the file, and of every error.
    OF_FILES = frozenset(
        [
            "accept-ranges",
            "cache-control",
            "content-disposition",
            "content-length",
            "content-security-policy",
            "content-type",
            "etag",
            "last-modified",
            "x-content-type-options",
        ]
    )
    OF_ERRORS = frozenset(
        ["cache-control", "content-length", "content-type", "x-content-type-options"]
    )

    def test_fields_of_each_status(self) -> None:
        """A response has exactly the headers of its status, for ``GET`` and for ``HEAD``."""
        self.write_eleven()
        tag = self.eleven({})["etag"]
        for asked, status, names, cached in (
            ({}, 200, self.OF_FILES, "private, no-cache"),
            ({"Range": "bytes=2-"}, 206, self.OF_FILES | {"content-range"}, "private, no-cache"),
            (
                {"If-None-Match": tag},
                304,
                {"cache-control", "etag", "last-modified"},
                "private, no-cache",
            ),
            ({"If-Match": '"x"'}, 412, self.OF_ERRORS, "no-store"),
            ({"Range": "bytes=11-"}, 416, self.OF_ERRORS | {"content-range"}, "no-store"),
        ):
            for method in ("GET", "HEAD"):
                answer = self.eleven(asked, method)
                told = {name for name, _ in answer.fields}
                told -= {"connection", "date", "server", "x-request-id"}
                if self.hop == "through" and status > 400:
                    told -= {"content-security-policy"}  # the text may be a workspace's
                self.assertEqual((answer.status, told), (status, set(names)), (asked, method))
                self.assertEqual(answer["cache-control"], cached, (asked, method))

    def test_validators(self) -> None:
        """The entity tag changes with every change, and is weak while it may miss one."""
        path = self.pair.write("workspace/tagged.txt", b"one")
        tags = [self.get("/workspace/tagged.txt")["etag"]]
        self.assertEqual(self.get("/workspace/tagged.txt")["last-modified"], DATE)

        def other(what: str, *, strong: bool) -> None:
            tag = self.get("/workspace/tagged.txt")["etag"]
            self.assertNotIn(tag.removeprefix("W/"), tags, what)
            self.assertEqual(tag.startswith("W/"), not strong, what)
            tags.append(tag.removeprefix("W/"))

        self.pair.write("workspace/tagged.txt", b"two")
        other("same size and mtime, rewritten in place", strong=True)
        os.utime(path, (LONG_AGO, LONG_AGO + 1))
        other("another mtime", strong=True)
        self.pair.write("workspace/tagged-2.txt", b"two")
        os.rename(self.pair.at("workspace", "tagged-2.txt"), path)
        other("replaced by a file of same size and mtime", strong=True)
        with open(path, "ab") as file:
            file.write(b"!")
        other("just now", strong=False)
        os.utime(path, (time.time() + 3600, time.time() + 3600))
        other("in the future", strong=False)

    def test_a_weak_tag_joins_nothing(self) -> None:
        """While a file's tag is weak, ``If-Range`` with it or the date returns the whole file."""
        with open(self.pair.at("workspace", "fresh.txt"), "wb") as file:
            file.write(b"fresh")
        path = self.pair.at("workspace", "fresh.txt")
        future = time.time() + 3600
        os.utime(path, (future, future))
        answer = self.get("/workspace/fresh.txt")
        for condition in (answer["etag"], answer["last-modified"]):
            again = self.get("/workspace/fresh.txt", {"Range": "bytes=0-1", "If-Range": condition})
            self.assertEqual((again.status, again.body), (200, b"fresh"), condition)

    TYPES: tuple[tuple[str, str, bool], ...] = (
        ("a.txt", "text/plain; charset=utf-8", True),
        ("A.TXT", "text/plain; charset=utf-8", True),
        ("a.png", "image/png", True),
        ("a.jpeg", "image/jpeg", True),
        ("a.gif", "image/gif", True),
        ("a.webp", "image/webp", True),
        ("a.pdf", "application/pdf", True),
        ("a.mp4", "video/mp4", True),
        ("a.mp3", "audio/mpeg", True),
        ("a.html", "text/html", False),
        ("a.htm", "text/html", False),
        ("a.xhtml", "application/xhtml+xml", False),
        ("a.svg", "image/svg+xml", False),
        ("a.xml", "application/xml", False),
        ("a.js", "text/javascript; charset=utf-8", False),
        ("a.css", "text/css; charset=utf-8", False),
        ("a.json", "application/json", False),
        ("a.zip", "application/zip", False),
        ("a.gz", "application/gzip", False),
        ("a.tar.gz", "application/gzip", False),
        ("a.html.gz", "application/gzip", False),
        ("a.txt.bz2", "application/x-bzip2", False),
        ("a.svg.xz", "application/x-xz", False),
        ("a.bin", "application/octet-stream", False),
        ("a.unheard-of", "application/octet-stream", False),
        ("a", "application/octet-stream", False),
        ("html", "application/octet-stream", False),
        ("a.txt.", "application/octet-stream", False),
    )

    def test_fields(self) -> None:
        """
        A response has exactly the headers of reference/downloads, "Headers"; it is ``inline`` only
        on request, and only for types that are safe to view.
        """
        for name, content_type, viewable in self.TYPES:
            self.pair.write(f"workspace/types/{name}", b"12345")
            for more, inline in (("", False), ("&disposition=inline", True)):
                answer = self.get(f"/workspace/types/{name}", more=more)
                shown = inline and viewable
                told = dict(answer.fields)
                policy = told.pop("content-security-policy")
                if not shown:
                    self.assertEqual(policy, "default-src 'none'; sandbox", name)
                else:
                    self.assertRegex(policy, r"\bdefault-src 'none'", name)
                    self.assertRegex(policy, r"(\A|; ?)sandbox\b", name)
                    self.assertNotIn("allow-scripts", policy)
                kind = "inline" if shown else "attachment"
                self.assertEqual(
                    told.pop("content-disposition"),
                    f"{kind}; filename=\"{name}\"; filename*=UTF-8''{name}",
                )
                self.assertRegex(told.pop("etag"), r'\A"[!#-~]{8,}"\Z')
                self.assertEqual(told.pop("last-modified"), DATE)
                for changing in ("date", "server", "x-request-id", "connection"):
                    told.pop(changing)
                self.assertEqual(
                    told,
                    {
                        "content-type": content_type,
                        "content-length": "5",
                        "accept-ranges": "bytes",
                        "cache-control": "private, no-cache",
                        "x-content-type-options": "nosniff",
                    },
                    (name, more),
                )

    def test_not_encoded(self) -> None:
        """The bytes of the file are sent as they are, whatever ``Accept-Encoding`` says."""
        self.pair.write("workspace/plain.txt", b"a" * 10_000)
        for accepted in ("gzip", "gzip, deflate, br, zstd", "*", "identity;q=0", "identity"):
            answer = self.get("/workspace/plain.txt", {"Accept-Encoding": accepted})
            self.assertEqual((answer.status, answer.body), (200, b"a" * 10_000))
            self.assertIsNone(answer.get("content-encoding"))
