"""What the oracles about HTTP share: strict parsing of lines, and division of bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

from hypothesis import strategies as st

__all__ = [
    "CUTS",
    "Bad",
    "Incomplete",
    "chunked_body",
    "divided",
    "field",
    "has_control",
    "mostly",
    "strip",
]

T = TypeVar("T")

TOKEN = set(b"!#$%&'*+-.^_`|~0123456789") | set(range(65, 91)) | set(range(97, 123))
DIGITS = set(b"0123456789")
HEXADECIMAL = DIGITS | set(b"abcdefABCDEF")
#: Where bytes are divided.
CUTS = st.lists(st.integers(1, 2000), max_size=6)


def mostly(usual: Sequence[T], odd: Sequence[T]) -> st.SearchStrategy[T]:
    """:return: one of the usual, and now and then one of the odd, so that odd ones are combined."""
    return st.one_of(*(st.sampled_from(usual) for _ in range(5)), st.sampled_from(odd))


class Bad(Exception):
    """The bytes break a rule."""


class Incomplete(Exception):
    """More bytes have to arrive before there is a result."""


def divided(raw: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    """:return: *raw* in pieces, none of them empty."""
    edges = sorted({0, len(raw), *(cut % (len(raw) or 1) for cut in cuts)})
    for start, end in pairwise(edges):
        yield raw[start:end]


def strip(text: bytes) -> bytes:
    """Remove optional white space, and no other."""
    return text.strip(b" \t")


def has_control(text: bytes) -> bool:
    """:return: whether there is a control character in *text* that is no tab."""
    return any(octet == 0x7F or (octet < 0x20 and octet != 9) for octet in text)


def field(line: bytes) -> tuple[bytes, bytes]:
    """:return: the name, in lower case, and the value of a header line (RFC 9112, 5)."""
    name, colon, value = line.partition(b":")
    if not colon or not name or not set(name) <= TOKEN:
        raise Bad("name")
    if has_control(value):
        raise Bad("value")
    return name.lower(), strip(value)


def chunked_body(raw: bytes, at: int) -> tuple[bytes, int]:
    """
    :return: the content of a chunked body that begins at *at*, and where it ends (RFC 9112, 7.1).
    """
    content = bytearray()
    while True:
        line, at = crlf_line(raw, at)
        size, _, extension = line.partition(b";")
        if not size or not set(size) <= HEXADECIMAL or len(size.lstrip(b"0")) > 15:
            raise Bad("size")
        if has_control(extension):
            raise Bad("extension")
        length = int(size, 16)
        if not length:
            break
        if len(raw) < at + length + 2:
            if any(a != b for a, b in zip(raw[at + length :], b"\r\n", strict=False)):
                raise Bad("no line end behind a chunk")
            raise Incomplete
        content += raw[at : at + length]
        at += length
        if raw[at : at + 2] != b"\r\n":
            raise Bad("no line end behind a chunk")
        at += 2
    while True:
        line, at = crlf_line(raw, at)
        if not line:
            return bytes(content), at
        field(line)


def crlf_line(raw: bytes, at: int) -> tuple[bytes, int]:
    """:return: the line that begins at *at*, without its end, and where the next begins."""
    end = raw.find(b"\r\n", at)
    if b"\n" in raw[at : end if end >= 0 else len(raw)]:
        raise Bad("bare LF")
    if end < 0:
        raise Incomplete
    return raw[at:end], end + 2
