"""
Tests for `chatfiles.http.message_head.response`.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.message_head import response
from chatfiles.http.message_head.response import (
    MAX_HEAD_BYTES,
    MAX_INTERIM,
    BadResponse,
    HeadScanner,
    ResponseHead,
)
from chatfiles.http.message_head.rules import MAX_HEADER_LINES

OK = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LENGTH = b"Content-Length: 3\r\n\r\n"
FILLED = OK + LENGTH


def scan(raw: bytes, method: bytes = b"GET") -> ResponseHead:
    """:return: the result for *raw*, which must contain all headers."""
    head = HeadScanner(method).feed(raw)
    assert head is not None
    return head


def drip(raw: bytes, size: int, method: bytes = b"GET") -> ResponseHead | str | None:
    """
    :return: the result of feeding *raw* in pieces: the parsed headers, the reason of the
        rejection, or nothing.
    """
    scanner = HeadScanner(method)
    for start in range(0, len(raw), size):
        try:
            head = scanner.feed(raw[start : start + size])
        except BadResponse as error:
            return str(error)
        if head is not None:
            return head._replace(rest=head.rest + raw[start + size :])
    return None


#: Raw response to a GET, and (status, length, chunked, has_body, persistent, rest).
GOOD = [
    (FILLED + b"abc", (200, 3, False, True, True, b"abc")),
    (b"HTTP/1.1 200\r\n" + LENGTH, (200, 3, False, True, True, b"")),
    (b"HTTP/1.1 200 \r\n" + LENGTH, (200, 3, False, True, True, b"")),
    (b"HTTP/1.1 200 \xfcber\tgut\r\n" + LENGTH, (200, 3, False, True, True, b"")),
    (b"HTTP/1.1 206 Partial\r\n" + LENGTH, (206, 3, False, True, True, b"")),
    (b"HTTP/1.1 404 Not Found\r\n" + LENGTH, (404, 3, False, True, True, b"")),
    (b"HTTP/1.1 599 x\r\n" + LENGTH, (599, 3, False, True, True, b"")),
    (b"HTTP/1.0 200 OK\r\n" + LENGTH + b"abc", (200, 3, False, True, False, b"abc")),
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + LENGTH, (200, 3, False, True, False, b"")),
    (OK + b"Connection: close\r\n" + LENGTH, (200, 3, False, True, False, b"")),
    (OK + b"CONNECTION: Keep-Alive , CLOSE\r\n" + LENGTH, (200, 3, False, True, False, b"")),
    (OK + b"Connection: a\r\nConnection:\tclose\r\n" + LENGTH, (200, 3, False, True, False, b"")),
    (OK + b"Connection: closed\r\n" + LENGTH, (200, 3, False, True, True, b"")),
    (OK + b"content-length:0\r\n\r\n", (200, 0, False, True, True, b"")),
    (OK + b"Content-Length:\t 007 \t\r\n\r\n", (200, 7, False, True, True, b"")),
    (OK + b"Content-Length: 9223372036854775807\r\n\r\n", (200, 2**63 - 1, False, True, True, b"")),
    (OK + b"Content-Length: 3\r\n" + LENGTH, (200, 3, False, True, True, b"")),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", (200, None, True, True, True, b"0\r\n")),
    (OK + b"Transfer-Encoding:CHUNKED \r\n\r\n", (200, None, True, True, True, b"")),
    (OK + b"Content-Encoding: identity\r\n" + LENGTH, (200, 3, False, True, True, b"")),
    (
        OK + b"X-Odd!#$%&'*+-.^_`|~: \xff\x80\t x\r\nEmpty:\r\n" + LENGTH,
        (200, 3, False, True, True, b""),
    ),
    (b"HTTP/1.1 204 No Content\r\n\r\n", (204, None, False, False, True, b"")),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", (204, 0, False, False, True, b"")),
    (b"HTTP/1.1 204 No Content\r\n" + LENGTH + b"abc", (204, 3, False, False, False, b"abc")),
    (
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        (204, None, True, False, False, b""),
    ),
    (b"HTTP/1.1 304 Not Modified\r\n" + LENGTH, (304, 3, False, False, True, b"")),
    (
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        (304, None, True, False, False, b""),
    ),
    (CONTINUE + FILLED + b"abc", (200, 3, False, True, True, b"abc")),
    (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + FILLED, (200, 3, False, True, True, b"")),
    (CONTINUE * MAX_INTERIM + FILLED, (200, 3, False, True, True, b"")),
]

BAD = [
    # the status line
    (b"\r\n" + FILLED, "not HTTP/1"),
    (b"HTTP/2 200 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.2 200 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.10 200 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/01.1 200 OK\r\n" + LENGTH, "status line"),
    (b"http/1.1 200 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.1  200 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.1\t200 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.1 20 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.1 2000 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.1 +20 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.1 099 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.1 600 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.1 abc OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.1 200OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.1 200 O\x00K\r\n" + LENGTH, "status line"),
    (b"ICY 200 OK\r\n" + LENGTH, "status line"),
    (b"HTTP/1.1 200 OK\n" + LENGTH, "status line"),
    (b"HTTP/1.1 200 OK\r" + LENGTH, "status line"),
    # header lines
    (OK + b"X : y\r\n" + LENGTH, "field line"),
    (OK + b" X: y\r\n" + LENGTH, "field line"),
    (OK + b"X: y\r\n folded\r\n" + LENGTH, "field line"),
    (OK + b"X: y\r\n\tfolded\r\n" + LENGTH, "field line"),
    (OK + b": nameless\r\n" + LENGTH, "field line"),
    (OK + b"no colon\r\n" + LENGTH, "field line"),
    (OK + b"X y: z\r\n" + LENGTH, "field line"),
    (OK + b"X\xfc: z\r\n" + LENGTH, "field line"),
    (OK + b"X@: z\r\n" + LENGTH, "field line"),
    (OK + b"X: a\x00b\r\n" + LENGTH, "field line"),
    (OK + b"X: a\x0bb\r\n" + LENGTH, "field line"),
    (OK + b"X: a\x7fb\r\n" + LENGTH, "field line"),
    (OK + b"X: a\rSet-Cookie: x=1\r\n" + LENGTH, "field line"),
    (OK + b"X: a\nSet-Cookie: x=1\r\n" + LENGTH, "field line"),
    (OK + b"X: a\r\r\n" + LENGTH, "field line"),
    (OK + b"X: y\r\n" * (MAX_HEADER_LINES + 1) + b"\r\n", "too many fields"),
    # the length
    (OK + b"\r\n", "no length"),
    (b"HTTP/1.0 200 OK\r\n\r\nabc", "no length"),
    (b"HTTP/1.1 404 Not Found\r\n\r\n", "no length"),
    (OK + b"Content-Length: \r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: -5\r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: +5\r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: abc\r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: 0x10\r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: 5 5\r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: 5, 5\r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: 5;x\r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: 1_0\r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: \xb2\r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: 9223372036854775808\r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: " + b"0" * 20 + b"\r\n\r\n", "bad Content-Length"),
    (OK + b"Content-Length: 4\r\n" + LENGTH, "bad Content-Length"),
    (OK + b"Content-Length: 03\r\n" + LENGTH, "bad Content-Length"),
    (OK + b"content-length: 4\r\nX: y\r\nCONTENT-LENGTH: 3\r\n\r\n", "bad Content-Length"),
    # the coding
    (OK + b"Transfer-Encoding: chunked\r\n" + LENGTH, "ambiguous"),
    (OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "ambiguous"),
    (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "ambiguous"),
    (OK + b"Transfer-Encoding: identity\r\n" + LENGTH, "transfer coding"),
    (OK + b"Transfer-Encoding: gzip\r\n\r\n", "transfer coding"),
    (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "transfer coding"),
    (OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n", "transfer coding"),
    (OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n", "transfer coding"),
    (OK + b"Transfer-Encoding: chunked;q=1\r\n\r\n", "transfer coding"),
    (OK + b'Transfer-Encoding: "chunked"\r\n\r\n', "transfer coding"),
    (OK + b"Transfer-Encoding:\r\n" + LENGTH, "transfer coding"),
    (OK + b"Content-Encoding: gzip\r\n" + LENGTH, "content coding"),
    (OK + b"Content-Encoding: identity, gzip\r\n" + LENGTH, "content coding"),
    (OK + b"Content-Encoding: identity\r\nContent-Encoding: br\r\n" + LENGTH, "content coding"),
    (b"HTTP/1.1 500 x\r\nContent-Encoding: gzip\r\n" + LENGTH, "content coding"),
    # redirects and interim responses
    (b"HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\n" + LENGTH, "redirect"),
    (b"HTTP/1.1 300 Multiple\r\n" + LENGTH, "redirect"),
    (b"HTTP/1.1 399 x\r\n" + LENGTH, "redirect"),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\n\r\nraw", "upgrade"),
    (CONTINUE + b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "upgrade"),
    (CONTINUE * (MAX_INTERIM + 1), "too many interim"),
    (b"HTTP/1.1 100 Continue\r\n" + LENGTH + b"abc" + FILLED, "interim response with a body"),
    (
        b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        "interim response with a body",
    ),
    (CONTINUE + b"\r\n" + FILLED, "not HTTP/1"),
]


class HeadScannerTests(SynchronousTestCase):
    """Only a response whose end is certain is accepted."""

    def test_good(self):
        """A valid response is accepted, with the framing of its body."""
        for raw, expected in GOOD:
            head = scan(raw)
            self.assertEqual(
                (head.status, head.length, head.chunked, head.has_body, head.persistent, head.rest),
                expected,
                raw,
            )

    def test_bad(self):
        """A response that two parsers may read differently is rejected."""
        for raw, reason in BAD:
            error = self.assertRaises(BadResponse, HeadScanner(b"GET").feed, raw)
            if reason not in ("status line", "not HTTP/1"):
                self.assertIn(reason, str(error), raw)
            else:
                self.assertTrue(str(error), raw)

    def test_in_pieces(self):
        """The result does not depend on how the network divides a response."""
        for raw, _ in GOOD:
            for size in (1, 2, 3, 7):
                self.assertEqual(drip(raw, size), scan(raw), raw)
        for raw, _ in BAD:
            for size in (1, 2, 3, 7):
                self.assertIsInstance(drip(raw, size), str, raw)

    def test_in_two(self):
        """Nor does it depend on where a response is divided, even after long interim responses."""
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 200 + b"\r\n\r\n"
        for raw in (hints + b"HTTP/1.1 204\r\n\r\n", hints + hints + FILLED + b"abc"):
            for end in range(1, len(raw)):
                scanner = HeadScanner(b"GET")
                head = scanner.feed(raw[:end])
                if head is None:
                    head = scanner.feed(raw[end:])
                    self.assertEqual(head, scan(raw), end)

    def test_fields(self):
        """Headers are returned in order, with names in lower case and otherwise unchanged."""
        head = scan(OK + b"B: \t x y\t \r\na:\r\nB:z\r\n" + LENGTH)
        self.assertEqual((head.version, head.status, head.phrase), (b"HTTP/1.1", 200, b"OK"))
        self.assertEqual(
            head.fields,
            ((b"b", b"x y"), (b"a", b""), (b"b", b"z"), (b"content-length", b"3")),
        )

    def test_head_method(self):
        """A response to ``HEAD`` has no body, whatever its headers say."""
        for raw, length, chunked in [
            (FILLED, 3, False),
            (OK + b"\r\n", None, False),
            (OK + b"Transfer-Encoding: chunked\r\n\r\n", None, True),
        ]:
            head = scan(raw, b"HEAD")
            self.assertEqual(
                (head.length, head.chunked, head.has_body, head.persistent),
                (length, chunked, False, True),
            )
        both = OK + b"Transfer-Encoding: chunked\r\n" + LENGTH
        self.assertRaises(BadResponse, HeadScanner(b"HEAD").feed, both)

    def test_most_fields(self):
        """The documented number of headers is accepted, in interim responses too."""
        fields = b"X: y\r\n" * (MAX_HEADER_LINES - 1)
        interim = b"HTTP/1.1 103 Early Hints\r\n" + fields + b"\r\n"
        self.assertEqual(len(scan(interim + OK + fields + LENGTH).fields), MAX_HEADER_LINES)

    def test_size(self):
        """Status line and headers may have 64 KiB and no byte more, whether they end or not."""
        padding = b"X: " + b"y" * (MAX_HEAD_BYTES - len(FILLED) - 5)
        self.assertEqual(scan(OK + padding + b"\r\n" + LENGTH + b"abc").rest, b"abc")
        for raw in (OK + padding + b"y\r\n" + LENGTH, OK + padding + b"y" * 100):
            for size in (len(raw), 1000):
                self.assertEqual(drip(raw, size), "headers too large")

    def test_size_of_interim(self):
        """Interim responses count towards the same 64 KiB."""
        interim = b"HTTP/1.1 103 Hints\r\nX: " + b"y" * 30000 + b"\r\n\r\n"
        self.assertEqual(scan(interim * 2 + FILLED).status, 200)
        for size in (1 << 20, 1000):
            self.assertEqual(drip(interim * 3 + FILLED, size), "headers too large")

    def test_refused_early(self):
        """Bytes that can never become a response are rejected at once."""
        for raw in (
            b"S",
            b"SSH-2.0-OpenSSH\r\n",
            b"\x15\x03\x01",
            b"\n",
            b"HTTP/1.1 200 OK\n",
            b"HTTP/1.1 200 OK\r\nX: a\rb",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\n\n",
            b"HTTP/1.1 200 OK\n\nabc",
        ):
            for size in (1, len(raw)):
                self.assertIsInstance(drip(raw, size), str, raw)

    def test_incomplete(self):
        """Nothing is accepted before the headers are complete."""
        for end in range(len(FILLED)):
            self.assertIsNone(HeadScanner(b"GET").feed(FILLED[:end]), FILLED[:end])

    @given(st.binary(max_size=200), st.integers(1, 20))
    def test_any_octets(self, raw: bytes, size: int):
        """
        Random bytes are rejected or incomplete; they cause no internal error and are never accepted
        early.
        """
        for prefix in (b"", b"HTTP/1.1 ", OK, OK + b"X: "):
            verdict = drip(prefix + raw, size)
            if isinstance(verdict, ResponseHead):
                self.assertIn(b"\r\n\r\n", prefix + raw)

    @given(
        st.lists(st.sampled_from([raw for raw, _ in BAD] + [raw for raw, _ in GOOD]), max_size=3),
        st.integers(1, 40),
    )
    def test_division(self, raws: list[bytes], size: int):
        """Two divisions of the same bytes never differ in whether the response is accepted."""
        raw = b"".join(raws)
        whole, parts = drip(raw, len(raw) or 1), drip(raw, size)
        if isinstance(whole, str):
            self.assertIsInstance(parts, str)
        else:
            self.assertEqual(parts, whole)


#: The lines that our own workspace sends first, and lines that only look like them.
FIRST = (
    b"Server: chatfiles\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT\r\nX-Request-Id: a-1\r\n",
    b"Server: other/1.0\r\nDate: Sun, 09 Sep 2001 01:46:41 GMT\r\nX-Request-Id: b.2\r\n",
    b"Server: a b\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT\r\nX-Request-Id: a\r\n",
    b"Server: a\r\nDate: yesterday\r\nX-Request-Id: a\r\n",
    b"Server: a\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT\r\nX-Request-Id: \r\n",
    b"Date: Sun, 09 Sep 2001 01:46:40 GMT\r\nServer: a\r\nX-Request-Id: a\r\n",
    b"Server: a\r\n",
    b"",
)
LINES = (
    b"Content-Length: 3",
    b"Content-Length: 4",
    b"Content-Length: x",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Connection: close",
    b"Content-Encoding: gzip",
    b"Content-Encoding: identity",
    b"ETag: x",
    b"Server: again",
    b"X-Request-Id: again",
    b" folded",
    b"X : y",
    b"X: a\rb",
    b"X: a\nb",
    b"X: \0",
    b"X: " + b"a" * 2048,
)
STATUS_LINES = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 206 Partial Content",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 404 Not Found",
    b"HTTP/1.1 302 Found",
    b"HTTP/1.1 503 x-y",
    b"HTTP/1.1 200 ",
    b"HTTP/1.1 200",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 101 Switching Protocols",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 600 OK",
)
_DROPPED = frozenset({b"server", b"date", b"x-request-id"})


class KnownHeadTests(SynchronousTestCase):
    """Headers whose meaning is remembered: the result is as if they were parsed each time."""

    def parsed(self, raw: bytes, method: bytes) -> ResponseHead | str | None:
        """:return: the result without the memo."""
        patch = self.patch(response, "_VARYING", re.compile(rb"(?!)"))
        try:
            return drip(raw, len(raw), method)
        finally:
            patch.restore()

    @given(
        st.sampled_from(STATUS_LINES),
        st.sampled_from(FIRST),
        st.lists(st.sampled_from(LINES), max_size=5).map(list),
        st.sampled_from((b"GET", b"HEAD")),
        st.sampled_from((b"", b"abc", b"0\r\n\r\n")),
    )
    def test_as_parsed(
        self, status: bytes, first: bytes, lines: list[bytes], method: bytes, rest: bytes
    ) -> None:
        """The result is the same but for the three headers that are left out."""
        head = status + b"\r\n" + first + b"".join(line + b"\r\n" for line in lines)
        raw = head + b"\r\n" + rest
        known, parsed = drip(raw, len(raw), method), self.parsed(raw, method)
        if isinstance(known, ResponseHead) and known.usual:
            assert isinstance(parsed, ResponseHead)
            dropped, kept = parsed.fields[:3], parsed.fields[3:]
            assert {name for name, _ in dropped} == _DROPPED
            assert known == parsed._replace(fields=kept, usual=True)
        else:
            assert known == parsed

    def test_usual(self) -> None:
        """The responses of our own workspace are remembered, whatever differs in each of them."""
        response._known_head.cache_clear()
        for first in FIRST[:2]:
            for rest in (b"", b"abc"):
                head = scan(OK + first + LENGTH + rest)
                self.assertEqual((head.usual, head.rest), (True, rest))
        self.assertEqual(response._known_head.cache_info().misses, 1)
        for first in FIRST[2:]:
            self.assertFalse(scan(OK + first + LENGTH).usual, first)

    def test_methods(self) -> None:
        """A response to HEAD is another one than that to GET, with the same headers."""
        raw = OK + FIRST[0] + LENGTH
        for _ in range(2):
            self.assertEqual(
                [scan(raw, b"GET").has_body, scan(raw, b"HEAD").has_body], [True, False]
            )

    def test_phrases(self) -> None:
        """The status and its phrase are part of what is remembered."""
        for status, phrase in ((200, b"OK"), (200, b"Fine"), (404, b"OK"), (200, b"OK")):
            head = scan(b"HTTP/1.1 %d %b\r\n" % (status, phrase) + FIRST[0] + LENGTH)
            self.assertEqual((head.status, head.phrase, head.usual), (status, phrase, True))

    def test_number_of_lines(self) -> None:
        """The lines that are left out count, too."""
        for count in range(MAX_HEADER_LINES - 6, MAX_HEADER_LINES + 2):
            raw = OK + FIRST[0] + b"X: y\r\n" * count + LENGTH
            result = drip(raw, len(raw))
            accepted = isinstance(result, ResponseHead)
            self.assertIs(accepted, count + 4 <= MAX_HEADER_LINES, count)

    def test_bounded(self) -> None:
        """Neither many nor long headers fill the memory."""
        maxsize = response._known_head.cache_info().maxsize
        self.assertEqual(maxsize, response._BLOCKS)
        before = response._known_head.cache_info().currsize
        response._known_head.cache_clear()
        self.assertFalse(scan(OK + FIRST[0] + b"X: " + b"a" * 2048 + b"\r\n" + LENGTH).usual)
        self.assertEqual(response._known_head.cache_info().currsize, 0, before)
