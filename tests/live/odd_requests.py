"""
Requests for downloads as Hypothesis draws them: well-formed ones, and unusual ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote_from_bytes

from hypothesis import strategies as st

from chatfiles.errors import ChatfilesError
from chatfiles.http.message_head.request import read_head
from chatfiles.testing.strategies import range_headers, virtual_paths
from tests.live.twins import FROM_THE_FUTURE, Exchange

__all__ = ["ODD_NAMES", "SIZES", "exchanges", "single_oddities"]

#: Regular files by their sizes, around the limit of what one read takes.
SIZES = {
    b"empty": 0,
    b"one": 1,
    b"eleven": 11,
    b"kib.txt": 1024,
    b"limit.bin": 65536,
    b"beyond.bin": 65537,
    b"mib.bin": 1 << 20,
}
ODD_NAMES = (b"sp ace.txt", b"per%cent.txt", b"new\nline.txt", b"\xff\xfe.html", "é;\"'".encode())
_OTHERS = (b"directory", b"link", b"secret.key", b"missing", b"eleven/x", b"fifo", FROM_THE_FUTURE)
_DATES = (
    b"Sun, 13 Sep 2020 12:26:40 GMT",
    b"Sun, 13 Sep 2020 12:26:39 GMT",
    b"Sunday, 13-Sep-20 12:26:41 GMT",
    b"Thu, 01 Jan 1970 00:00:00 GMT",
    b"yesterday",
    b"",
)

_WISHES = (
    b"sha-256=1",
    b"sha-256=10",
    b"sha-512=1",
    b"sha-256=0",
    b"SHA-256=1",
    b"sha-256=1,",
    b"",
)

_Line = tuple[bytes, bytes]


def _one_of(*values: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(values)


def _tags(tag: bytes) -> st.SearchStrategy[bytes]:
    return _one_of(
        tag,
        tag,
        b"W/" + tag,
        b'"other"',
        b"*",
        b'"other", ' + tag,
        b'W/"x",, ' + tag + b" ,",
        tag.strip(b'"'),
        tag[:-1],
        b"",
        b'"\xff"',
    )


def _conditions(tag: bytes) -> st.SearchStrategy[_Line]:
    tags, dates = _tags(tag), _one_of(*_DATES)
    ranges = st.one_of(
        _one_of(b"bytes=0-0", b"bytes=1-", b"bytes=-5", b"bytes=0-4,6-7"), range_headers()
    )
    return st.one_of(
        st.tuples(st.just(b"Range"), ranges.filter(_is_value)),
        st.tuples(_one_of(b"If-None-Match", b"If-Match"), tags),
        st.tuples(_one_of(b"If-Modified-Since", b"If-Unmodified-Since"), dates),
        st.tuples(st.just(b"If-Range"), st.one_of(tags, dates)),
        st.tuples(st.just(b"Want-Repr-Digest"), _one_of(*_WISHES)),
    )


def _is_value(value: bytes) -> bool:
    return not {0x0A, 0x0D} & set(value)


_USUAL = (b"Host", b"files.test:8080"), (b"Authorization", b"Bearer @A@")
_AUTHORIZATION: tuple[list[_Line], ...] = (
    [(b"authorization", b"bearer  @A@ ")],
    [(b"AUTHORIZATION", b"BEARER @A@")],
    [(b"Authorization", b"Bearer @A@x")],
    [(b"Authorization", b"Bearer \xff\xfe")],
    [(b"Authorization", b"Bearer @A@, Bearer @A@")],
    [(b"Authorization", b"Bearer\t@A@")],
    [(b"Authorization", b"Basic @A@")],
    [(b"Authorization", b"@A@")],
    [(b"Authorization", b"")],
    [(b"Authorization", b"Bearer @A@"), (b"authorization", b"Bearer @A@")],
    [(b"Authorization", b"Bearer @A@"), (b"Authorization", b"Bearer wrong")],
    [],
)
_HOST: tuple[list[_Line], ...] = (
    [(b"host", b"[::1]")],
    [],
    [(b"Host", b"a.test"), (b"Host", b"a.test")],
    [(b"Host", b"a b")],
    [(b"Host", b"")],
)
_ID_VALUES = (b"abc", b"a.b_c-D9", b"x" * 64, b"x" * 65, b"", b"a b", b"\xe9", b"a,b")
#: Further lines, most of which are no reason to leave the fast path.
_LINES: tuple[_Line, ...] = (
    *[(name, value) for name in (b"X-Request-Id", b"x-request-id") for value in _ID_VALUES],
    (b"X-Forwarded-For", b"192.0.2.1"),
    (b"X-Forwarded-For", b"192.0.2.1, 10.0.0.1"),
    (b"X-Forwarded-For", b"[2001:db8::1]:99"),
    (b"X-Forwarded-For", b"unknown"),
    (b"X-Forwarded-For", b"\xff"),
    (b"Via", b"1.1 proxy"),
    (b"Via", b""),
    (b"Connection", b"close"),
    (b"Connection", b"keep-alive"),
    (b"connection", b"Keep-Alive, Close"),
    (b"Connection", b"closed"),
    (b"Connection", b""),
    (b"Content-Length", b"0"),
    (b"Content-Length", b"00"),
    (b"Content-Length", b"-0"),
    (b"Content-Length", b""),
    (b"Expect", b"100-continue"),
    (b"Expect", b"200-ok"),
    (b"Upgrade", b"h2c"),
    (b"TE", b"trailers"),
    (b"Accept", b"*/*"),
    (b"Cookie", b"a=b; c=d"),
    *[(b"Want-Repr-Digest", value) for value in _WISHES],
    (b"want-repr-digest", b"sha-256=1"),
    (b"X-Long", b"n\xe9"),
    (b"X-Long", b"y" * 1900),
    (b"X-Long", b"y" * 3000),
    (b"X-Long", b"y" * 17000),
    (b"X Y", b"1"),
    (b"X-\xe9", b"1"),
    (b"", b"1"),
    (b" X", b"1"),
    (b"X-Control", b"a\x00b"),
    (b"X-Control", b"a\tb"),
    (b"X-Control", b"a\x7f"),
)


@st.composite
def _requests(draw: st.DrawFn, tags: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    name = draw(st.sampled_from([*SIZES, *SIZES, *ODD_NAMES, *_OTHERS]))
    path = b"/workspace/" + name
    if not draw(st.integers(0, 7)):
        path = draw(virtual_paths())
    escaped = quote_from_bytes(path, safe=draw(st.sampled_from(["/", "", "/%;='"]))).encode()
    more = draw(
        _one_of(*[b""] * 8, b"&disposition=inline", b"&disposition=attachment")
        | _one_of(b"&disposition=x", b"&path=/workspace/one", b"&", b"&x=\xc3\xa9", b"#a")
    )
    method = draw(_one_of(*[b"GET"] * 6, b"HEAD", b"HEAD", b"POST", b"PUT", b"get", b"OPTIONS"))
    version = draw(_one_of(*[b"HTTP/1.1"] * 20, b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0"))
    conditions = st.lists(_conditions(tags.get(path, b'"none"')), max_size=2)
    host = draw(st.sampled_from([[_USUAL[0]]] * 20 + list(_HOST)))
    lines = host + draw(st.sampled_from([[_USUAL[1]]] * 20 + list(_AUTHORIZATION)))
    if draw(st.booleans()):
        lines += draw(conditions)
        lines += draw(st.lists(st.sampled_from(_LINES), max_size=2))
    if not draw(st.integers(0, 9)):
        lines += [(b"X-Filler", b"%d" % n) for n in range(draw(st.integers(92, 100)))]
    if not draw(st.integers(0, 2)):
        lines = draw(st.permutations(lines)) if len(lines) < 20 else lines[::-1]
    if draw(st.booleans()):
        lines.append((b"X-Request-Id", draw(st.sampled_from(_ID_VALUES))))
    colon = draw(_one_of(*[b": "] * 8, b":", b": \t"))
    block = b"".join(line + colon + value + b"\r\n" for line, value in lines)
    return method, b"%b @T@%b%b %b\r\n%b\r\n" % (method, escaped, more, version, block)


def exchanges(tags: Mapping[bytes, bytes]) -> st.SearchStrategy[Exchange]:
    """
    :param tags: entity tags by virtual path.
    :return: draws what a client sends on one connection.
    """
    cuts = st.lists(st.integers(0, 1 << 16), max_size=3)
    requests = st.lists(_requests(tags), min_size=1, max_size=4)
    return st.builds(_exchange, requests, st.sampled_from([False] * 3 + [True]), cuts)


def _exchange(requests: list[tuple[bytes, bytes]], pipelined: bool, cuts: list[int]) -> Exchange:
    # Which of two faults is reported can depend on what has arrived.
    is_valid = all(_is_valid(raw) for _, raw in requests)
    pipelined = pipelined and (is_valid or sum(len(raw) for _, raw in requests) < 16384)
    return Exchange(requests, pipelined, cuts if is_valid else [])


def _is_valid(raw: bytes) -> bool:
    try:
        read_head(raw.removesuffix(b"\r\n\r\n"))
    except ChatfilesError:
        return False
    return len(raw) < 16000


def single_oddities() -> Iterator[Exchange]:
    """:return: usual requests, and those with one unusual thing, each sent three times."""
    names = [*SIZES, *ODD_NAMES, *_OTHERS]
    for method in (b"GET", b"HEAD"):
        for name in names:
            yield _repeated(method, name, _USUAL)
            yield _repeated(method, name, [*_USUAL, (b"Want-Repr-Digest", b"sha-256=1")])
        for lines in _AUTHORIZATION:
            yield _repeated(method, b"one", [_USUAL[0], *lines])
        for lines in _HOST:
            yield _repeated(method, b"one", [*lines, _USUAL[1]])
        for line in _LINES:
            yield _repeated(method, b"one", [*_USUAL, line])
            yield _repeated(method, b"one", [line, *_USUAL, (b"X-Request-Id", b"last")])
        for count in range(95, 104):
            fillers = [(b"X-Filler", b"%d" % n) for n in range(count - 3)]
            yield _repeated(method, b"one", [*_USUAL, *fillers, (b"X-Request-Id", b"last")])
            yield _repeated(method, b"one", [*_USUAL, *fillers, (b"X-Filler", b"last")])
        # How much of the body has arrived when the response is logged is not always the same.
        lines = [*_USUAL, (b"Content-Length", b"5"), (b"X-Request-Id", b"with-body")]
        yield _repeated(method, b"one", lines, b"hello", is_cut=True)
        # In one piece: the connection is kept only if the body ends before the response begins.
        chunked = (b"Transfer-Encoding", b"chunked")
        yield _repeated(method, b"one", [*_USUAL, chunked], b"0\r\n\r\n")


def _repeated(
    method: bytes, name: bytes, lines: Iterable[_Line], body: bytes = b"", *, is_cut: bool = False
) -> Exchange:
    block = b"".join(b"%b: %b\r\n" % line for line in lines)
    target = b"@T@" + quote_from_bytes(b"/workspace/" + name).encode()
    raw = b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, block, body)
    return Exchange([(method, raw)] * 3, cuts=[-len(body)] if is_cut else [])
