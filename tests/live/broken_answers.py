"""
What a broken workspace may say, and what the caller has to see then (CONTRACT 4, 6.3 and 9).
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """:return: an answer that announces so many octets, and as many unless *body* is given."""
    content = b"x" * length if body is None else body
    return OK + more + b"Content-Length: %d\r\n\r\n" % length + content


@dataclass(frozen=True, slots=True)
class Case:
    """
    :param raw: what the workspace says.
    :param then: what it does then: ``close``, ``reset``, ``hang``, ``keep`` (serve once more), or
        ``half`` (close its sending half only).
    :param expect: what the caller sees, one of: a number of octets, complete; ``cut``; a text of a
        502 or 504.
    """

    about: str
    raw: bytes
    then: str
    expect: tuple[int | str, ...]


def case(about: str, raw: bytes, then: str, *expect: int | str) -> Case:
    """:return: a `Case`."""
    return Case(about, raw, then, expect)


def head_with(*lines: bytes, body: bytes = b"abc") -> bytes:
    """:return: a 200 with these field lines, a length of 3, and a body."""
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
    # two ways to frame, or none
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
    # heads
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
    # codings
    case("gzip", head_with(b"Content-Encoding: gzip"), "close", BADLY),
    case("br", head_with(b"Content-Encoding: br"), "close", BADLY),
    case("identity, said aloud", head_with(b"Content-Encoding: identity"), "close", 3),
)
