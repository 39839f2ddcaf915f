"""
Conditional requests: makes a `Decision` from a request's headers and a file's facts (RFC 9110, 13).
Which part of the file a ``Range`` selects is decided in `chatfiles.rules.byte_ranges`.

If a header that may occur once is repeated, its meaning is unknown, and it is ignored.  The
exception is a repeated ``If-Range``: it counts as false, because to ignore it could mix two
versions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chatfiles.model import FileFacts
from chatfiles.rules.byte_ranges import requested_span
from chatfiles.rules.header_fields import HeaderFields, HeaderValues
from chatfiles.rules.http_dates import format_http_date, parse_http_date

__all__ = [
    "ENTITY_TAG",
    "SETTLED_NS",
    "Decision",
    "WriteConditions",
    "allows_version",
    "decide",
    "etag",
    "is_cached",
    "last_modified",
    "matches",
]

#: Nanoseconds after a modification in which a validator is weak, because it may still name two
#: versions (reference/downloads, "Headers").
SETTLED_NS = 1_000_000_000

_SECOND_NS = 1_000_000_000
_READS = (b"GET", b"HEAD")
_OWS = b" \t"
#: An entity tag (RFC 9110, 8.8.3).
ENTITY_TAG = re.compile(rb'(?:W/)?"[^"\x00-\x20\x7f]*"')
_LIST_MEMBER = re.compile(rb'[ \t]*(?:((?:W/)?"[^"\x00-\x20\x7f]*")[ \t]*)?(?:,|\Z)')


@dataclass(frozen=True, slots=True)
class Decision:
    """
    The status of the response, and the bytes to send.

    :param status: 200, 206, 304, 412 or 416.
    :param first: the offset of the first byte to send.
    :param length: the ``Content-Length`` of a 200 or 206, to ``GET`` or ``HEAD``; otherwise 0.
    :param headers: the ``Content-Range`` of a 206 or 416; otherwise empty.
    """

    status: int
    first: int
    length: int
    headers: tuple[tuple[bytes, bytes], ...] = ()


def etag(facts: FileFacts, now_ns: int) -> bytes:
    """
    :param facts: of the file.
    :param now_ns: nanoseconds since the epoch; the same value for every use in one response.
    :return: the entity tag: a hash of every value that changes with the file, so that it does not
        disclose the inode number.  It is weak if the file was modified less than a second ago, or
        in the future.
    """
    identity = (facts.device, facts.inode, facts.size, facts.mtime_ns, facts.ctime_ns)
    digest = hashlib.blake2b(" ".join(map(str, identity)).encode("ascii"), digest_size=16)
    prefix = b"" if _is_settled(facts, now_ns) else b"W/"
    return prefix + b'"' + digest.hexdigest().encode("ascii") + b'"'


def last_modified(facts: FileFacts, now_ns: int) -> bytes:
    """
    :param facts: of the file.
    :param now_ns: nanoseconds since the epoch, as given to `etag`.
    :return: the IMF-fixdate of the modification, never later than now (RFC 9110, 8.8.2.1).
    """
    return format_http_date(_modified(facts, now_ns))


def decide(method: bytes, fields: HeaderFields, facts: FileFacts, now_ns: int) -> Decision:
    """
    Evaluate the conditions of a request in the order of RFC 9110, 13.2.2, then its range.

    :param method: the request's method.
    :param fields: the request's headers.
    :param facts: of the file.
    :param now_ns: nanoseconds since the epoch, as given to `etag`.
    :return: the status, and the bytes to send.
    """
    failed = _failed_precondition(method, fields, facts, now_ns)
    if failed is not None:
        return Decision(failed, 0, 0)
    span = None
    if method in _READS and _range_applies(fields, facts, now_ns):
        span = requested_span(fields.getRawHeaders(b"Range", ())[0], facts.size)
    if span is None:
        return Decision(200, 0, facts.size)
    if not span:
        return Decision(416, 0, 0, ((b"Content-Range", b"bytes */%d" % facts.size),))
    extent = b"bytes %d-%d/%d" % (span.start, span.stop - 1, facts.size)
    return Decision(206, span.start, span.stop - span.start, ((b"Content-Range", extent),))


def matches(fields: HeaderFields, facts: FileFacts, now_ns: int) -> bool:
    """
    Evaluate ``If-Match`` alone (RFC 9110, 13.1.1).

    :param fields: the request's headers.
    :param facts: of the file.
    :param now_ns: nanoseconds since the epoch, as given to `etag`.
    :return: whether it is absent, or names this version.
    """
    values = fields.getRawHeaders(b"If-Match", ())
    return not values or _names(values, etag(facts, now_ns), _same_strongly)


def allows_version(values: Sequence[bytes], version: bytes) -> bool:
    """
    :param values: the values of all ``If-Match`` headers of a request; there is one at least.
    :param version: a strong entity tag.
    :return: whether a file of that version may be sent.
    """
    return _names(values, version, _same_strongly)


@dataclass(frozen=True, slots=True)
class WriteConditions:
    """
    The conditions of a request that changes something: the values of its headers, one for each
    line (RFC 9110, 13.1).
    """

    if_match: tuple[bytes, ...] = ()
    if_none_match: tuple[bytes, ...] = ()
    if_unmodified_since: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, fields: HeaderFields) -> WriteConditions:
        """:return: the conditions in the headers of a request."""
        names = (b"If-Match", b"If-None-Match", b"If-Unmodified-Since")
        return cls(*(tuple(fields.getRawHeaders(name, ())) for name in names))

    def allow(self, facts: FileFacts | None, now_ns: int) -> bool:
        """
        :param facts: of what the request would change; ``None`` if nothing is there.
        :param now_ns: nanoseconds since the epoch, as given to `etag`.
        :return: whether all conditions hold.
        """
        if facts is None:
            return not self.if_match
        lines = {
            b"if-match": list(self.if_match),
            b"if-none-match": list(self.if_none_match),
            b"if-unmodified-since": list(self.if_unmodified_since),
        }
        fields = HeaderValues({name: values for name, values in lines.items() if values})
        return _failed_precondition(b"PUT", fields, facts, now_ns) is None


def is_cached(fields: HeaderFields, tag: bytes) -> bool:
    """
    :param fields: the headers of a ``GET`` or ``HEAD``.
    :param tag: the entity tag of the content.
    :return: whether ``If-None-Match`` says that the client has this content, so that 304 is the
        response (RFC 9110, 13.1.2).
    """
    return _names(fields.getRawHeaders(b"If-None-Match", ()), tag, _same_weakly)


def _is_settled(facts: FileFacts, now_ns: int) -> bool:
    return now_ns - facts.mtime_ns >= SETTLED_NS


def _modified(facts: FileFacts, now_ns: int) -> int:
    return min(facts.mtime_ns, now_ns) // _SECOND_NS


def _failed_precondition(
    method: bytes, fields: HeaderFields, facts: FileFacts, now_ns: int
) -> int | None:
    """:return: the status by RFC 9110, 13.2.2, steps 1 to 4; ``None`` if every condition holds."""
    reads = method in _READS
    if fields.getRawHeaders(b"If-Match", ()):
        if not matches(fields, facts, now_ns):
            return 412
    elif _modified_since(fields, b"If-Unmodified-Since", facts, now_ns) is True:
        return 412
    if values := fields.getRawHeaders(b"If-None-Match", ()):
        if _names(values, etag(facts, now_ns), _same_weakly):
            return 304 if reads else 412
    elif reads and _modified_since(fields, b"If-Modified-Since", facts, now_ns) is False:
        return 304
    return None


def _modified_since(
    fields: HeaderFields, name: bytes, facts: FileFacts, now_ns: int
) -> bool | None:
    """
    :return: whether the file was modified after the date in the header *name*.  ``None`` unless
        its value is one valid date: such a header is ignored (RFC 9110, 13.1.3 and 13.1.4).
    """
    date = _only_date(fields.getRawHeaders(name, ()), now_ns)
    return None if date is None else _modified(facts, now_ns) > date


def _range_applies(fields: HeaderFields, facts: FileFacts, now_ns: int) -> bool:
    """
    :return: whether there is one ``Range``, and ``If-Range`` does not forbid it (RFC 9110, 13.2.2,
        step 5).
    """
    if len(fields.getRawHeaders(b"Range", ())) != 1:
        return False
    conditions = fields.getRawHeaders(b"If-Range", ())
    if not conditions:
        return True
    if len(conditions) > 1:
        return False
    condition = conditions[0].strip(_OWS)
    if condition.startswith((b'"', b"W/")):
        return _same_strongly(condition, etag(facts, now_ns))
    # A date is a strong validator once its second has passed (RFC 9110, 8.8.2.2 and 13.1.5).
    date = _only_date(conditions, now_ns)
    return date == _modified(facts, now_ns) and _is_settled(facts, now_ns)


def _only_date(values: Sequence[bytes], now_ns: int) -> int | None:
    if len(values) != 1:
        return None
    return parse_http_date(values[0], now_ns // _SECOND_NS)


def _names(values: Sequence[bytes], tag: bytes, same: Callable[[bytes, bytes], bool]) -> bool:
    """
    :return: whether ``If-Match`` or ``If-None-Match`` matches the file: it is ``*``, or a list that
        contains *tag*.  The list is read up to its first malformed member.
    """
    field = b",".join(values).strip(_OWS)
    return field == b"*" or any(same(candidate, tag) for candidate in _entity_tags(field))


def _entity_tags(field: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(field) and (member := _LIST_MEMBER.match(field, position)):
        if member[1]:
            yield member[1]
        position = member.end()


def _same_strongly(one: bytes, other: bytes) -> bool:
    """RFC 9110, 8.8.3.2: a weak tag never matches, not even itself."""
    return one == other and not one.startswith(b"W/")


def _same_weakly(one: bytes, other: bytes) -> bool:
    return one.removeprefix(b"W/") == other.removeprefix(b"W/")
