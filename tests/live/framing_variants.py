"""
Ambiguous framings of a request.  Each hides a second request in bytes that one parser reads as the
body and another parser may read as the next request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.live.test_framing import CHUNKED, GHOST, HOST, LAST

__all__ = ["variants"]

#: What a parser might accept as ``Transfer-Encoding: chunked``, or ignore although it is valid.
CODINGS = (
    CHUNKED,
    b"TRANSFER-ENCODING: CHUNKED",
    b"Transfer-Encoding:chunked",
    b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding:  chunked  ",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: \x0cchunked",
    b"Transfer-Encoding: \xa0chunked",
    b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: chunked\x0b",
    b"Transfer-Encoding: chunked\xff",
    b"Transfer-Encoding: chunked;",
    b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunke",
    b"Transfer-Encoding: c\thunked",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: 'chunked'",
    b"Transfer-Encoding:",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: x\r\n chunked",
    b"Transfer-Encoding: chunked\r\n x",
    b"Transfer-Encoding: chunked\r\n ",
    b"X: y\r\n Transfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\r\r\nTransfer-Encoding: chunked",
    b"X: y\x00\r\nTransfer-Encoding: chunked",
    b"Transfer-\r\nEncoding: chunked",
    b"Transfer_Encoding: chunked",
    b"Transfer Encoding: chunked",
    b"Transfer-Encoding\x00: chunked",
    b"\x00Transfer-Encoding: chunked",
    b"\x0bTransfer-Encoding: chunked",
    b"Transfer-Encoding\xff: chunked",
    b"Transf\xc3\xa9r-Encoding: chunked",
    b"X-Transfer-Encoding: chunked",
    b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
    b"TE: chunked",
)

#: What a parser might accept as a length, or ignore although it is valid; ``@N@`` is the length.
LENGTHS = (
    b"Content-Length: @N@",
    b"content-length:@N@",
    b"Content-Length:\t@N@\t",
    b"Content-Length: 0@N@",
    b"Content-Length: +@N@",
    b"Content-Length: -@N@",
    b"Content-Length: @N@.0",
    b"Content-Length: @N@e0",
    b"Content-Length: @N@,",
    b"Content-Length: ,@N@",
    b"Content-Length: @N@, @N@",
    b"Content-Length: @N@, 0",
    b"Content-Length: 0, @N@",
    b"Content-Length: @N@ 0",
    b"Content-Length: @N@;",
    b"Content-Length: @N@\x00",
    b"Content-Length: \x0b@N@",
    b'Content-Length: "@N@"',
    b"Content-Length : @N@",
    b"Content-Length\x00: @N@",
    b"Content_Length: @N@",
    b"X-Content-Length: @N@",
    b"Content-Length:\r\n @N@",
    b"Content-Length: @N@\r\n 0",
    b"Content-Length: 0\r\n @N@",
    b"X: y\r\n Content-Length: @N@",
    b"X: y\rContent-Length: @N@",
    b"X: y\nContent-Length: @N@",
    b"Content-Length: @N@\r\nContent-Length: @N@",
    b"Content-Length: @N@\r\nContent-Length: 0",
    b"Content-Length: 0\r\nContent-Length: @N@",
    b"Connection: Content-Length\r\nContent-Length: @N@",
    b"Content-Length: 0x@X@",
    b"Content-Length: 18446744073709551616",  # 2**64
    b"Content-Length: 18446744073709551617",
    b"Content-Length: 4294967296",  # 2**32
    b"Content-Length: 340282366920938463463374607431768211456",  # 2**128
)

#: What a parser might accept as the size line of a chunk of ``@X@`` (hexadecimal) bytes.
SIZES = (
    b"@X@",
    b"000@X@",
    b"0x@X@",
    b"+@X@",
    b"-@X@",
    b" @X@",
    b"\t@X@",
    b"@X@ ",
    b"@X@\t",
    b"@X@_",
    b"@X@h",
    b"@X@.0",
    b"@X@,",
    b"@X@;",
    b"@X@;a=b",
    b'@X@;a="b c"',
    b'@X@;a="\r\n"',
    b"@X@;\n",
    b"@X@;a\nb",
    b"@X@;a\rb",
    b"@X@;a\x00b",
    b"@X@\n",
    b"@X@\r",
    b"@X@\x00",
    b"@X@\x0b",
    b"@X@ 0",
    b"@X@\r\n ",
    b"\r\n@X@",
    b"\n@X@",
    b"100000000@X@",
    b"10000000000000000@X@",
    b"0" * 100 + b"@X@",
    b"\xef\xbc\x91@X@",
)

_CHUNK = b"@X@\r\n" + GHOST + b"\r\n" + LAST

#: Complete chunked bodies whose end two parsers may see in different places.
BODIES = (
    LAST + GHOST,
    b"0\r\n" + GHOST,
    b"0\r\nX: y\r\n\r\n" + GHOST,
    b"0\r\nX: y\r\n" + GHOST,
    b"0\r\nContent-Length: @N@\r\n\r\n" + GHOST,
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + GHOST,
    b"0\r\nX : y\r\n\r\n" + GHOST,
    b"0\r\n X: y\r\n\r\n" + GHOST,
    b"0\r\nX\r\n\r\n" + GHOST,
    b"0\n\n" + GHOST,
    b"0\r\n\n" + GHOST,
    b"0\n\r\n" + GHOST,
    b"0\r\r\n\r\n" + GHOST,
    b"0\r\n\r" + GHOST,
    b"0;\n\r\n" + GHOST,
    b"0;a\n\r\n\r\n" + GHOST,
    b"0\r\n;\r\n\r\n" + GHOST,
    b"00\r\n\r\n" + GHOST,
    b"0 \r\n\r\n" + GHOST,
    b"-0\r\n\r\n" + GHOST,
    b"0x0\r\n\r\n" + GHOST,
    b"\r\n\r\n" + GHOST,
    # One parser sees the end of the line where the other one sees an extension.
    b"2;\nxx\r\n@Y@\r\n" + LAST + GHOST + b"\r\n" + LAST,
    b"2\nxx\r\n@Y@\r\n" + LAST + GHOST + b"\r\n" + LAST,
    b"2\r\nxx\n@Y@\r\n" + LAST + GHOST + b"\r\n" + LAST,
    b"2\r\nxxyy@Y@\r\n" + LAST + GHOST + b"\r\n" + LAST,
    b"2\r\nxx@Y@\r\n" + LAST + GHOST + b"\r\n" + LAST,
    b"2\rxx\r\n@Y@\r\n" + LAST + GHOST + b"\r\n" + LAST,
    b'2;a="\nxx\r\n@Y@\r\n' + LAST + GHOST + b"\r\n" + LAST,
    b"2\r\nxx\r\r\n@Y@\r\n" + LAST + GHOST + b"\r\n" + LAST,
)


class _Shape(NamedTuple):
    """
    :param lines: header lines, with ``@N@`` for the length.
    :param whole: whether the length is that of the whole body, or of its first line only.
    """

    method: bytes
    lines: tuple[bytes, ...]
    body: bytes
    whole: bool = True


def variants(read: bytes, write: bytes, credential: bytes) -> Iterator[tuple[str, bytes]]:
    """
    :param read: a target for ``GET``, which is also that of the hidden request.
    :param write: a target for ``POST``.
    :param credential: a header line.
    :return: a description of each variant, and the bytes to send.
    """
    ghost = GHOST.replace(b"@P@", read).replace(b"@A@", credential)
    inner = {b"@X@": b"%x" % len(ghost), b"@Y@": b"%x" % len(LAST + ghost), GHOST: ghost}
    for shape in _shapes():
        head = b"\r\n".join((HOST, credential, *shape.lines, b"", b""))
        body = shape.body
        for name, value in inner.items():
            head, body = head.replace(name, value), body.replace(name, value)
        length = b"%d" % (len(body) if shape.whole else body.find(b"\r\n") + 2)
        target = read if shape.method == b"GET" else write
        wire = b"%b %b HTTP/1.1\r\n%b%b" % (shape.method, target, head, body)
        yield f"{shape}", wire.replace(b"@N@", length)


def _shapes() -> Iterator[_Shape]:
    declared = LENGTHS[0]
    for coding in CODINGS:
        for lines in ((coding, declared), (declared, coding)):
            yield _Shape(b"POST", lines, _CHUNK, whole=False)
            yield _Shape(b"POST", lines, LAST + GHOST)
        yield _Shape(b"POST", (coding,), _CHUNK)
    for length in LENGTHS:
        yield _Shape(b"POST", (length,), GHOST)
        yield _Shape(b"GET", (length,), GHOST)
        for lines in ((CHUNKED, length), (length, CHUNKED)):
            yield _Shape(b"POST", lines, LAST + GHOST)
    for size in SIZES:
        yield _Shape(b"POST", (CHUNKED,), size + b"\r\n" + GHOST + b"\r\n" + LAST)
    for body in BODIES:
        yield _Shape(b"POST", (CHUNKED,), body)
