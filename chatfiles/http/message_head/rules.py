"""
The rules that every message head keeps, request or response (RFC 9112, sections 5, 6 and 9).

A head that two parsers can read differently is refused: that is how requests are smuggled, and how
an interrupted file is made to look complete.
"""

from __future__ import annotations

from collections.abc import Container
from enum import Enum
from typing import NamedTuple

from chatfiles.rules.header_fields import Fields, read_fields

__all__ = [
    "MAX_HEADER_LINES",
    "Fault",
    "Framing",
    "MalformedHead",
    "Values",
    "asks_to_close",
    "declared_framing",
    "read_header_lines",
    "values_by_name",
]

#: Header lines of one head.
MAX_HEADER_LINES = 100

# The largest length: what fits a signed 64-bit file offset.
_MAX_LENGTH = 2**63 - 1

#: Header values by name in lower case, each in the order of its lines.
Values = dict[bytes, list[bytes]]


class Fault(Enum):
    """The rule that a head breaks."""

    LINE = "a header line is malformed"
    TOO_MANY_LINES = "there are too many header lines"
    LENGTH = "Content-Length is no number, too large, or given twice with different values"
    CODING = "Transfer-Encoding is not exactly chunked"
    AMBIGUOUS = "chunked in HTTP/1.0, or beside a Content-Length"


class MalformedHead(ValueError):
    """
    A head breaks a rule.

    :param fault: which one.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Framing(NamedTuple):
    """
    How a head says that its body ends.

    :param length: bytes, as declared; ``None`` without a Content-Length.
    :param chunked: whether the body is chunked.
    """

    length: int | None
    chunked: bool


def read_header_lines(block: bytes) -> Fields:
    """
    :param block: header lines, each with its CRLF.
    :raise MalformedHead: `Fault.LINE` or `Fault.TOO_MANY_LINES`.
    """
    fields = read_fields(block)
    if fields is None:
        raise MalformedHead(Fault.LINE)
    if len(fields) > MAX_HEADER_LINES:
        raise MalformedHead(Fault.TOO_MANY_LINES)
    return fields


def values_by_name(fields: Fields, names: Container[bytes]) -> Values:
    """:return: the values of those headers whose name is among *names*."""
    values: Values = {}
    for name, value in fields:
        if name in names:
            values.setdefault(name, []).append(value)
    return values


def declared_framing(values: Values, *, is_http10: bool, max_digits: int) -> Framing:
    """
    :param values: of ``content-length`` and ``transfer-encoding``.  Equal Content-Length lines
        count as one; a list within a line is refused (RFC 9112, section 6.3).
    :param max_digits: of a Content-Length.
    :raise MalformedHead: `Fault.LENGTH`, `Fault.CODING` or `Fault.AMBIGUOUS`.
    """
    lengths = values.get(b"content-length")
    length = None if lengths is None else _length(lengths, max_digits)
    codings = values.get(b"transfer-encoding")
    if codings is None:
        return Framing(length, chunked=False)
    if len(codings) > 1 or codings[0].lower() != b"chunked":
        raise MalformedHead(Fault.CODING)
    if is_http10 or length is not None:  # RFC 9112, section 6.1
        raise MalformedHead(Fault.AMBIGUOUS)
    return Framing(None, chunked=True)


def _length(lengths: list[bytes], max_digits: int) -> int:
    text = lengths[0]
    valid = text.isdigit() and len(text) <= max_digits and lengths.count(text) == len(lengths)
    if not valid or int(text) > _MAX_LENGTH:
        raise MalformedHead(Fault.LENGTH)
    return int(text)


def asks_to_close(values: Values) -> bool:
    """:return: whether ``connection`` lists ``close`` (RFC 9112, section 9.6)."""
    return any(
        option.strip(b" \t") == b"close"
        for value in values.get(b"connection", ())
        for option in value.lower().split(b",")
    )
