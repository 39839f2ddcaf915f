"""
Responses of a broken workspace, and what the client has to receive then (reference/resolution,
"Accepted responses").
"""

from __future__ import annotations

from dataclasses import dataclass

from chatfiles.testing.broken_upstreams import Then

__all__ = [
    "BADLY",
    "CASES",
    "CHUNKED",
    "LATE",
    "OK",
    "TYPE",
    "UNREACHABLE",
    "Case",
    "head_with",
    "ok",
]

TYPE = b"Content-Type: application/octet-stream\r\n"
OK = b"HTTP/1.1 200 OK\r\n" + TYPE
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BADLY, UNREACHABLE, LATE = (
    "workspace answered badly",
    "workspace unreachable",
    "workspace did not answer",
)


def ok(length: int, body: bytes | None = None, more: bytes = b"") -> bytes:
    """:return: a response that announces so many bytes, and has as many unless *body* is given."""
    content = b"x" * length if body is None else body
    return OK + more + b"Content-Length: %d\r\n\r\n" % length + content


@dataclass(frozen=True, slots=True)
class Case:
    """
    :param raw: what the workspace sends.
    :param then: what it does then: ``close``, ``reset``, ``hang``, ``keep`` (serve once more), or
        ``half`` (close its sending half only).
    :param expect: what the client receives, one of: a number of bytes, complete; ``cut``, an
        incomplete body; a text of a 502 or 504.
    """

    about: str
    raw: bytes
    then: Then
    expect: tuple[int | str, ...]


def case(about: str, raw: bytes, then: Then, *expect: int | str) -> Case:
    """:return: a `Case`."""
    return Case(about, raw, then, expect)


def head_with(*lines: bytes, body: bytes = b"abc") -> bytes:
    """:return: a 200 with these header lines, a length of 3, and a body."""
    return OK + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: 3\r\n\r\n" + body


CASES: tuple[Case, ...] = (
    # bodies with a length
    case("complete, closed", ok(1000), "close", 1000),
    case("complete, kept", ok(1000), "keep", 1000),
    case("complete, never closed", ok(1000), "hang", 1000),
    case("complete, half closed", ok(1000), "half", 1000),
    case("empty", ok(0), "keep", 0),
    case("cut", ok(1000, b"x" * 400), "close", "cut"),
    case("reset", ok(1000, b"x" * 400), "reset", "cut", UNREACHABLE, BADLY),
    case("half closed too early", ok(1000, b"x" * 400), "half", "cut"),
    case("stalls", ok(1000, b"x" * 400), "hang", "cut"),
    case("nothing of the body", ok(1000, b""), "close", "cut"),
    case("one octet is missing", ok(1000, b"x" * 999), "close", "cut"),
    case("large and cut", ok(5_000_000, b"x" * 4_999_999), "close", "cut"),
    case("one octet too many", ok(1000, b"x" * 1001), "close", 1000),
    case("an answer that nobody asked for", ok(1000) + ok(4, b"EVIL"), "keep", 1000),
    case("ends by closing only", OK + b"\r\n" + b"x" * 1000, "close", BADLY),
    case("ends by closing only, and says so", OK + b"Connection: close\r\n\r\nx", "close", BADLY),
    case("no length in HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 10, "close", BADLY),
    case("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "close", 3),
    # chunked bodies
    case("chunked", CHUNKED + b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n", "keep", 1000),
    case(
        "chunk sizes in capitals",
        CHUNKED + b"3E8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n",
        "close",
        1000,
    ),
    case("leading zeroes", CHUNKED + b"0003\r\nabc\r\n000\r\n\r\n", "close", 3),
    case("many chunks", CHUNKED + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n", "close", 1000),
    case("chunk extension", CHUNKED + b"3;a=b\r\nabc\r\n0\r\n\r\n", "close", 3, "cut", BADLY),
    case("trailer", CHUNKED + b"3\r\nabc\r\n0\r\nX-A: b\r\n\r\n", "close", 3, "cut", BADLY),
    case("no field for a trailer", CHUNKED + b"0\r\nX\r\n\r\n", "close", "cut", BADLY),
    case("a bare CR in a trailer", CHUNKED + b"0\r\nX: \r\r\n\r\n", "close", "cut", BADLY),
    case("empty, chunked", CHUNKED + b"0\r\n\r\n", "keep", 0),
    case("cut inside a chunk", CHUNKED + b"3e8\r\n" + b"x" * 400, "close", "cut"),
    case("cut behind a chunk", CHUNKED + b"3e8\r\n" + b"x" * 1000 + b"\r\n", "close", "cut"),
    case("cut before the end of a chunk", CHUNKED + b"3\r\nabc", "close", "cut"),
    case("cut inside a size", CHUNKED + b"3\r\nabc\r\n3", "close", "cut"),
    case("cut behind the last chunk", CHUNKED + b"3\r\nabc\r\n0\r\n", "close", "cut"),
    case("stalls behind a chunk", CHUNKED + b"3\r\nabc\r\n", "hang", "cut"),
    case("stalls before the first chunk", CHUNKED, "hang", "cut", BADLY, LATE),
    case("0x", CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", "close", "cut", BADLY),
    case("plus", CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n", "close", "cut", BADLY),
    case("minus", CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", "close", "cut", BADLY),
    case("no size", CHUNKED + b"\r\nabc\r\n0\r\n\r\n", "close", "cut", BADLY),
    case("letters", CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n", "close", "cut", BADLY),
    case("an enormous size", CHUNKED + b"F" * 16 + b"\r\nabc", "close", "cut", BADLY),
    case("a size without end", CHUNKED + b"0" * 100_000, "close", "cut", BADLY),
    case("no line end behind a chunk", CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", "close", "cut", BADLY),
    case("a bare line feed behind a size", CHUNKED + b"3\nabc\r\n0\r\n\r\n", "close", "cut", BADLY),
    case(
        "chunked twice",
        OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "close",
        BADLY,
    ),
    case("two codings", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "close", BADLY),
    case("an unknown coding", OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "close", BADLY),
    case("identity", OK + b"Transfer-Encoding: identity\r\n\r\nabc", "close", BADLY),
    case(
        "chunked in HTTP/1.0",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "close",
        BADLY,
    ),
    # conflicting or invalid framing
    case(
        "length and chunked",
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "close",
        BADLY,
    ),
    case(
        "chunked and length",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "close",
        BADLY,
    ),
    case(
        "two lengths",
        OK + b"Content-Length: 1000\r\nContent-Length: 900\r\n\r\n" + b"x" * 1000,
        "close",
        BADLY,
    ),
    case(
        "the same length twice",
        OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "close",
        3,
        BADLY,
    ),
    case("a list of lengths", OK + b"Content-Length: 3, 3\r\n\r\nabc", "close", 3, BADLY),
    case("a list of two lengths", OK + b"Content-Length: 3, 4\r\n\r\nabcd", "close", BADLY),
    case("negative", OK + b"Content-Length: -5\r\n\r\nabc", "close", BADLY),
    case("plus sign", OK + b"Content-Length: +3\r\n\r\nabc", "close", BADLY),
    case("hexadecimal", OK + b"Content-Length: 0x3\r\n\r\nabc", "close", BADLY),
    case("fraction", OK + b"Content-Length: 3.0\r\n\r\nabc", "close", BADLY),
    case("no number", OK + b"Content-Length: abc\r\n\r\nabc", "close", BADLY),
    case("no digits", OK + b"Content-Length:\r\n\r\nabc", "close", BADLY),
    case(
        "64 bits and more", OK + b"Content-Length: 99999999999999999999\r\n\r\nabc", "close", BADLY
    ),
    # status lines and headers
    case("nothing, closed", b"", "close", UNREACHABLE),
    case("nothing, reset", b"", "reset", UNREACHABLE),
    case("nothing, silent", b"", "hang", LATE),
    case("half a status line", b"HTTP/1.1 200", "close", BADLY, UNREACHABLE),
    case("half a status line, silent", b"HTTP/1.1 200", "hang", LATE),
    case("half a head", OK + b"X-A: b\r\n", "close", BADLY, UNREACHABLE),
    case("half a head, silent", OK + b"X-A: b\r\n", "hang", LATE),
    case("not HTTP", b"SSH-2.0-OpenSSH_9.6\r\n", "hang", BADLY),
    case("not HTTP, without line end", b"\x16\x03\x01\x02\x00\x01", "hang", BADLY),
    case("HTTP/0.9", b"<html>hello</html>", "close", BADLY),
    case("HTTP/2", b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n", "close", BADLY),
    case("HTTP/1.10", b"HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n", "close", BADLY),
    case("two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", "close", BADLY),
    case("four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", "close", BADLY),
    case("no digits", b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n", "close", BADLY),
    case("999", b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", "close", BADLY),
    case("000", b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n", "close", BADLY),
    case("no reason phrase", b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", "close", 3, BADLY),
    case("bare line feeds", b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", "close", BADLY),
    case("a blank line first", b"\r\n" + ok(3), "close", 3, BADLY),
    case("a field without colon", head_with(b"nonsense"), "close", BADLY),
    case("a field without name", head_with(b": value"), "close", BADLY),
    case("a space before the colon", head_with(b"X-A : b"), "close", BADLY),
    case("a folded field", head_with(b"X-A: b\r\n c"), "close", BADLY, 3),
    case("a NUL", head_with(b"X-A: b\0c"), "close", BADLY),
    case(
        "a bare CR",
        head_with(b'Content-Disposition: attachment; filename="a\rSet-Cookie: x=1"'),
        "close",
        BADLY,
    ),
    case(
        "a bare LF", head_with(b"Content-Disposition: attachment\nSet-Cookie: x=1"), "close", BADLY
    ),
    case("100 000 fields", head_with(*[b"X-%d: 1" % n for n in range(100_000)]), "close", BADLY),
    case("101 fields", head_with(*[b"X-%d: 1" % n for n in range(100)]), "close", BADLY),
    case("a field of 70 000 octets", head_with(b"X-A: " + b"b" * 70_000), "close", BADLY),
    case(
        "64 KiB of fields",
        head_with(*[b"X-%d: " % n + b"b" * 7000 for n in range(10)]),
        "close",
        BADLY,
    ),
    case(
        "60 kB of fields", head_with(*[b"X-%d: " % n + b"b" * 6000 for n in range(10)]), "close", 3
    ),
    case("a head without end", OK + b"X-A: " + b"b" * 10_000_000, "hang", BADLY),
    # statuses
    case("100, then the answer", b"HTTP/1.1 100 Continue\r\n\r\n" + ok(3), "close", 3),
    case(
        "103, then the answer", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + ok(3), "close", 3
    ),
    case("100 only", b"HTTP/1.1 100 Continue\r\n\r\n", "close", BADLY, UNREACHABLE),
    case("100 only, silent", b"HTTP/1.1 100 Continue\r\n\r\n", "hang", LATE),
    case("100 without end", b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, "hang", BADLY),
    case(
        "an unasked upgrade",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw",
        "hang",
        BADLY,
    ),
    case(
        "301",
        b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        "keep",
        BADLY,
    ),
    case(
        "302",
        b"HTTP/1.1 302 Found\r\nLocation: /internal/file/read\r\nContent-Length: 0\r\n\r\n",
        "keep",
        BADLY,
    ),
    case("300", b"HTTP/1.1 300 Multiple Choices\r\nContent-Length: 0\r\n\r\n", "keep", BADLY),
    case(
        "307",
        b"HTTP/1.1 307 Temporary\r\nLocation: //evil.test/\r\nContent-Length: 0\r\n\r\n",
        "keep",
        BADLY,
    ),
    case(
        "308",
        b"HTTP/1.1 308 Permanent\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
        "keep",
        BADLY,
    ),
    case(
        "304 to nothing conditional",
        b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n',
        "keep",
        BADLY,
    ),
    case(
        "206 to no range",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-2/9\r\nContent-Length: 3\r\n\r\nabc",
        "close",
        BADLY,
    ),
    case(
        "204 with a body",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        "close",
        0,
        BADLY,
    ),
    case(
        "401",
        b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 5\r\n\r\nnope!",
        "close",
        "workspace refused the platform's credentials",
    ),
    # content codings
    case("gzip", head_with(b"Content-Encoding: gzip"), "close", BADLY),
    case("br", head_with(b"Content-Encoding: br"), "close", BADLY),
    case("identity, said aloud", head_with(b"Content-Encoding: identity"), "close", 3),
    # other forms of lengths
    case("leading zeroes in a length", OK + b"Content-Length: 003\r\n\r\nabc", "close", 3, BADLY),
    case("a tab before a length", OK + b"Content-Length:\t3 \r\n\r\nabc", "close", 3),
    case("two numbers", OK + b"Content-Length: 3 3\r\n\r\nabc", "close", BADLY),
    case("a length and more", OK + b"Content-Length: 3;\r\n\r\nabc", "close", BADLY),
    case("a quoted length", OK + b'Content-Length: "3"\r\n\r\nabc', "close", BADLY),
    case("2**63", OK + b"Content-Length: 9223372036854775808\r\n\r\nabc", "close", BADLY),
    case("2**64 and 3", OK + b"Content-Length: 18446744073709551619\r\n\r\nabc", "close", BADLY),
    case("2**32 and 3", OK + b"Content-Length: 4294967299\r\n\r\nabc", "close", "cut"),
    case("digits of another script", OK + b"Content-Length: \xb3\r\n\r\nabc", "close", BADLY),
    case("NUL behind a length", OK + b"Content-Length: 3\0\r\n\r\nabc", "close", BADLY),
    case("a space before its colon", OK + b"Content-Length : 3\r\n\r\nabc", "close", BADLY),
    case("a folded length", OK + b"Content-Length:\r\n 3\r\n\r\nabc", "close", BADLY),
    case("folded onto another", OK + b"X: y\r\n Content-Length: 3\r\n\r\nabc", "close", BADLY),
    case("behind a bare CR", OK + b"X: y\rContent-Length: 3\r\n\r\nabc", "close", BADLY),
    case("three lengths", OK + b"Content-Length: 3\r\n" * 3 + b"\r\nabc", "close", 3, BADLY),
    # other forms of transfer codings
    case(
        "chunked in capitals",
        OK + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "close",
        3,
    ),
    *(
        case(about, OK + line + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "close", BADLY)
        for about, line in (
            ("a comma behind chunked", b"Transfer-Encoding: chunked,"),
            ("a comma before chunked", b"Transfer-Encoding: ,chunked"),
            ("a parameter of chunked", b"Transfer-Encoding: chunked;q=1"),
            ("a vertical tab before chunked", b"Transfer-Encoding: \x0bchunked"),
            ("NUL behind chunked", b"Transfer-Encoding: chunked\0"),
            ("a high octet behind chunked", b"Transfer-Encoding: chunked\xff"),
            ("quoted chunked", b'Transfer-Encoding: "chunked"'),
            ("an empty coding", b"Transfer-Encoding:"),
            ("two lines of codings", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            ("two codings in lines", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
            ("a space before the colon of chunked", b"Transfer-Encoding : chunked"),
            ("chunked, folded", b"Transfer-Encoding:\r\n chunked"),
            ("chunked folded onto another", b"X: y\r\n Transfer-Encoding: chunked"),
            ("chunked behind a bare CR", b"X: y\rTransfer-Encoding: chunked"),
            ("chunked behind a bare LF", b"X: y\nTransfer-Encoding: chunked"),
            ("the name of the coding in two lines", b"Transfer-\r\nEncoding: chunked"),
            ("an underscore in the name", b"Transfer_Encoding: chunked"),
        )
    ),
    # other forms of chunks
    *(
        case(about, CHUNKED + body, "close", "cut", BADLY)
        for about, body in (
            ("a size that wraps at 64 bits", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
            ("a space before a size", b" 3\r\nabc\r\n0\r\n\r\n"),
            ("an underscore in a size", b"0_3\r\nabc\r\n0\r\n\r\n"),
            ("an exponent", b"3e\r\nabc\r\n0\r\n\r\n"),
            ("a bare CR behind a size", b"3\rabc\r\n0\r\n\r\n"),
            ("NUL behind a size", b"3\0\r\nabc\r\n0\r\n\r\n"),
            ("LF in an extension", b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
            ("CR in an extension", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
            ("NUL in an extension", b"3;a\0b\r\nabc\r\n0\r\n\r\n"),
            ("a long extension", b"3;" + b"a" * 100_000 + b"\r\nabc\r\n0\r\n\r\n"),
            ("a bare LF behind a chunk", b"3\r\nabc\n0\r\n\r\n"),
            ("a chunk that is longer", b"3\r\nabcd\r\n0\r\n\r\n"),
            ("a chunk that is shorter", b"5\r\nabc\r\n0\r\n\r\n"),
            ("bare LF at the end", b"3\r\nabc\r\n0\n\n"),
            ("no blank line at the end", b"3\r\nabc\r\n0\r\nHTTP/1.1 200 OK\r\n"),
            ("a long trailer", b"3\r\nabc\r\n0\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"),
            ("a trailer without end", b"3\r\nabc\r\n0\r\n" + b"X: y\r\n" * 100_000),
        )
    ),
    case("a space behind a size", CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", "close", 3, "cut", BADLY),
    # A trailer is discarded, and the bytes before it are the whole body.
    *(
        case(about, CHUNKED + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n\r\n", "close", 3, "cut")
        for about, trailer in (
            ("a length as trailer", b"Content-Length: 9"),
            ("a trailer without colon", b"nonsense"),
            ("a folded trailer", b" X: y"),
            ("a bare LF in a trailer", b"X: y\nZ: z"),
            ("an answer as trailer", b"X: y\n\n" + ok(4, b"EVIL")),
        )
    ),
    # responses behind responses
    case(
        "behind a chunked one",
        CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + ok(4, b"EVIL"),
        "keep",
        3,
        "cut",
    ),
    case("behind an empty one", ok(0) + ok(4, b"EVIL"), "keep", 0),
    case("behind a 204", b"HTTP/1.1 204 No Content\r\n\r\n" + ok(4, b"EVIL"), "keep", 0, BADLY),
    case(
        "behind an error",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc" + ok(4, b"EVIL"),
        "keep",
        404,
    ),
    case(
        "a body that a 204 cannot have",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n",
        "keep",
        0,
        BADLY,
    ),
    # other forms of status lines
    *(
        case(about, line + b"\r\nContent-Length: 3\r\n\r\nabc", "close", BADLY)
        for about, line in (
            ("no space behind the status", b"HTTP/1.1 200OK"),
            ("two spaces before the status", b"HTTP/1.1  200 OK"),
            ("a tab before the status", b"HTTP/1.1\t200 OK"),
            ("a space before the version", b" HTTP/1.1 200 OK"),
            ("lower case", b"http/1.1 200 OK"),
            ("another protocol", b"ICY 200 OK"),
            ("no version", b"HTTP 200 OK"),
            ("half a version", b"HTTP/1. 200 OK"),
            ("version 0.9", b"HTTP/0.9 200 OK"),
            ("version 2.0", b"HTTP/2.0 200 OK"),
            ("version 1.2", b"HTTP/1.2 200 OK"),
            ("a sign before the status", b"HTTP/1.1 +20 OK"),
            ("hexadecimal digits", b"HTTP/1.1 2a0 OK"),
            ("099", b"HTTP/1.1 099 OK"),
            ("600", b"HTTP/1.1 600 OK"),
            ("a NUL in the reason", b"HTTP/1.1 200 O\0K"),
            ("a bare CR in the reason", b"HTTP/1.1 200 OK\rX: y"),
            ("a bare LF in the reason", b"HTTP/1.1 200 OK\nX: y"),
        )
    ),
    case(
        "high octets in the reason",
        b"HTTP/1.1 200 \xc3\xa9t\xe9\r\nContent-Length: 3\r\n\r\nabc",
        "close",
        3,
    ),
    # interim responses
    case(
        "102 and 199", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 X\r\n\r\n" + ok(3), "close", 3
    ),
    case("eight of them", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 8 + ok(3), "close", 3),
    case("nine of them", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9 + ok(3), "close", BADLY),
    case(
        "one with a length",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc" + ok(3),
        "close",
        BADLY,
    ),
    case(
        "an upgrade behind one",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 X\r\n\r\n",
        "hang",
        BADLY,
    ),
    # other forms of headers
    case("a control in a name", head_with(b"X\x01A: b"), "close", BADLY),
    case("a space in a name", head_with(b"X A: b"), "close", BADLY),
    case("a high octet in a name", head_with(b"X-\xff: b"), "close", BADLY),
    case("a control in a value", head_with(b"X-A: \x1b[31m"), "close", BADLY),
    case("DEL in a value", head_with(b"X-A: \x7f"), "close", BADLY),
    case("high octets in a value", head_with(b"X-A: caf\xc3\xa9 \xff"), "close", 3),
    case("CR CR LF", head_with(b"X-A: b\r"), "close", BADLY),
    case(
        "the first line folded",
        OK.replace(TYPE, b" X: y\r\n") + b"Content-Length: 3\r\n\r\nabc",
        "close",
        BADLY,
    ),
    case("a tab folded", head_with(b"X-A: b\r\n\tc"), "close", BADLY),
    # other forms of content codings
    case("GZIP", head_with(b"Content-Encoding: GZIP"), "close", BADLY),
    case("two content codings", head_with(b"Content-Encoding: identity, gzip"), "close", BADLY),
    case(
        "two lines of them",
        head_with(b"Content-Encoding: identity", b"Content-Encoding: gzip"),
        "close",
        BADLY,
    ),
)
