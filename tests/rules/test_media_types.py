"""
Media types by extension, and which of them may be viewed inline.
"""

from __future__ import annotations

import mimetypes
import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules import media_types
from chatfiles.rules.media_types import DEFAULT_MEDIA_TYPE, may_view_inline, media_type

TABLE = [
    (b"a.txt", "text/plain; charset=utf-8"),
    (b"a.log", "text/plain; charset=utf-8"),
    (b"a.py", "text/plain; charset=utf-8"),
    (b"a.ts", "text/plain; charset=utf-8"),
    (b"a.sh", "text/plain; charset=utf-8"),
    (b"a.md", "text/markdown; charset=utf-8"),
    (b"a.csv", "text/csv; charset=utf-8"),
    (b"a.css", "text/css; charset=utf-8"),
    (b"a.js", "text/javascript; charset=utf-8"),
    (b"a.html", "text/html"),
    (b"a.htm", "text/html"),
    (b"a.xml", "application/xml"),
    (b"a.xhtml", "application/xhtml+xml"),
    (b"a.svg", "image/svg+xml"),
    (b"a.json", "application/json"),
    (b"a.yaml", "application/yaml"),
    (b"a.toml", "application/toml"),
    (b"a.pdf", "application/pdf"),
    (b"a.png", "image/png"),
    (b"a.jpg", "image/jpeg"),
    (b"a.jpeg", "image/jpeg"),
    (b"a.gif", "image/gif"),
    (b"a.webp", "image/webp"),
    (b"a.avif", "image/avif"),
    (b"a.bmp", "image/bmp"),
    (b"a.ico", "image/vnd.microsoft.icon"),
    (b"a.mp3", "audio/mpeg"),
    (b"a.wav", "audio/wav"),
    (b"a.ogg", "audio/ogg"),
    (b"a.mp4", "video/mp4"),
    (b"a.webm", "video/webm"),
    (b"a.mov", "video/quicktime"),
    (b"a.woff2", "font/woff2"),
    (b"a.wasm", "application/wasm"),
    (b"a.zip", "application/zip"),
    (b"a.tar", "application/x-tar"),
    (b"a.7z", "application/x-7z-compressed"),
    (b"a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    (b"a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    (b"a.odt", "application/vnd.oasis.opendocument.text"),
    # the encoding determines the type
    (b"a.gz", "application/gzip"),
    (b"a.tar.gz", "application/gzip"),
    (b"a.tgz", "application/gzip"),
    (b"a.html.gz", "application/gzip"),
    (b"a.svgz", "application/gzip"),
    (b"a.txt.bz2", "application/x-bzip2"),
    (b"a.tar.xz", "application/x-xz"),
    (b"a.txt.zst", "application/zstd"),
    (b"a.js.br", "application/x-brotli"),
    (b"a.tar.Z", "application/x-compress"),
    # case, and which extension counts
    (b"A.PNG", "image/png"),
    (b"a.TaR.gZ", "application/gzip"),
    (b"a.html.txt", "text/plain; charset=utf-8"),
    (b"a.txt.html", "text/html"),
    (b".hidden.txt", "text/plain; charset=utf-8"),
    (b"..a.png", "image/png"),
    (b"\xff.png", "image/png"),
    (b"/workspace/x.d/a.png", "image/png"),
    (b" .png", "image/png"),
    (b"a b.png", "image/png"),
    # no known extension
    *(
        (name, DEFAULT_MEDIA_TYPE)
        for name in (
            b"",
            b"a",
            b"png",
            b"README",
            b"a.",
            b"a.png.",
            b"a.png ",
            b"a.png\n",
            b"a.png\0",
            b".",
            b"..",
            b".png",
            b"..png",
            b".gz",
            b"a.unknown",
            b"a.bin",
            b"a.p\xff",
            b"a.\xef\xbd\x90ng",
            b"a.png;x",
            b"/workspace/x.png/a",
            b"/workspace/x.png/.png",
        )
    ),
]

NEVER_INLINE = [
    "text/html",
    "text/html; charset=utf-8",
    "application/xhtml+xml",
    "image/svg+xml",
    "image/svg+xml; charset=utf-8",
    "application/xml",
    "text/xml",
    "application/atom+xml",
    "application/dash+xml",
    "text/javascript; charset=utf-8",
    "text/css; charset=utf-8",
    "text/markdown; charset=utf-8",
    "text/csv; charset=utf-8",
    "application/json",
    "application/octet-stream",
    "application/gzip",
    "application/x-shockwave-flash",
    "message/rfc822",
    "multipart/related",
    "image/x-unknown",
    "audio/x-unknown",
    "video/x-unknown",
    "image/",
    "text/plain text/html",
    "text/html,text/plain",
    "",
    ";text/plain",
]


class MediaTypeTests(SynchronousTestCase):
    """`media_type`."""

    def test_table(self):
        """The media type follows from the extension; names without a known one get the default."""
        for name, expected in TABLE:
            self.assertEqual(media_type(name), expected, name)

    def test_no_extension_is_listed_twice(self):
        """Each extension is listed once, in lower case, so that no row overrides another."""
        listed = [e for row in media_types._EXTENSIONS.values() for e in row.split()]
        self.assertEqual(sorted(listed), sorted(set(listed)))
        self.assertEqual([e for e in listed if e != e.lower()], [])

    def test_the_machine_has_no_say(self):
        """The machine's own table of media types has no effect."""
        self.addCleanup(mimetypes.init)
        mimetypes.init()
        mimetypes.add_type("text/html", ".png")
        mimetypes.add_type("text/html", ".cfunknown")
        self.assertEqual(media_type(b"a.png"), "image/png")
        self.assertEqual(media_type(b"a.cfunknown"), DEFAULT_MEDIA_TYPE)

    def test_charset(self):
        """Text is sent as UTF-8, except HTML, which may declare its own charset."""
        for extension in media_types._BY_EXTENSION:
            content_type = media_type(b"a." + extension)
            is_text = content_type.startswith("text/") and content_type != "text/html"
            self.assertEqual(content_type.endswith("; charset=utf-8"), is_text, content_type)

    @given(st.binary())
    def test_always_a_media_type(self, name: bytes):
        """The media type of any name is valid in a header."""
        for candidate in (name, b"a." + name):
            self.assertTrue(
                re.fullmatch(
                    r"[a-z]+/[a-z0-9][a-z0-9.+-]*(; charset=utf-8)?", media_type(candidate)
                )
            )


class MayViewInlineTests(SynchronousTestCase):
    """`may_view_inline`."""

    def test_viewable(self):
        """Images, audio, video, PDF and plain text may be viewed inline."""
        for extension in (
            b"png jpg jpeg gif webp avif bmp ico apng tiff pdf txt log py mp3 m4a wav flac ogg "
            b"opus mp4 webm mov mkv ogv"
        ).split():
            self.assertTrue(may_view_inline(media_type(b"a." + extension)), extension)
        for content_type in ("image/x-icon", "IMAGE/PNG", "text/plain", "text/plain ;charset=x"):
            self.assertTrue(may_view_inline(content_type), content_type)

    def test_never(self):
        """Types that can contain a script are never shown in the platform's origin."""
        for content_type in NEVER_INLINE:
            self.assertFalse(may_view_inline(content_type), content_type)

    def test_no_markup_of_ours(self):
        """No type of the table that a browser executes may be viewed inline."""
        for extension in media_types._BY_EXTENSION:
            content_type = media_type(b"a." + extension)
            if re.search("html|xml|script|svg|font|json|octet", content_type):
                self.assertFalse(may_view_inline(content_type), content_type)

    @given(st.text())
    def test_never_fails(self, content_type: str):
        """Any type from a workspace is accepted or refused; none raises an exception."""
        self.assertIsInstance(may_view_inline(content_type), bool)
