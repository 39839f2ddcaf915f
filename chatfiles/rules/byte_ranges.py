"""
Byte ranges (RFC 9110, section 14): which part of a file a request selects, and whether the part in
a response is the requested one.

``Range`` has the same effect on ``GET`` and ``HEAD``, because a ``HEAD`` response has the headers
of the ``GET`` response (reference/downloads, "Ranges and conditions"):

* one range of bytes: 206, or 416 if it begins after the end or is ``-0``;
* several ranges: the whole file, 200.  A server may ignore ``Range`` (14.2).  This way every list
  costs the same; no more than `MAX_RANGES` members are read;
* another unit, or a malformed value: ignored, 200.

A gateway forwards only what is not ignored: another server might not ignore it.

A client that assembles a file from parts relies on receiving the part that it requested.  A part
with another start or end corrupts the file without an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "MAX_RANGES",
    "Part",
    "forwarded_range",
    "parse_content_range",
    "part_fault",
    "requested_span",
]

#: The most members of a ``Range`` list that are read.
MAX_RANGES = 16

_OWS = b" \t"
_RANGE_SPEC = re.compile(rb"([0-9]*)-([0-9]*)")
_CONTENT_RANGE = re.compile(rb"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
# A Range header with a single range.
_RANGE = re.compile(rb"[ \t]*bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
#: More than any offset.
_ENDLESS = 1 << 64
#: The largest offset that servers in every language can read.
_LARGEST = (1 << 63) - 1


def requested_span(field: bytes, size: int) -> range | None:
    """
    :param field: the value of the only ``Range`` line of a request.
    :param size: of the file, in bytes.
    :return: the bytes that ``Range`` selects; an empty range if it selects none (416); ``None`` if
        the response is the whole file.
    """
    specs = _range_set(field)
    if specs is None or len(specs) != 1:
        return None
    ((first, last),) = specs
    if first:
        return range(_clipped(first, size), _clipped(last, size - 1) + 1 if last else size)
    if size == 0 and last.strip(b"0"):
        # A suffix of an empty file is satisfiable (14.1.2), but has no form as Content-Range.
        return None
    return range(size - _clipped(last, size), size)


def forwarded_range(values: Sequence[bytes]) -> bytes | None:
    """
    The ``Range`` that a gateway sends in place of a client's.  Servers differ in what they make of
    a malformed one, and of letter case, spaces and large numbers in a valid one.

    :param values: the values of the ``Range`` lines of a request.
    :return: the same ranges in one form that every server reads alike; ``None`` if the lines are
        ignored (RFC 9110, 14.2).
    """
    specs = _range_set(values[0]) if len(values) == 1 else None
    if specs is None:
        return None
    return b"bytes=" + b",".join(b"-".join(map(_forwarded, spec)) for spec in specs)


def _forwarded(digits: bytes) -> bytes:
    return b"%d" % min(_offset(digits), _LARGEST) if digits else b""


def _range_set(field: bytes) -> Sequence[tuple[bytes, bytes]] | None:
    """
    :return: the first and the last position of each range, as digits; one of the two may be empty.
        ``None`` if the field has another unit, is malformed, or has too many members.
    """
    unit, _, members = field.strip(_OWS).partition(b"=")
    specs = [spec for part in members.split(b",", MAX_RANGES - 1) if (spec := part.strip(_OWS))]
    matches = [_RANGE_SPEC.fullmatch(spec) for spec in specs]
    if unit.lower() != b"bytes" or not specs:
        return None
    pairs = [(match[1], match[2]) for match in matches if match is not None]
    return pairs if len(pairs) == len(specs) and all(map(_is_range, pairs)) else None


def _is_range(spec: tuple[bytes, bytes]) -> bool:
    if not all(spec):
        return any(spec)
    first, last = (digits.lstrip(b"0") for digits in spec)
    return (len(first), first) <= (len(last), last)


def _clipped(digits: bytes, limit: int) -> int:
    """:return: the number, but at most *limit*."""
    return min(_offset(digits), limit)


class Part(NamedTuple):
    """
    One part of a file.

    :param first: offset of its first byte.
    :param last: offset of its last byte.
    :param total: size of the whole file in bytes; ``None`` if it is unknown.
    """

    first: int
    last: int
    total: int | None

    @property
    def length(self) -> int:
        """Length of the part in bytes."""
        return self.last - self.first + 1


def parse_content_range(values: Sequence[bytes]) -> Part | None:
    """
    :param values: the values of the ``Content-Range`` lines of a 206.
    :return: the part; ``None`` if the lines do not name exactly one.
    """
    match = _CONTENT_RANGE.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        return None
    return Part(int(match[1]), int(match[2]), None if match[3] == b"*" else int(match[3]))


def part_fault(
    ranges: Sequence[bytes],
    *,
    content_range: Sequence[bytes],
    length: int | None,
    if_range: bytes = b"",
    etags: Sequence[bytes] = (),
    content_type: bytes = b"",
) -> str | None:
    """
    Check that a 206 response has the part that was requested.

    :param ranges: values of the request's ``Range`` lines; empty if there were none.
    :param content_range: values of the response's ``Content-Range`` lines.
    :param length: declared length of the response's body in bytes; ``None`` if none is declared.
    :param if_range: value of the request's ``If-Range``.
    :param etags: values of the response's ``ETag`` lines.
    :param content_type: value of the response's ``Content-Type``.
    :return: ``None`` if the response is consistent with the request, else the reason, for people.
    """
    if not ranges:
        return "206 without a Range"
    if not _is_same_version(if_range.strip(), etags):
        return "206 of another version than was asked for"
    several = len(ranges) > 1 or b"," in ranges[0]
    part = parse_content_range(content_range)
    if part is None:
        is_multipart = content_type.lower().startswith(b"multipart/byteranges")
        return None if several and is_multipart else "206 without a Content-Range"
    if not _fits(part, length):
        return "Content-Range does not fit the length"
    if not several and not _is_asked_for(ranges[0], part):
        return "206 with another part than was asked for"
    return None


def _is_same_version(condition: bytes, etags: Sequence[bytes]) -> bool:
    if condition.startswith(b"W/"):  # a weak tag never matches (RFC 9110, 13.1.5)
        return False
    return not condition.startswith(b'"') or list(etags) == [condition]


def _fits(part: Part, length: int | None) -> bool:
    within = part.total is None or part.last < part.total
    return within and part.first <= part.last and length in (None, part.length)


def _is_asked_for(asked_for: bytes, part: Part) -> bool:
    """:return: whether *part* begins and ends where the range in *asked_for* does."""
    asked = _RANGE.fullmatch(asked_for)
    if asked is None or not asked[1] + asked[2]:
        return False  # a server has to ignore a malformed range (RFC 9110, 14.2)
    if not asked[1]:  # a suffix: the last N bytes
        return part.length <= _offset(asked[2]) and part.total in (None, part.last + 1)
    return part.first == _offset(asked[1]) and (not asked[2] or part.last <= _offset(asked[2]))


def _offset(digits: bytes) -> int:
    """:return: the number.  Numbers of 20 digits and more are not converted, to bound the cost."""
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) < 20 else _ENDLESS
