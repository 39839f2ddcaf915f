"""
What clients send on one connection, against an oracle that reads all of it by RFC 9112: the same
requests are found, in order, and nothing is served after what is malformed (reference/http,
"Framing").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from chatfiles.http.message_head.request import MAX_HEAD_BYTES
from chatfiles.http.message_head.rules import MAX_HEADER_LINES
from tests.fuzz.wire import (
    CUTS,
    DIGITS,
    TOKEN,
    Bad,
    Incomplete,
    chunked_body,
    divided,
    field,
    has_control,
    mostly,
)
from tests.support.memory_client import Caller, Echo

#: Requests up to this many bytes are also sent one byte at a time.
FEW = 500
REFUSED, REFUSED_METHOD = "refused", "refused method"

STARTS = mostly(
    [b"GET /p HTTP/1.1", b"POST /p HTTP/1.1"],
    [
        b"GET /p?x=%00&y=1 HTTP/1.1",
        b"POST /\xe9/%2F HTTP/1.1",
        b"GET /p HTTP/1.0",
        b"BREW /p HTTP/1.1",
        b"get /p HTTP/1.1",
        b"GET  /p HTTP/1.1",
        b" GET /p HTTP/1.1",
        b"GET /p HTTP/1.1 ",
        b"GET\t/p HTTP/1.1",
        b"GET /p HTTP/1.2",
        b"GET /p HTTP/2.0",
        b"GET /p http/1.1",
        b"GET /p",
        b"GET p HTTP/1.1",
        b"",
        b"GET http://h/p HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"TRACE /p HTTP/1.1",
        b"CONNECT h:1 HTTP/1.1",
        b"GET /p\0 HTTP/1.1",
        b"GET /p HTTP/1.1\0",
        b"GET //h/p HTTP/1.1",
        b"G(T /p HTTP/1.1",
        b'GET /{"|}[<>^` HTTP/1.1',
        b"PRI * HTTP/2.0",
        b"GET /" + b"x" * 2000 + b" HTTP/1.1",
    ],
)
LINES = st.sampled_from(
    [
        b"Content-Length: 3",
        b"content-length:3",
        b"Content-Length: 3 ",
        b"Content-Length: 0",
        b"Content-Length: 30",
        b"Content-Length: +3",
        b"Content-Length: 3, 3",
        b"Content-Length:",
        b"Content-Length : 3",
        b"Content-Length: 003",
        b"Content-Length: 99999999999999999999",
        b"Content-Length: 0x3",
        b"Content-Length:\t3",
        b"Content-Length: \xb23",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\t",
        b"transfer-encoding:CHUNKED",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding:",
        b"Transfer_Encoding: chunked",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: x, CLOSE",
        b"Expect: 100-continue",
        b"Expect: 100-Continue",
        b"Expect: x",
        b"Expect: 100-continue, x",
        b"Host: h",
        b"Host: h:80",
        b"Host: [::1]",
        b"Host:",
        b"Host: a b",
        b"Host: h/x",
        b"X-A: b",
        b"X-A:",
        b"X-A: \xe9",
        b"X-A: \0",
        b"X-A: a\rb",
        b" folded",
        b"\tfolded",
        b"X A: b",
        b": x",
        b"nonsense",
        b"X\xe9: y",
        b"X-A: " + b"y" * 3000,
    ]
)
ENDS = mostly([b"\r\n"], [b"\n", b"\r", b"\r\r\n", b""])
#: How a body is framed; a body that fits is more likely than one that does not.
FRAMINGS = st.sampled_from([b"", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"])
FITTING = {
    b"": b"",
    b"Content-Length: 3\r\n": b"abc",
    b"Transfer-Encoding: chunked\r\n": b"3\r\nabc\r\n0\r\n\r\n",
}
ODD_BODIES = st.sampled_from(
    [
        b"0\r\n\r\n",
        b"3\r\nabc\r\n",
        b"3;x\r\nabc\r\n0\r\nX-A: b\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"0\r\nGET /ghost HTTP/1.1\r\nHost: h\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"ffffffffffffffff\r\nx",
        b"3;\0\r\nabc\r\n0\r\n\r\n",
        b"0\n\n",
        b"GET /ghost HTTP/1.1\r\nHost: h\r\n\r\n",
    ]
)

ODD_HOSTS = [b"", b"Host:\r\n", b"Host: a b\r\n", b"Host: h/x\r\n", b"Host: h\r\nhost: h\r\n"]
OPTIONS = [
    b"Connection: close",
    b"Connection: x, CLOSE",
    b"connection:\tclose ,x",
    b"Connection: x",
]


def message(
    blank: bytes,
    start: bytes,
    host: bytes,
    framing: bytes,
    lines: list[tuple[bytes, bytes]],
    last: bytes,
    odd: bytes | None,
) -> bytes:
    """:return: a request, valid or not."""
    head = b"".join([blank, start, b"\r\n", host, framing, *(a + b for a, b in lines), last])
    return head + (FITTING[framing] if odd is None else odd)


MESSAGES = st.builds(
    message,
    mostly([b""], [b"\r\n", b"\n", b"\r\n\r\n", b"\r"]),
    STARTS,
    mostly([b"Host: h\r\n"], ODD_HOSTS),
    FRAMINGS,
    st.lists(st.tuples(LINES, ENDS), max_size=2)
    | st.sampled_from(OPTIONS).map(lambda option: [(option, b"\r\n")]),
    mostly([b"\r\n"], [b"\n", b"", b"\r\r\n"]),
    st.none() | ODD_BODIES,
)
#: Headers near the limits.
LONG = st.builds(
    lambda count, size, extra: (
        b"GET /p HTTP/1.1\r\nHost: h\r\n" + b"X: %s\r\n" % (b"y" * size) * count + extra
    ),
    st.integers(MAX_HEADER_LINES - 3, MAX_HEADER_LINES + 1) | st.just(6),
    st.integers(0, 2) | st.integers(160, 166) | st.integers(2710, 2735),
    st.sampled_from([b"\r\n", b"", b"X"]),
)
RAW = st.one_of(
    st.lists(MESSAGES, min_size=1, max_size=4).map(b"".join),
    st.tuples(LONG, st.sampled_from([b"", b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n"])).map(b"".join),
    st.binary(max_size=30),
)


@dataclass
class Head:
    """What a request line and headers say."""

    method: bytes
    path: bytes
    length: int | None
    persistent: bool
    expects: bool


def read_head(raw: bytes, at: int) -> tuple[Head, int]:
    """
    :return: the request line and headers that begin at *at*, and where they end (RFC 9112, 3 to 7).
    """
    line, at = strict_line(raw, at)
    method, target, version = start_line(line)
    size = len(line)
    fields: list[tuple[bytes, bytes]] = []
    while True:
        is_large = size > MAX_HEAD_BYTES or len(fields) > MAX_HEADER_LINES
        try:
            line, at = strict_line(raw, at)
        except Incomplete:
            check_repeated(fields)
            if is_large:
                raise Doomed from None
            raise
        if not line:
            break
        fields.append(field(line))
        size += len(b"\r\n") + len(line)
        check_length(*fields[-1])
    if is_large:
        raise Bad("size")
    return judge(method, target, version, fields), at


def strict_line(raw: bytes, at: int) -> tuple[bytes, int]:
    """:return: a line that ends in CRLF and has no other control character than tabs."""
    end = raw.find(b"\r\n", at)
    line = raw[at:end] if end >= 0 else raw[at:]
    whole = end >= 0
    text = line if whole else line.removesuffix(b"\r")
    if has_control(text):
        raise Bad("control")
    if not whole:
        raise Doomed if len(line) > MAX_HEAD_BYTES else Incomplete
    return line, end + 2


def start_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """:return: method, target and version (RFC 9112, 3)."""
    parts = line.split(b" ")
    if len(parts) != 3 or not all(parts):
        raise Bad("request line")
    method, target, version = parts
    if not set(method) <= TOKEN or version not in (b"HTTP/1.0", b"HTTP/1.1"):
        raise Bad("request line")
    if method in (b"CONNECT", b"TRACE") or target[:1] != b"/" or b"\t" in target:
        raise Bad("target")
    return method, target, version


class Doomed(Incomplete):
    """Whatever comes next, the request will be refused; it may be refused already."""


def check_repeated(fields: list[tuple[bytes, bytes]]) -> None:
    """Refuse what no further header can correct."""
    names = [name for name, _ in fields]
    framing = names.count(b"content-length") + names.count(b"transfer-encoding")
    if framing > 1 or names.count(b"host") > 1:
        raise Doomed


def check_length(name: bytes, value: bytes) -> None:
    """Check a header that frames the body, by itself."""
    if name == b"content-length" and (not value or len(value) > 18 or not set(value) <= DIGITS):
        raise Bad("length")
    if name == b"transfer-encoding" and value.lower() != b"chunked":
        raise Bad("coding")


def judge(method: bytes, target: bytes, version: bytes, fields: list[tuple[bytes, bytes]]) -> Head:
    """Apply the rules about several headers."""

    def values(name: bytes) -> list[bytes]:
        return [value for key, value in fields if key == name]

    hosts, lengths, codings = (
        values(b"host"),
        values(b"content-length"),
        values(b"transfer-encoding"),
    )
    if len(hosts) != 1 and (hosts or version == b"HTTP/1.1"):
        raise Bad("Host")
    if hosts and not re.fullmatch(rb"[A-Za-z0-9.:\[\]-]+", hosts[0]):
        raise Bad("Host")
    if len(lengths) + len(codings) > 1 or (codings and version == b"HTTP/1.0"):
        raise Bad("framing")
    expect = values(b"expect")
    if expect and (len(expect) > 1 or expect[0].lower() != b"100-continue"):
        raise Bad("Expect")
    options = [
        option.strip(b" \t").lower() for option in b",".join(values(b"connection")).split(b",")
    ]
    path = target.split(b"?")[0]
    path = b"".join(b"%%%02X" % octet if octet > 0x7F else bytes([octet]) for octet in path)
    return Head(
        method,
        path,
        None if codings else int(lengths[0]) if lengths else 0,
        version == b"HTTP/1.1" and b"close" not in options,
        bool(expect) and version == b"HTTP/1.1",
    )


def read_body(raw: bytes, at: int, head: Head) -> tuple[bytes, int]:
    """:return: the body that begins at *at*, and where it ends."""
    if head.length is None:
        return chunked_body(raw, at)
    if len(raw) < at + head.length:
        raise Incomplete
    return raw[at : at + head.length], at + head.length


Event = str | tuple[bytes, bytes]


def expected(raw: bytes) -> list[list[Event]]:
    """:return: the allowed outcomes: paths with their bodies, and how the connection ends."""
    events: list[Event] = []
    at = 0
    try:
        while at < len(raw):
            if raw[at : at + 2] == b"\r\n":
                at += 2  # one blank line is allowed here (RFC 9112, 2.2)
            head, at = read_head(raw, at)
            if head.method not in (b"GET", b"POST"):
                events.append(REFUSED_METHOD)
                if head.length is None or (head.expects and head.length):
                    break  # the server does not wait for the next request
                at += head.length
            else:
                body, at = read_body(raw, at, head)
                events.append((head.path, body))
            if not head.persistent:
                break
    except Bad:
        events.append(REFUSED)
    except Doomed:
        return [events, [*events, REFUSED]]
    except Incomplete:
        pass
    return [events]


def answered(pieces: list[bytes]) -> list[Event]:
    """:return: the actual outcome."""
    events: list[Event] = []
    caller = Caller(Echo(10**6)).send(*pieces)
    for answer in caller.answers():
        if answer.status == 100:
            continue
        if answer.status == 200:
            events.append((answer.json["path"].encode(), answer.json["body"].encode("latin-1")))
        elif answer.status == 405:
            events.append(REFUSED_METHOD)
        else:
            assert answer.status in (400, 414, 417, 431, 501, 505), answer
            assert answer.fields["connection"] == "close"
            assert answer.json["request_id"] == answer.fields["x-request-id"]
            assert caller.lost
            events.append(REFUSED)
    return events


@given(RAW, CUTS)
def check(raw: bytes, cuts: list[int]) -> None:
    """The same requests are served, however the network divides them."""
    wanted = expected(raw)
    divisions = [[raw], list(divided(raw, cuts))]
    if len(raw) < FEW:
        divisions.append([raw[i : i + 1] for i in range(len(raw))])
    for pieces in divisions:
        got = answered(pieces)
        assert got in wanted, (got, wanted, pieces)
