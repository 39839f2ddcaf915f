"""
`chatfiles.http.message_head.response.HeadScanner`, fed in any division, against an oracle that
reads all bytes at once.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatfiles.http.message_head.response import (
    MAX_HEAD_BYTES,
    MAX_INTERIM,
    BadResponse,
    HeadScanner,
    ResponseHead,
)
from chatfiles.http.message_head.rules import MAX_HEADER_LINES
from tests.fuzz.wire import CUTS, DIGITS, Bad, Incomplete, divided, field, has_control

#: Responses up to this many bytes are also fed one byte at a time.
FEW = 2000
STARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 206 Partial Content",
        b"HTTP/1.1 204",
        b"HTTP/1.1 304 Not Modified",
        b"HTTP/1.1 404 \xe9",
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 103 ",
        b"HTTP/1.1 101 x",
        b"HTTP/1.1 302 Found",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 600 x",
        b"HTTP/1.1  200",
        b"HTTP/1.2 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1 200 a\0b",
        b"",
        b"x",
    ]
)
LINES = st.sampled_from(
    [
        b"Content-Length: 3",
        b"content-length:3",
        b"Content-Length: 4",
        b"Content-Length: 3, 3",
        b"Content-Length: -1",
        b"Content-Length: +3",
        b"Content-Length:",
        b"Content-Length: 0x3",
        b"Content-Length: 9223372036854775807",
        b"Content-Length: 9223372036854775808",
        b"Content-Length: 003",
        b"Content-Length: 3\x0b",
        b"Content-Length : 3",
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: CHUNKED\t",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding:",
        b"Connection: close",
        b"Connection: x, Close ",
        b"Connection: keep-alive",
        b"Content-Encoding: gzip",
        b"Content-Encoding: Identity",
        b"Content-Encoding:",
        b"X-A: b",
        b"X-A:\xff",
        b" folded",
        b"\tfolded",
        b"X-A: \x00",
        b"X-A: \x7f",
        b"X\xe9: y",
        b": y",
        b"nonsense",
        b"X-A: " + b"y" * 700,
    ]
)
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b""])
HEADS = st.builds(
    lambda start, end, lines, last: b"".join([start, end, *(a + b for a, b in lines), last]),
    STARTS,
    ENDS,
    st.lists(st.tuples(LINES, ENDS), max_size=5),
    st.sampled_from([b"\r\n"] * 5 + [b"\n", b"", b"\r"]),
)
#: Headers near the limits.
LONG = st.builds(
    lambda count, size, more: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" + b"X: %s\r\n" % (b"y" * size) * count + more
    ),
    st.integers(MAX_HEADER_LINES - 3, MAX_HEADER_LINES + 1) | st.just(7),
    st.integers(0, 3) | st.integers(640, 660) | st.integers(9340, 9370),
    st.sampled_from([b"\r\n", b"\r\nabc", b"", b"X"]),
)
RAW = st.one_of(
    st.lists(HEADS | st.just(b"HTTP/1.1 100 Continue\r\n\r\n"), min_size=1, max_size=11).map(
        b"".join
    ),
    st.tuples(HEADS, st.binary(max_size=20)).map(b"".join),
    LONG,
    st.binary(max_size=60),
)


def read(raw: bytes, method: bytes) -> ResponseHead:
    """:return: status line and headers of the final response, according to the rules."""
    at, interims = 0, 0
    while True:
        end = raw.find(b"\r\n\r\n", at)
        if end < 0:
            check_beginning(raw[at:])
            if len(raw) > MAX_HEAD_BYTES:
                raise Bad("size")
            raise Incomplete
        lines = raw[at : end + 2].split(b"\r\n")[:-1]
        at = end + 4
        if at > MAX_HEAD_BYTES:
            raise Bad("size")
        version, status = status_line(lines[0])
        if len(lines) > 1 + MAX_HEADER_LINES:
            raise Bad("fields")
        fields = [field(line) for line in lines[1:]]
        names = [name for name, _ in fields]
        if status >= 200:
            return final(lines[0], version, status, fields, method, raw[at:])
        interims += 1
        framed = b"content-length" in names or b"transfer-encoding" in names
        if status == 101 or interims > MAX_INTERIM or framed:
            raise Bad("interim")


def check_beginning(raw: bytes) -> None:
    """Refuse what can never become valid headers."""
    if not b"HTTP/1.".startswith(raw[:7]):
        raise Bad("protocol")
    text = raw.replace(b"\r\n", b"")
    if b"\n" in text or b"\r" in text[:-1] or (text[-1:] == b"\r" and raw[-1:] != b"\r"):
        raise Bad("line end")


def status_line(line: bytes) -> tuple[int, int]:
    """:return: the minor version and the status."""
    start, status, rest = line[:9], line[9:12], line[12:]
    if start not in (b"HTTP/1.0 ", b"HTTP/1.1 ") or len(status) < 3 or not set(status) <= DIGITS:
        raise Bad("status line")
    if not 100 <= int(status) <= 599 or rest[:1] not in (b"", b" "):
        raise Bad("status line")
    if has_control(rest):
        raise Bad("reason phrase")
    return line[7] - ord("0"), int(status)


def final(
    line: bytes,
    version: int,
    status: int,
    fields: list[tuple[bytes, bytes]],
    method: bytes,
    rest: bytes,
) -> ResponseHead:
    """:return: the final response, if every rule about several headers is kept (RFC 9112, 6)."""

    def values(name: bytes) -> list[bytes]:
        return [value for key, value in fields if key == name]

    if 300 <= status <= 399 and status != 304:
        raise Bad("redirect")
    if any(value.lower() not in (b"", b"identity") for value in values(b"content-encoding")):
        raise Bad("coding")
    length = None
    for text in values(b"content-length"):
        if not text or not set(text) <= DIGITS or len(text) > 19 or int(text) >= 2**63:
            raise Bad("length")
        if text != values(b"content-length")[0]:
            raise Bad("lengths")
        length = int(text)
    codings = values(b"transfer-encoding")
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
        raise Bad("transfer coding")
    if codings and (version == 0 or length is not None):
        raise Bad("ambiguous")
    has_body = method != b"HEAD" and status not in (204, 304)
    if has_body and length is None and not codings:
        raise Bad("no length")
    options = b",".join(values(b"connection")).lower().replace(b"\t", b" ").split(b",")
    persistent = version == 1 and b"close" not in [option.strip(b" ") for option in options]
    if method != b"HEAD" and not has_body and (codings or (status == 204 and length)):
        persistent = False
    phrase = line[13:]
    return ResponseHead(
        line[:8], status, phrase, tuple(fields), length, bool(codings), has_body, persistent, rest
    )


@given(RAW, st.sampled_from([b"GET", b"HEAD"]), CUTS)
def check(raw: bytes, method: bytes, cuts: list[int]) -> None:
    """A response is accepted if it keeps every rule, however the network divides it."""
    try:
        wanted: ResponseHead | str = read(raw, method)
    except Bad:
        wanted = "bad"
    except Incomplete:
        wanted = "incomplete"
    divisions = [[raw], list(divided(raw, cuts))]
    if len(raw) < FEW:
        divisions.append([raw[i : i + 1] for i in range(len(raw))])
    for pieces in divisions:
        assert scanned(pieces, method) == wanted, (wanted, pieces)


def scanned(pieces: list[bytes], method: bytes) -> ResponseHead | str:
    """:return: the scanner's result."""
    scanner = HeadScanner(method)
    for number, piece in enumerate(pieces):
        try:
            head = scanner.feed(piece)
        except BadResponse:
            return "bad"
        if head is not None:
            rest = b"".join([head.rest, *pieces[number + 1 :]])
            return head._replace(rest=rest)
    return "incomplete"
