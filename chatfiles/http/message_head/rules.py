"""
The rules for the headers of requests and responses (RFC 9112, sections 5, 6 and 9).

Headers that two parsers can read differently are refused.  With them, an attacker can smuggle a
request, and an interrupted file can look complete.
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

#: The most header lines of one message.
MAX_HEADER_LINES = 100

# The largest length: the largest signed 64-bit file offset.
_MAX_LENGTH = 2**63 - 1

#: Header values by name.  Names are in lower case; values are in the order of their lines.
Values = dict[bytes, list[bytes]]


class Fault(Enum):
    """The rule that the headers break."""

    LINE = "a header line is malformed"
    TOO_MANY_LINES = "there are too many header lines"
    LENGTH = "Content-Length is no number, too large, or given twice with different values"
    CODING = "Transfer-Encoding is not exactly chunked"
    AMBIGUOUS = "chunked in HTTP/1.0, or beside a Content-Length"


class MalformedHead(ValueError):
    """
    The headers break a rule.

    :param fault: the rule.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Framing(NamedTuple):
    """
    The end of a body, as the headers declare it.

    :param length: declared length in bytes; ``None`` without a Content-Length.
    :param chunked: whether the body is chunked.
    """

    length: int | None
    chunked: bool


def read_header_lines(block: bytes) -> Fields:
    """
    :param block: header lines, each with its CRLF.
    :return: the headers.
    :raise MalformedHead: `Fault.LINE` or `Fault.TOO_MANY_LINES`.
    """
    fields = read_fields(block)
    if fields is None:
        raise MalformedHead(Fault.LINE)
    if len(fields) > MAX_HEADER_LINES:
        raise MalformedHead(Fault.TOO_MANY_LINES)
    return fields


def values_by_name(fields: Fields, names: Container[bytes]) -> Values:
    """
    :param fields: the headers.
    :param names: header names in lower case.
    :return: the values of the headers with one of these names.
    """
    values: Values = {}
    for name, value in fields:
        if name in names:
            values.setdefault(name, []).append(value)
    return values


def declared_framing(values: Values, *, is_http10: bool, max_digits: int) -> Framing:
    """
    :param values: of ``content-length`` and ``transfer-encoding``.  Equal Content-Length lines
        count as one; a list within a line is refused (RFC 9112, section 6.3).
    :param is_http10: whether the message is HTTP/1.0.
    :param max_digits: the most digits of a Content-Length.
    :return: how the body ends.
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
    """
    :param values: of ``connection``.
    :return: whether they list ``close`` (RFC 9112, section 9.6).
    """
    return any(
        option.strip(b" \t") == b"close"
        for value in values.get(b"connection", ())
        for option in value.lower().split(b",")
    )
