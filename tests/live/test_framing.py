"""
reference/http, "Framing" and RFC 9112: how requests are framed.  Request smuggling relies on two
parsers that read the same bytes differently, so both roles refuse ambiguous framing.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.live.processes import ImpatientCase, LiveCase, Pair, Role
from tests.live.rawhttp import Connection, Response, answers_in
from tests.support.patience import PATIENCE

#: Codes of errors about the framing of a request, rather than its target.
REFUSALS = (
    "malformed_request",
    "request_timeout",
    "expectation_failed",
    "header_fields_too_large",
    "uri_too_long",
    "not_implemented",
    "version_not_supported",
)


@dataclass(frozen=True, slots=True)
class Case:
    """
    :param wire: ``@P@`` stands for a target that exists, ``@A@`` for the credential for it.  A
        ``POST`` gets a target that accepts any body.
    :param verdict: ``R``: one refusal, then the connection is closed.  ``N``: a number of ordinary
        responses.  ``R|1``: either.
    """

    about: str
    wire: bytes
    verdict: str


def post(about: str, verdict: str, *lines: bytes, body: bytes = b"") -> Case:
    """:return: a ``POST`` with these header lines besides Host."""
    head = b"".join(line + b"\r\n" for line in (b"POST @P@ HTTP/1.1", b"Host: gw.test", *lines))
    return Case(about, head + b"\r\n" + body, verdict)


def get(about: str, verdict: str, *lines: bytes, start: bytes = b"GET @P@ HTTP/1.1") -> Case:
    """:return: a ``GET`` with exactly these header lines."""
    return Case(about, b"".join(line + b"\r\n" for line in (start, *lines)) + b"\r\n", verdict)


HOST = b"Host: gw.test"
CHUNKED = b"Transfer-Encoding: chunked"
FORM = b"Content-Type: multipart/form-data; boundary=b"
GHOST = b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\n@A@\r\nX-Request-Id: ghost\r\n\r\n"
LAST = b"0\r\n\r\n"
#: Sent after well-framed requests: a response to it shows where the role saw their end.
MARK = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: mark\r\nConnection: close\r\n\r\n"

LENGTHS = (
    post("length and chunked", "R", b"Content-Length: 6", CHUNKED, body=LAST + b"X"),
    post("chunked and length", "R", CHUNKED, b"Content-Length: 6", body=LAST + b"X"),
    post("CL.TE", "R", b"Content-Length: 5", CHUNKED, body=LAST + GHOST),
    post("TE.CL", "R", CHUNKED, b"Content-Length: 3", body=b"8\r\nGET / HT\r\n" + LAST),
    post(
        "length and identity",
        "R|1",
        b"Transfer-Encoding: identity",
        b"Content-Length: 3",
        body=b"abc",
    ),
    post("two lengths", "R", b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"),
    post("the same length twice", "R|1", b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    post("a list of equal lengths", "R|1", b"Content-Length: 5, 5", body=b"hello"),
    post("a list of lengths", "R", b"Content-Length: 5, 6", body=b"hello!"),
    post("a list with a gap", "R", b"Content-Length: 5,", body=b"hello"),
    post("negative", "R", b"Content-Length: -5", body=b"hello"),
    post("plus", "R", b"Content-Length: +5", body=b"hello"),
    post("hexadecimal", "R", b"Content-Length: 0x5", body=b"hello"),
    post("exponent", "R", b"Content-Length: 5e0", body=b"hello"),
    post("fraction", "R", b"Content-Length: 5.0", body=b"hello"),
    post("separator", "R", b"Content-Length: 1_0", body=b"0123456789"),
    post("letters", "R", b"Content-Length: abc"),
    post("nothing", "R", b"Content-Length:"),
    post("blank", "R", b"Content-Length:  "),
    post("quoted", "R", b'Content-Length: "5"', body=b"hello"),
    post("digits of another script", "R", "Content-Length: ５".encode(), body=b"hello"),
    post("superscript", "R", "Content-Length: ²".encode("latin-1"), body=b"hello"),
    post("64 bits", "R", b"Content-Length: 18446744073709551616"),
    post("far too many digits", "R", b"Content-Length: " + b"9" * 5000),
    post("inner space", "R", b"Content-Length: 5 5", body=b"hello"),
    post("NUL", "R", b"Content-Length: 5\0", body=b"hello"),
    post("vertical tab", "R", b"Content-Length: \x0b5", body=b"hello"),
    post("space before the colon", "R", b"Content-Length : 5", body=b"hello"),
    post("tab before the colon", "R", b"Content-Length\t: 5", body=b"hello"),
    post("folded length", "R", b"Content-Length:\r\n 5", body=b"hello"),
    post("trailing space", "1", b"Content-Length: 5 ", body=b"hello"),
    post("leading tab", "1", b"Content-Length:\t5", body=b"hello"),
    post("no space", "1", b"content-length:5", body=b"hello"),
    post("leading zeroes", "R|1", b"Content-Length: 005", body=b"hello"),
    post("no length, no body", "1"),
    post("a length of nothing", "1", b"Content-Length: 0"),
)

CODINGS = (
    post("chunked", "1", CHUNKED, body=b"5\r\nhello\r\n" + LAST),
    post("in capitals", "1", b"TRANSFER-ENCODING: CHUNKED", body=LAST),
    post("after a tab", "1", b"Transfer-Encoding:\tchunked", body=LAST),
    post("trailing space", "1", b"Transfer-Encoding: chunked ", body=LAST),
    post("twice in a list", "R", b"Transfer-Encoding: chunked, chunked", body=LAST),
    post("twice", "R", CHUNKED, CHUNKED, body=LAST),
    post("identity, then chunked", "R", b"Transfer-Encoding: identity, chunked", body=LAST),
    post("chunked, then identity", "R", b"Transfer-Encoding: chunked, identity", body=LAST),
    post("identity alone", "R|1", b"Transfer-Encoding: identity"),
    post(
        "identity and chunked in two lines", "R", b"Transfer-Encoding: identity", CHUNKED, body=LAST
    ),
    post("gzip", "R", b"Transfer-Encoding: gzip", body=LAST),
    post("gzip, chunked", "R", b"Transfer-Encoding: gzip, chunked", body=LAST),
    post("unknown", "R", b"Transfer-Encoding: xchunked", body=LAST),
    post("cut short", "R", b"Transfer-Encoding: chunke", body=LAST),
    post("parameter", "R", b"Transfer-Encoding: chunked;q=1", body=LAST),
    post("quoted", "R", b'Transfer-Encoding: "chunked"', body=LAST),
    post("empty", "R", b"Transfer-Encoding:", body=LAST),
    post("trailing comma", "R|1", b"Transfer-Encoding: chunked,", body=LAST),
    post("leading comma", "R|1", b"Transfer-Encoding: ,chunked", body=LAST),
    post("vertical tab", "R", b"Transfer-Encoding: \x0bchunked", body=LAST),
    post("NUL", "R", b"Transfer-Encoding: chunked\0", body=LAST),
    post("a high octet", "R", b"Transfer-Encoding: chunked\xff", body=LAST),
    post("no-break space", "R", b"Transfer-Encoding: \xa0chunked", body=LAST),
    post("space before the colon", "R", b"Transfer-Encoding : chunked", body=LAST),
    post("name in two lines", "R", b"Transfer-", b"Encoding: chunked", body=LAST),
    post("folded", "R", b"Transfer-Encoding:", b" chunked", body=LAST),
    post("folded behind another", "R", b"X: y", b" Transfer-Encoding: chunked", body=LAST),
    post("underscore is another field", "1", b"Transfer_Encoding: chunked"),
    Case(
        "in HTTP/1.0", b"POST @P@ HTTP/1.0\r\nHost: gw.test\r\n" + CHUNKED + b"\r\n\r\n" + LAST, "R"
    ),
)

CHUNKS = tuple(
    post(about, verdict, CHUNKED, body=body)
    for about, verdict, body in (
        ("capitals and zeroes", "1", b"00A\r\n0123456789\r\n" + LAST),
        ("two chunks", "1", b"2\r\nhe\r\n3\r\nllo\r\n" + LAST),
        ("several zeroes at the end", "1", b"5\r\nhello\r\n000\r\n\r\n"),
        ("extension", "R|1", b"5;name=value\r\nhello\r\n" + LAST),
        ("quoted extension", "R|1", b'5;name="a b"\r\nhello\r\n' + LAST),
        ("trailer", "R|1", b"5\r\nhello\r\n0\r\nX-A: b\r\n\r\n"),
        ("plus", "R", b"+5\r\nhello\r\n" + LAST),
        ("minus", "R", b"-5\r\nhello\r\n" + LAST),
        ("0x", "R", b"0x5\r\nhello\r\n" + LAST),
        ("leading space", "R", b" 5\r\nhello\r\n" + LAST),
        ("trailing space", "R|1", b"5 \r\nhello\r\n" + LAST),
        ("no size", "R", b"\r\nhello\r\n" + LAST),
        ("letters", "R", b"xyz\r\nhello\r\n" + LAST),
        ("underscore", "R", b"1_0\r\n0123456789abcdef\r\n" + LAST),
        ("bare LF behind the size", "R", b"5\nhello\r\n" + LAST),
        ("bare CR behind the size", "R", b"5\rhello\r\n" + LAST),
        ("LF in an extension", "R", b"5;a\nb\r\nhello\r\n" + LAST),
        ("CR in an extension", "R", b"5;a\rb\r\nhello\r\n" + LAST),
        ("NUL in an extension", "R", b"5;a\0b\r\nhello\r\n" + LAST),
        ("a long extension", "R", b"5;" + b"a" * 100_000 + b"\r\nhello\r\n" + LAST),
        ("too many octets", "R", b"5\r\nhello!\r\n" + LAST),
        ("bare LF behind the octets", "R", b"5\r\nhello\n" + LAST),
        ("nothing behind the octets", "R", b"5\r\nhello" + LAST),
        ("64 bits", "R", b"FFFFFFFFFFFFFFFF\r\nx"),
        ("more than 64 bits", "R", b"10000000000000005\r\nhello\r\n" + LAST),
        ("far too many digits", "R", b"0" * 5000 + b"5\r\nhello\r\n" + LAST),
        ("text behind the last chunk", "R|1", b"0\r\nX" + GHOST),
        ("a length as trailer", "R|1", b"0\r\nContent-Length: 100\r\n\r\n"),
        ("a request as trailer", "R|1", b"0\r\n" + GHOST),
        ("bare LF at the end", "R", b"0\n\n"),
    )
)

HEADS = (
    get("Host alone", "1", HOST),
    get(
        "all kinds of fields",
        "1",
        HOST,
        b"X-1: a",
        b"x-2:b",
        b"X_3: \t c\t ",
        b"!#$%&'*+-.^_`|~: d",
        b"X-4:",
    ),
    get("high octets", "1", HOST, b"X-A: caf\xc3\xa9 \xff"),
    get("no colon", "R", HOST, b"nonsense"),
    get("no name", "R", HOST, b": value"),
    get("space before the colon", "R", HOST, b"X-A : b"),
    get("space in the name", "R", HOST, b"X A: b"),
    get("control in the name", "R", HOST, b"X\x01A: b"),
    get("high octet in the name", "R", HOST, b"X-\xff: b"),
    get("parenthesis in the name", "R", HOST, b"X(A): b"),
    get("NUL in the value", "R", HOST, b"X-A: a\0b"),
    get("bare CR in the value", "R", HOST, b"X-A: b\rX-Smuggled: c"),
    get("escape in the value", "R", HOST, b"X-A: \x1b[31m"),
    get("DEL in the value", "R", HOST, b"X-A: \x7f"),
    get("folded", "R", HOST, b"X-A: b", b" folded"),
    get("folded with a tab", "R", HOST, b"X-A: b", b"\tfolded"),
    get("first line folded", "R", b" X-A: b", HOST),
    Case("bare LF", b"GET @P@ HTTP/1.1\nHost: gw.test\n\n", "R"),
    Case("bare LF within", b"GET @P@ HTTP/1.1\r\nHost: gw.test\nX-A: b\r\n\r\n", "R"),
    Case("CR CR LF", b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\r\n\r\n", "R"),
    Case("LF CR", b"GET @P@ HTTP/1.1\n\rHost: gw.test\n\r\n\r\r\n\r\n", "R"),
    get("no Host", "R"),
    get("two Hosts", "R", HOST, b"Host: evil.test"),
    get("the same Host twice", "R", HOST, HOST),
    get("empty Host", "R|1", b"Host:"),
    get("Host with a path", "R", b"Host: gw.test/x"),
    get("Host with user", "R", b"Host: user@gw.test"),
    get("Host with a space", "R", b"Host: gw test"),
    get("list of Hosts", "R|1", b"Host: gw.test, evil.test"),
    get("Host with a port", "1", b"Host: gw.test:8080"),
    get("IPv6 Host", "1", b"Host: [::1]:8080"),
    get("HTTP/1.0 without Host", "1", start=b"GET @P@ HTTP/1.0"),
    get("HTTP/1.0 with two Hosts", "R", HOST, HOST, start=b"GET @P@ HTTP/1.0"),
    get("Expect of nothing", "R", HOST, b"Expect:"),
    get("Expect of two things", "R", HOST, b"Expect: 100-continue", b"Expect: 100-continue"),
    get("Expect without a body", "1", HOST, b"Expect: 100-continue"),
    get("100 lines", "1", HOST, *[b"X-%d: a" % n for n in range(99)]),
    get("101 lines", "R", HOST, *[b"X-%d: a" % n for n in range(100)]),
    get("1000 lines", "R", HOST, *[b"X-%d: a" % n for n in range(1000)]),
    get("15 KiB", "1", HOST, b"X-A: " + b"a" * 15_000),
    get("exactly 16 KiB", "1", b"X-A: " + b"a" * 12_000, HOST, b"X-B: @F@"),
    get("one octet more", "R", b"X-A: " + b"a" * 12_000, HOST, b"X-B: @F@a"),
    get("16 KiB and more", "R", HOST, b"X-A: " + b"a" * 16_384),
    get("1 MiB", "R", HOST, b"X-A: " + b"a" * (1 << 20)),
    get("16 KiB in many lines", "R", HOST, *[b"X-%d: " % n + b"a" * 1000 for n in range(17)]),
    get("Expect of something else", "R", HOST, b"Expect: something"),
    get(
        "an upgrade is ignored",
        "1",
        HOST,
        b"Upgrade: h2c",
        b"Connection: Upgrade, HTTP2-Settings",
        b"HTTP2-Settings: AAMAAABk",
    ),
    get(
        "a websocket is ignored",
        "1",
        HOST,
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
    ),
)

LINES = (
    get("trailing space", "R", HOST, start=b"GET @P@ HTTP/1.1 "),
    get("two spaces", "R", HOST, start=b"GET  @P@ HTTP/1.1"),
    get("tab", "R", HOST, start=b"GET\t@P@ HTTP/1.1"),
    get("leading space", "R", HOST, start=b" GET @P@ HTTP/1.1"),
    get("space in the target", "R", HOST, start=b"GET @P@ x HTTP/1.1"),
    get("no version", "R", HOST, start=b"GET @P@"),
    get("no target", "R", HOST, start=b"GET HTTP/1.1"),
    get("nothing", "R", HOST, start=b"GET"),
    get("1.10", "R", HOST, start=b"GET @P@ HTTP/1.10"),
    get("1.2", "R", HOST, start=b"GET @P@ HTTP/1.2"),
    get("2.0", "R", HOST, start=b"GET @P@ HTTP/2.0"),
    get("0.9", "R", HOST, start=b"GET @P@ HTTP/0.9"),
    get("1", "R", HOST, start=b"GET @P@ HTTP/1"),
    get("1.", "R", HOST, start=b"GET @P@ HTTP/1."),
    get("11.1", "R", HOST, start=b"GET @P@ HTTP/11.1"),
    get("lower case", "R", HOST, start=b"GET @P@ http/1.1"),
    get("another protocol", "R", HOST, start=b"GET @P@ FOO/1.1"),
    get("NUL in the target", "R", HOST, start=b"GET @P@\0 HTTP/1.1"),
    get("control in the target", "R", HOST, start=b"GET @P@\x01 HTTP/1.1"),
    get("DEL in the target", "R", HOST, start=b"GET @P@\x7f HTTP/1.1"),
    get("CR in the target", "R", HOST, start=b"GET @P@\rx HTTP/1.1"),
    get("control in the method", "R", HOST, start=b"G\x01T @P@ HTTP/1.1"),
    get("parenthesis in the method", "R", HOST, start=b"G(T @P@ HTTP/1.1"),
    get("a method of 20 000 letters", "R", HOST, start=b"G" * 20_000 + b" @P@ HTTP/1.1"),
    get("a line of 16 KiB", "R", HOST, start=b"GET /" + b"x" * (16384 - 14) + b" HTTP/1.1"),
    get("a target of 20 000 letters", "R", HOST, start=b"GET /" + b"x" * 20_000 + b" HTTP/1.1"),
    get("absolute form", "R|1", HOST, start=b"GET http://evil.test@P@ HTTP/1.1"),
    get("no slash", "R", HOST, start=b"GET x HTTP/1.1"),
    get("query only", "R", HOST, start=b"GET ?path=/workspace/a.txt HTTP/1.1"),
    get("asterisk", "R|1", HOST, start=b"OPTIONS * HTTP/1.1"),
    get("CONNECT", "R", HOST, start=b"CONNECT evil.test:443 HTTP/1.1"),
    get("CONNECT to a path", "R", HOST, start=b"CONNECT @P@ HTTP/1.1"),
    get("TRACE", "R", HOST, start=b"TRACE @P@ HTTP/1.1"),
    get("an unknown method", "1", HOST, start=b"BREW @P@ HTTP/1.1"),
    get("HTTP/2 preface", "R", b"", b"SM", start=b"PRI * HTTP/2.0"),
    Case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64 + b"\r\n\r\n", "R"),
    Case("one blank line first", b"\r\nGET @P@ HTTP/1.1\r\nHost: gw.test\r\n\r\n", "1"),
    Case(
        "fifty blank lines first",
        b"\r\n" * 50 + b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        "R|1",
    ),
    Case("octets without end", b"\xff" * 100_000, "R"),
)

SEQUENCES = (
    Case("two", b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\n\r\n" * 2, "2"),
    Case("ten", b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\n\r\n" * 10, "10"),
    Case(
        "a blank line between",
        b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\n\r\n\r\nGET @P@ HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        "2",
    ),
    Case(
        "a good and a bad one",
        b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\n\r\nGET @P@ HTTP/1.1\r\n\r\n",
        "1R",
    ),
    Case(
        "behind a body with length",
        b"POST @P@ HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 5\r\n\r\nhello"
        b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        "2",
    ),
    Case(
        "behind a body that nobody wants",
        b"PUT @P@ HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 5\r\n\r\nhello"
        b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        "2",
    ),
    Case(
        "behind the body of a DELETE",
        b"DELETE @P@ HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 60000\r\n\r\n"
        + b"x" * 60000
        + b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        "2",
    ),
    Case(
        "behind the close",
        b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n" + GHOST,
        "1",
    ),
    Case(
        "behind the close, in a list",
        b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\nConnection: x, Close\r\n\r\n" + GHOST,
        "1",
    ),
    Case("behind HTTP/1.0", b"GET @P@ HTTP/1.0\r\nHost: gw.test\r\n\r\n" + GHOST, "1"),
    Case(
        "the body of a GET",
        b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\nContent-Length: @G@\r\n\r\n" + GHOST,
        "R|1",
    ),
    Case(
        "the body of a POST",
        b"POST @P@ HTTP/1.1\r\nHost: gw.test\r\nContent-Length: @G@\r\n\r\n" + GHOST,
        "1",
    ),
    Case(
        "the chunk of a POST",
        b"POST @P@ HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n@X@\r\n"
        + GHOST
        + b"\r\n0\r\n\r\n",
        "1",
    ),
)


def wire_of(given: Case, read: bytes, write: bytes, credential: bytes) -> bytes:
    """
    :param read: a target for ``GET``.
    :param write: a target for ``POST`` that takes the body.
    :param credential: a header line.
    :return: the bytes to send for a case.
    """
    ghost = GHOST.replace(b"@P@", read).replace(b"@A@", credential)
    wire = given.wire.replace(b"@G@", b"%d" % len(ghost)).replace(b"@X@", b"%x" % len(ghost))
    wire = wire.replace(GHOST, ghost).replace(b"@P@", read).replace(b"@A@", credential)
    if b"@F@" in wire:  # pads request line and headers to 16 KiB
        head = wire.partition(b"\r\n\r\n")[0].replace(b"@F@a", b"").replace(b"@F@", b"")
        wire = wire.replace(b"@F@", b"f" * (16384 - len(head)))
    if wire.startswith(b"POST "):
        wire = wire.replace(read, write, 1).replace(HOST, HOST + b"\r\n" + credential, 1)
        wire = wire.replace(HOST, HOST + b"\r\n" + FORM, 1)
    return wire


class FramingTests(LiveCase):
    """Well-formed and malformed requests; every case is sent to both roles."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/a.txt", b"hello a\n")

    def targets(self, role: Role) -> tuple[bytes, bytes, bytes]:
        """:return: a target for ``GET``, one for ``POST`` that takes the body, the credential."""
        if role is self.pair.workspace:
            return (
                b"/internal/file/read?path=/workspace/a.txt",
                b"/internal/chat/uploads/ingest",
                b"Authorization: Bearer " + self.pair.secret.encode(),
            )
        return (
            self.pair.download_target(b"path=/workspace/a.txt"),
            b"/registry/heartbeat",
            b"Authorization: Bearer " + self.pair.token.encode(),
        )

    def said(self, role: Role, given: Case) -> list[Response]:
        """:return: the responses of *role* to the case."""
        wire = wire_of(given, *self.targets(role))
        with Connection(role.url) as connection:
            try:
                connection.send(wire if "R" in given.verdict[:2] else wire + MARK)
                if given.verdict == "R|1":
                    connection.send(MARK)
            except ConnectionError:
                pass  # the role has refused the request already
            return answers_in(connection.until_closed())

    def judge(self, role: Role, given: Case) -> str | None:
        """:return: what is wrong with the response to a case."""
        try:
            answers = self.said(role, given)
        except Exception as error:
            return f"{role.name}, {given.about}: {error!r}"
        for name in ("date", "server", "x-request-id", "content-length"):
            if any(answer.get(name) is None for answer in answers):
                return f"{role.name}, {given.about}: no {name}"
        seen = "".join(map(self.kind, answers))
        if given.verdict == "R":
            good = seen == "R"
        elif given.verdict == "R|1":
            good = seen in ("R", "1", "1M")
        elif given.verdict == "1R":
            good = seen == "1R"
        else:
            closes = any(answer.get("connection") == "close" for answer in answers[-2:-1])
            closes = closes or b"close" in given.wire.lower() or b"HTTP/1.0" in given.wire
            good = seen == "1" * int(given.verdict) + ("" if closes else "M")
        told = [(answer.status, answer.body[:80]) for answer in answers]
        return None if good else f"{role.name}, {given.about}: {told}"

    @staticmethod
    def kind(answer: Response) -> str:
        """:return: ``R`` if the framing was refused, ``M`` for `MARK`, ``1`` otherwise."""
        if answer.get("x-request-id") == "mark":
            return "M"
        return "R" if answer.status >= 400 and answer.json["code"] in REFUSALS else "1"

    def check(self, cases: tuple[Case, ...]) -> None:
        """Each case gets the expected responses, and no hidden request is served."""
        roles = [hop[1] for hop in self.pair.hops("path=/workspace/a")]
        with ThreadPoolExecutor(8) as threads:
            wrong = [
                what
                for role in roles
                for what in threads.map(lambda each, role=role: self.judge(role, each), cases)
                if what is not None
            ]
        self.assertEqual("\n".join(wrong), "")
        for role in roles:
            with Connection(role.url) as connection:  # the log is complete after this
                connection.exchange("GET", "/internal/file/read", {"X-Request-Id": "end"})
            self.assertNotIn("ghost", role.log)

    def test_lengths(self) -> None:
        """A malformed or ambiguous ``Content-Length`` is refused."""
        self.check(LENGTHS)

    def test_codings(self) -> None:
        """A malformed, unknown or ambiguous ``Transfer-Encoding`` is refused."""
        self.check(CODINGS)

    def test_chunks(self) -> None:
        """A malformed chunked body is refused."""
        self.check(CHUNKS)

    def test_heads(self) -> None:
        """Malformed, too many and too large headers are refused."""
        self.check(HEADS)

    def test_request_lines(self) -> None:
        """A malformed request line is refused."""
        self.check(LINES)

    def test_sequences(self) -> None:
        """Pipelined requests are served in order; a request within a body is not served."""
        self.check(SEQUENCES)

    def test_octet_by_octet(self) -> None:
        """Requests that arrive one byte at a time are parsed correctly."""
        for role in (self.pair.workspace, self.pair.platform):
            for wire, status in (
                (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200),
                (
                    b"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                    b"1\r\na\r\n0\r\n\r\n",
                    405,
                ),
                (b"GET /health HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n", 400),
            ):
                connection = self.connect(role)
                connection.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
                for octet in wire:
                    connection.send(bytes([octet]))
                self.assertEqual(connection.response().status, status, wire)


class SlowHeadTests(ImpatientCase):
    """The time limit for all headers of a request."""

    def ends(self, role: Role, first: bytes, drop: bytes) -> tuple[bytes, float]:
        """:return: what *role* sends while headers arrive slowly, and when it disconnects."""
        began = time.monotonic()
        with Connection(role.url) as connection:
            connection.socket.settimeout(0.1)
            said = b""
            connection.send(first)
            while time.monotonic() - began < PATIENCE:
                try:
                    connection.send(drop)
                    data = connection.socket.recv(4096)
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
                said += data
                if not data:
                    break
            return said, time.monotonic() - began

    def test_drops(self) -> None:
        """The time limit is for all headers; a byte now and then does not extend it."""
        cases = [
            (role, first, drop)
            for role in (self.pair.workspace, self.pair.platform)
            for first, drop in (
                (b"", b""),
                (b"G", b"E"),
                (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
                (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"y"),
                (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /", b"x"),
            )
        ]
        with ThreadPoolExecutor(len(cases)) as threads:
            ended = list(threads.map(lambda each: self.ends(*each), cases))
        for (role, first, _), (said, after) in zip(cases, ended, strict=True):
            self.assertGreater(after, 0.7, (role.name, first))
            self.assertLess(after, PATIENCE, (role.name, first))
            statuses = [answer.status for answer in answers_in(said)]
            wanted = [[], [408], [200, 408], [200]]
            self.assertIn(statuses, wanted, (role.name, first))


class BodyTests(LiveCase):
    """
    Bodies of refused requests: the response arrives, and its ``Connection`` header is right about
    whether the connection persists.
    """

    def test_unwanted(self) -> None:
        """A client whose body is refused receives the response, however large the body is."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(self.refuses_bodies, (self.pair.workspace, self.pair.platform)))

    def refuses_bodies(self, role: Role) -> None:
        """Send bodies of several sizes to a resource that accepts none."""
        for size in (1, 1000, 60_000, 200_000, 10_000_000):
            connection = self.connect(role)
            try:
                connection.ask("POST", "/health", {}, b"x" * size)
            except ConnectionError:
                self.assertGreater(size, 60_000, "cut too early")
            answer = connection.response()
            self.assertEqual(answer.status, 405, size)
            if answer.get("connection") != "close":
                self.assertEqual(connection.exchange("GET", "/health").status, 200, size)

    def test_expect(self) -> None:
        """A refused request with ``Expect: 100-continue`` does not get ``100 Continue``."""
        for role in (self.pair.workspace, self.pair.platform):
            for target in ("/health", "/internal/file/read", "/workspaces/x/chat/uploads"):
                connection = self.connect(role)
                fields = {"Expect": "100-continue", "Content-Length": "1000000"}
                connection.ask("POST", target, fields)
                said = connection.until_closed()
                self.assertNotIn(b"100 Continue", said)
                [answer] = answers_in(said)
                self.assertIn(answer.status, (401, 404, 405))
