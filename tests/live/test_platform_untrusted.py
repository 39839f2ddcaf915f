"""
Responses of a workspace that mislead clients rather than the platform: browsers, caches, clients
that join parts, and clients that cannot detect an incomplete response.
"""

from __future__ import annotations

import contextlib

from chatfiles.testing.broken_upstreams import ServerConnection, respond
from tests.live import ranges
from tests.live.broken_answers import CHUNKED, head_with, ok
from tests.live.rawhttp import Connection, Incomplete, Response
from tests.live.upstream_case import UpstreamCase


class BrowserTests(UpstreamCase):
    """Responses of a workspace that mislead a browser rather than the platform."""

    def test_shown_types(self) -> None:
        """
        A file is shown inline only if its type is one that may be shown and that all browsers read
        alike.
        """
        for content_type, shown in (
            ("image/png", True),
            ("IMAGE/PNG", True),
            ("text/plain; charset=utf-8", True),
            ('text/plain;charset="utf-8"', True),
            ("text/html", False),
            ("image/svg+xml", False),
            ("image/png, text/html", False),
            ("image/png;x=y, text/html", False),
            ('image/png;x="y, text/html"', False),
            ("image/png;,text/html", False),
            ("image/png text/html", False),
            ("image/png\ttext/html", False),
            ("image/png;", False),
            ("text/html;image/png", False),
            ("", False),
        ):
            raw = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Disposition: inline; x=y\r\n"
            raw = raw % content_type.encode() + b"Content-Length: 3\r\n\r\nabc"
            _, target = self.scripted(respond(raw))
            answer = self.ask(target + "&disposition=inline")
            kind = answer["content-disposition"].split(";")[0]
            self.assertEqual(kind, "inline" if shown else "attachment", content_type)
            restricted = answer["content-security-policy"] == "default-src 'none'; sandbox"
            self.assertEqual(restricted, not shown, content_type)

    def test_dispositions(self) -> None:
        """An invalid disposition is replaced by a valid one, so that the file can be saved."""
        ours = "attachment; filename=\"x.bin\"; filename*=UTF-8''x.bin"
        for said, told in (
            ('attachment; filename="y"', None),
            ("attachment; filename*=UTF-8''%C3%A9; filename=\"_\"", None),
            ("ATTACHMENT;filename=y", None),
            ('attachment; filename="a, b \\" c"', None),
            ("attachment", ours),
            ("attachment; filename=a,b", ours),
            ("attachment; x=y, inline", ours),
            ('attachment; filename="a', ours),
            ("attachment;", ours),
            ('inline; filename="y"', ours),
            ("form-data; name=x", ours),
            ("", ours),
        ):
            _, target = self.scripted(respond(head_with(b"Content-Disposition: " + said.encode())))
            self.assertEqual(self.ask(target)["content-disposition"], told or said)

    def test_not_modified(self) -> None:
        """A 304 changes nothing of a cached response, except for how long the cache keeps it."""
        raw = (
            b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Type: text/html\r\n'
            b"Content-Disposition: inline\r\nContent-Security-Policy: sandbox allow-scripts\r\n"
            b"Cache-Control: public, max-age=99999\r\nContent-Length: 7\r\n\r\n"
        )
        _, target = self.scripted(respond(raw))
        answer = self.ask(target + "&disposition=inline", {"If-None-Match": '"a"'})
        self.assertEqual(answer.status, 304)
        told = [field for field in answer.fields if field[0] not in ("date", "x-request-id")]
        self.assertEqual(
            sorted(told),
            [
                ("cache-control", "private, no-cache"),
                ("connection", "close"),
                ("etag", '"a"'),
                ("server", "chatfiles"),
            ],
        )


class OldCallerTests(UpstreamCase):
    """
    HTTP/1.0 has no chunks: its clients cannot detect that a body of unannounced length is
    incomplete.
    """

    def ask_old(self, raw: bytes, method: str = "GET") -> Response:
        """:return: the response to an HTTP/1.0 client when the workspace sends *raw*."""
        _, target = self.scripted(respond(raw))
        with Connection(self.pair.platform.url) as connection:
            head = f"{method} {target} HTTP/1.0\r\nAuthorization: Bearer {self.pair.admin}\r\n\r\n"
            connection.send(head.encode())
            answer = connection.response(method)
            self.assertEqual(connection.until_closed(), b"")
        return answer

    def test_chunked_file(self) -> None:
        """
        A file of unknown length is refused with 505 rather than relayed without an end; the detail
        says what helps.
        """
        answer = self.ask_old(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n")
        told = self.assert_error(answer, 505, "this can be had with HTTP/1.1 only")
        self.assertEqual(told["code"], "version_not_supported")
        self.assertIn("length", told["detail"])

    def test_the_rest(self) -> None:
        """A response with a length is relayed, and so is one to ``HEAD``."""
        self.assertEqual(self.ask_old(ok(3, b"abc")).body, b"abc")
        answer = self.ask_old(CHUNKED, "HEAD")
        self.assertEqual((answer.status, answer.get("transfer-encoding")), (200, None))


def lenient(connection: ServerConnection) -> None:
    """
    A workspace with a file of 11 bytes that reads the numbers of a range with `int`, as Starlette
    does, and refuses what it cannot read.
    """
    while (request := connection.request()) is not None:
        head, body = _lenient(request.header("range"), b"hello world")
        head += b"Content-Length: %d\r\n\r\n" % len(body)
        connection.send(b"HTTP/1.1 " + head + body)


def _lenient(asked: str | None, content: bytes) -> tuple[bytes, bytes]:
    if asked is None:
        return b"200 OK\r\n", content
    unit, _, value = asked.partition("=")
    first, _, last = value.strip(", \t").partition("-")
    try:
        start = int(first) if first else max(len(content) - int(last), 0)
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
    except ValueError:
        unit = ""
    if unit != "bytes":
        return b"400 Bad Request\r\n", b""
    if not start < stop:
        return b"416 Range Not Satisfiable\r\nContent-Range: bytes */11\r\n", b""
    part = b"bytes %d-%d/11" % (start, stop - 1)
    return b"206 Partial Content\r\nContent-Range: %b\r\n" % part, content[start:stop]


class PartTests(UpstreamCase):
    """Parts that do not fit together."""

    def test_ranges_that_are_ignored(self) -> None:
        """
        A range that is ignored does not reach the workspace, which may read it in another way; one
        that counts reaches it in a form that any workspace reads in the same way.
        """
        server, target = self.scripted(lenient)
        ignored = [(text, 200, None) for text in ("bytes=0-4,x", "bytes=0-4,4-+6", "bytes=5-4,0-1")]
        for asked, status, part in (*ranges.RangeCases.RANGES, *ignored):
            fields = {"Range": asked.encode().decode("latin-1")}
            fields |= {"If-Range": '"x"'} if status == 200 else {}
            answer = self.ask(target, fields)
            self.assertEqual((answer.status, answer.get("content-range")), (status, part), asked)
            if status == 200:
                sent = {name for name, _ in server.requests[-1].headers}
                self.assertEqual(sent & {"range", "if-range"}, set(), asked)

    def test_other_parts(self) -> None:
        """
        A part is 502 if it begins or ends elsewhere than requested: a client joins it to the wrong
        place.
        """
        for asked, said, expect in (
            ("bytes=0-2", b"0-2/9", 206),
            ("bytes=0-2", b"0-1/9", 206),
            ("bytes=0-", b"0-8/9", 206),
            ("bytes=4-99", b"4-8/9", 206),
            ("Bytes=-3", b"6-8/9", 206),
            ("bytes=-99", b"0-8/9", 206),
            ("bytes=-3", b"6-8/*", 206),
            ("bytes=0-1,4-5", b"0-5/9", 206),
            ("bytes=0-2", b"1-2/9", 502),
            ("bytes=0-2", b"0-3/9", 502),
            ("bytes=4-", b"0-8/9", 502),
            ("bytes=-3", b"5-8/9", 502),
            ("bytes=-3", b"5-7/9", 502),
            ("junk", b"0-2/9", 502),
            ("bytes=-", b"0-2/9", 502),
            ("bytes=2-0", b"0-2/9", 502),
        ):
            first, last = map(int, said.partition(b"/")[0].split(b"-"))
            raw = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %b\r\n" % said
            raw += b"Content-Length: %d\r\n\r\n" % (last + 1 - first) + b"x" * (last + 1 - first)
            _, target = self.scripted(respond(raw))
            self.assertEqual(self.ask(target, {"Range": asked}).status, expect, (asked, said))

    def test_parts_in_one(self) -> None:
        """
        Several parts in one container are 502 if one part was requested: a client joins the
        container to the file in place of a part.
        """
        raw = b"HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=x\r\n"
        for asked, expect in (("bytes=0-2", 502), ("bytes=0-2,4-5", 206)):
            _, target = self.scripted(respond(raw + b"Content-Length: 3\r\n\r\nabc"))
            self.assertEqual(self.ask(target, {"Range": asked}).status, expect, asked)

    def test_parts_in_chunks(self) -> None:
        """
        A part that is shorter or longer than its ``Content-Range`` says is not complete for the
        client.
        """
        raw = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/9\r\n"
        raw += b"Transfer-Encoding: chunked\r\n\r\n"
        for body, whole in ((b"abc", True), (b"ab", False), (b"abcde", False)):
            said = raw + b"%d\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            _, target = self.scripted(respond(said))
            _, answer = self.begin(target, more={"Range": "bytes=0-2"})
            self.assertEqual(answer.head.status, 206)
            with contextlib.suppress(Incomplete):
                self.assertEqual(answer.rest(), body)
            self.assertEqual(answer.complete, whole, body)

    def test_malformed_at_once(self) -> None:
        """
        If the body turns out malformed at once, the client receives the headers and then an
        incomplete body.
        """
        for body in (b"zz\r\nabc", b"3\r\nabcX\r\n0\r\n\r\n", b"0\r\nbad\r\n\r\n"):
            _, target = self.scripted(respond(CHUNKED + body))
            _, answer = self.begin(target)
            self.assertEqual(answer.head.status, 200)
            self.assertRaises(Incomplete, answer.rest)

    def test_parts_of_another_version(self) -> None:
        """
        A part of another version than ``If-Range`` names is 502: a client joins it to the version
        that it has.
        """
        for tag, expect in ((b'ETag: "v1"\r\n', 206), (b"", 502), (b'ETag: "v2"\r\n', 502)):
            raw = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/9\r\n" + tag
            _, target = self.scripted(respond(raw + b"Content-Length: 3\r\n\r\nabc"))
            answer = self.ask(target, {"Range": "bytes=0-2", "If-Range": '"v1"'})
            self.assertEqual(answer.status, expect, tag)
            answer = self.ask(target, {"Range": "bytes=0-2", "If-Range": 'W/"v1"'})
            self.assertEqual(answer.status, 502, tag)
            answer = self.ask(target, {"Range": "bytes=0-2"})
            self.assertEqual(answer.status, 206)
