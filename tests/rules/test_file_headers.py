"""
Headers that cross a hop, and those that describe a file.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import BadRequest
from chatfiles.model import FileFacts
from chatfiles.rules.conditional_requests import etag
from chatfiles.rules.file_headers import (
    CSP_ATTACHMENT,
    CSP_INLINE,
    FORWARDED_REQUEST_HEADERS,
    RELAYED_RESPONSE_HEADERS,
    content_disposition,
    is_request_id,
    representation_headers,
    validator_headers,
    wants_inline,
)

NOW = 1_781_524_800 * 1_000_000_000
FACTS = FileFacts(device=1, inode=2, size=3, mtime_ns=784_111_777 * 10**9, ctime_ns=4)

#: name, filename=, filename*=
DISPOSITIONS: list[tuple[bytes, str, str]] = [
    (b"a.txt", "a.txt", "a.txt"),
    (b"a-b_c.d~e", "a-b_c.d~e", "a-b_c.d~e"),
    (b"sp ace.txt", "sp ace.txt", "sp%20ace.txt"),
    (b" lead trail ", " lead trail ", "%20lead%20trail%20"),
    (b"per%cent.txt", "per%cent.txt", "per%25cent.txt"),
    (b"%41.txt", "%41.txt", "%2541.txt"),
    (b"a+b", "a+b", "a%2Bb"),
    (b"semi;colon,comma", "semi;colon,comma", "semi%3Bcolon%2Ccomma"),
    (b"hash#q?.txt", "hash#q?.txt", "hash%23q%3F.txt"),
    (b"it's(1)*.txt", "it's(1)*.txt", "it%27s%281%29%2A.txt"),
    (b"a&b=c!$^`|{}<>@:", "a&b=c!$^`|{}<>@:", "a%26b%3Dc%21%24%5E%60%7C%7B%7D%3C%3E%40%3A"),
    (b".hidden", ".hidden", ".hidden"),
    (b"-rf", "-rf", "-rf"),
    # quoted
    (b'quo"te.txt', 'quo\\"te.txt', "quo%22te.txt"),
    (b"back\\slash", "back\\\\slash", "back%5Cslash"),
    (b'\\"', '\\\\\\"', "%5C%22"),
    (b'a"; filename="evil.exe', 'a\\"; filename=\\"evil.exe', "a%22%3B%20filename%3D%22evil.exe"),
    # control characters
    (b"new\nline.txt", "newline.txt", "new%0Aline.txt"),
    (b"a\r\nSet-Cookie: x=1", "aSet-Cookie: x=1", "a%0D%0ASet-Cookie%3A%20x%3D1"),
    (b"tab\tx", "tabx", "tab%09x"),
    (b"\x00\x01\x1f\x7fx", "x", "%00%01%1F%7Fx"),
    (b"\x1b[31mred", "[31mred", "%1B%5B31mred"),
    # not ASCII: one _ for a character
    ("h\u00e9llo.txt".encode(), "h_llo.txt", "h%C3%A9llo.txt"),
    ("e\u0301".encode(), "e_", "e%CC%81"),
    ("\u65e5\u672c\u8a9e.pdf".encode(), "___.pdf", "%E6%97%A5%E6%9C%AC%E8%AA%9E.pdf"),
    ("\U0001f600.png".encode(), "_.png", "%F0%9F%98%80.png"),
    ("rtl-\u202egpj.exe".encode(), "rtl-_gpj.exe", "rtl-%E2%80%AEgpj.exe"),
    ("\u0085\u009b\u2028x".encode(), "___x", "%C2%85%C2%9B%E2%80%A8x"),
    ("\u00a0\ufeff".encode(), "__", "%C2%A0%EF%BB%BF"),
    ("\uff02\u201d".encode(), "__", "%EF%BC%82%E2%80%9D"),
    # not UTF-8: one _ for a byte, and nothing that claims to be UTF-8 and is not
    (b"\xff", "_", "%EF%BF%BD"),
    (b"caf\xe9.txt", "caf_.txt", "caf%EF%BF%BD.txt"),
    (b"\xed\xa0\x80", "___", "%EF%BF%BD" * 3),
    (b"\xc0\xae", "__", "%EF%BF%BD" * 2),
    (b"\xe2\x80x", "__x", "%EF%BF%BD" * 2 + "x"),
    # no characters left
    (b"", "download", "download"),
    (b"\n", "download", "%0A"),
    (b"\x00\x7f", "download", "%00%7F"),
    (b"n" * 255, "n" * 255, "n" * 255),
]

_VALUE = re.compile(
    rb'(attachment|inline); filename="((?:[^"\\]|\\["\\])*)"; '
    rb"filename\*=UTF-8''((?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+)"
)


def taken_apart(value: bytes) -> tuple[bytes, bytes, bytes]:
    """:return: disposition, ``filename`` and ``filename*``, as a client decodes them."""
    found = _VALUE.fullmatch(value)
    assert found is not None, value
    plain = re.sub(rb"\\(.)", rb"\1", found[2])
    return found[1], plain, unquote_to_bytes(found[3])


class ContentDispositionTests(SynchronousTestCase):
    """`content_disposition`."""

    def test_table(self):
        """A file is offered under its own name, in both parameters."""
        for name, plain, extended in DISPOSITIONS:
            rest = f"; filename=\"{plain}\"; filename*=UTF-8''{extended}".encode("ascii")
            self.assertEqual(content_disposition(name), b"attachment" + rest, name)
            self.assertEqual(content_disposition(name, inline=True), b"inline" + rest, name)

    @given(st.binary())
    @example(bytes(range(256)))
    def test_nothing_breaks_out(self, name: bytes):
        """No name ends the header or a parameter."""
        value = content_disposition(name)
        self.assertTrue(all(0x20 <= byte < 0x7F for byte in value), value)
        disposition, plain, extended = taken_apart(value)
        self.assertEqual(disposition, b"attachment")
        self.assertNotEqual(plain, b"")
        extended.decode("utf-8")

    @given(st.text(min_size=1))
    @example("\u202egpj.exe")
    def test_utf_8_round_trip(self, text: str):
        """A client that reads ``filename*`` gets the exact name."""
        name = text.encode("utf-8")
        _, plain, extended = taken_apart(content_disposition(name))
        self.assertEqual(extended, name)
        expected = "".join(c if c < "\x7f" else "_" for c in text if c >= " " and c != "\x7f")
        self.assertEqual(plain.decode("ascii"), expected or "download")

    @given(st.binary())
    def test_length(self, name: bytes):
        """The length of the header is bounded by the length of the name."""
        self.assertLessEqual(len(content_disposition(name)), 60 + 11 * len(name))


class AllowListTests(SynchronousTestCase):
    """Headers that cross a hop."""

    def test_request(self):
        """
        Conditions and ranges are forwarded to a workspace; a client's credentials and cookies are
        not.
        """
        self.assertEqual(
            {name.lower() for name in FORWARDED_REQUEST_HEADERS},
            {
                b"range",
                b"if-match",
                b"if-none-match",
                b"if-modified-since",
                b"if-unmodified-since",
                b"if-range",
                b"want-repr-digest",
            },
        )

    def test_response(self):
        """
        Only the headers that a workspace adds to a file are relayed, so that it cannot set a cookie
        at the platform's origin.
        """
        described = representation_headers(FACTS, b"a.txt", inline=True, now_ns=NOW)
        self.assertEqual(
            {name.lower() for name in RELAYED_RESPONSE_HEADERS},
            {name.lower() for name, _ in described}
            | {b"content-length", b"content-range", b"repr-digest"},
        )


class RepresentationTests(SynchronousTestCase):
    """`representation_headers` and `validator_headers`."""

    def test_attachment(self):
        """The headers are exactly those of reference/downloads, "Headers"."""
        self.assertEqual(
            representation_headers(FACTS, b"a.tar.gz", inline=False, now_ns=NOW),
            [
                (b"Content-Type", b"application/gzip"),
                (
                    b"Content-Disposition",
                    b"attachment; filename=\"a.tar.gz\"; filename*=UTF-8''a.tar.gz",
                ),
                (b"Accept-Ranges", b"bytes"),
                (b"ETag", etag(FACTS, NOW)),
                (b"Last-Modified", b"Sun, 06 Nov 1994 08:49:37 GMT"),
                (b"Cache-Control", b"private, no-cache"),
                (b"X-Content-Type-Options", b"nosniff"),
                (b"Content-Security-Policy", b"default-src 'none'; sandbox"),
            ],
        )

    def test_inline(self):
        """A file is shown inline only if that is requested and its type may be viewed."""
        for name, viewable in [
            (b"a.png", True),
            (b"a.pdf", True),
            (b"a.txt", True),
            (b"a.mp3", True),
            (b"a.mp4", True),
            (b"a.html", False),
            (b"a.svg", False),
            (b"a.xml", False),
            (b"a.js", False),
            (b"a.png.html", False),
            (b"a.png.gz", False),
            (b"a", False),
        ]:
            for asked in (True, False):
                headers = dict(representation_headers(FACTS, name, inline=asked, now_ns=NOW))
                shown = asked and viewable
                self.assertEqual(
                    headers[b"Content-Disposition"].partition(b";")[0],
                    b"inline" if shown else b"attachment",
                    name,
                )
                self.assertEqual(
                    headers[b"Content-Security-Policy"],
                    CSP_INLINE if shown else CSP_ATTACHMENT,
                    name,
                )
                self.assertEqual(headers[b"X-Content-Type-Options"], b"nosniff")

    def test_policies(self):
        """The policies allow a file no script and no form, and only its own origin as a source."""
        for policy in (CSP_ATTACHMENT, CSP_INLINE):
            name_first = [part.split() for part in policy.split(b"; ")]
            directives = {name: sources for name, *sources in name_first}
            self.assertEqual(directives[b"default-src"], [b"'none'"])
            self.assertLessEqual(set(directives[b"sandbox"]), {b"allow-same-origin"})
            self.assertNotIn(b"script-src", directives)
            for name in (b"img-src", b"media-src"):
                self.assertIn(directives.get(name, [b"'self'"]), [[b"'self'"]])

    def test_validators(self):
        """A 304 has the validators that a 200 has (RFC 9110, 15.4.5)."""
        validators = validator_headers(FACTS, NOW)
        whole = representation_headers(FACTS, b"a", inline=False, now_ns=NOW)
        self.assertEqual([h for h in whole if h in validators], validators)
        self.assertEqual([n for n, _ in validators], [b"ETag", b"Last-Modified", b"Cache-Control"])

    @given(st.binary(), st.booleans(), st.integers(0, 2**63 - 1))
    def test_always_a_header(self, name: bytes, inline: bool, mtime_ns: int):
        """The headers are valid for any name and any time."""
        facts = FACTS._replace(mtime_ns=mtime_ns)
        for field, value in representation_headers(facts, name, inline=inline, now_ns=NOW):
            self.assertTrue(re.fullmatch(rb"[A-Za-z-]+", field))
            self.assertTrue(re.fullmatch(rb"[!-~]([ -~]*[!-~])?", value), value)


class RequestTests(SynchronousTestCase):
    """`is_request_id` and `wants_inline`."""

    def test_request_id(self):
        """A valid request id is accepted; one that breaks a log line is not."""
        for value in (b"a", b"A-Z_0.9", b"x" * 64, b"..", b"0", b"-"):
            self.assertTrue(is_request_id(value), value)
        for value in (
            b"",
            b"x" * 65,
            b"a b",
            b"a\n",
            b"\na",
            b"a\0",
            b"a/b",
            b"a,b",
            b'a"',
            b"a=b",
            b"\xe9",
            "é".encode(),
            b"\xb2",
        ):
            self.assertFalse(is_request_id(value), value)

    def test_wants_inline(self):
        """``inline`` is accepted; any other or repeated value is refused."""
        self.assertFalse(wants_inline([]))
        self.assertTrue(wants_inline([b"inline"]))
        for values in (
            [b""],
            [b"attachment"],
            [b"Inline"],
            [b"inline "],
            [b"inline", b"inline"],
            [b"inline", b"attachment"],
            [b"x"],
        ):
            refusal = self.assertRaises(BadRequest, wants_inline, values)
            self.assertEqual(
                (refusal.status, refusal.code, refusal.text),
                (400, "invalid_disposition", "invalid disposition"),
            )
