"""
Parses the request line and headers of a request strictly (RFC 9112, sections 2 to 7).

Twisted's parser accepts more than the RFC allows.  This one refuses every ambiguous request, and
the server closes its connection.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from chatfiles.errors import (
    BadRequest,
    ChatfilesError,
    ExpectationFailed,
    HeadTooLarge,
    NotImplementedHere,
    URITooLong,
    VersionNotSupported,
)
from chatfiles.http.message_head.rules import (
    MAX_HEADER_LINES,
    Fault,
    MalformedHead,
    Values,
    asks_to_close,
    declared_framing,
    read_header_lines,
    values_by_name,
)
from chatfiles.rules.header_fields import FIELD_LINE, TOKEN, Fields

__all__ = [
    "MAX_HEAD_BYTES",
    "PartialHead",
    "RequestHead",
    "check_field_line",
    "check_request_line",
    "read_head",
    "too_large",
    "values_of",
]

#: The most bytes of a request line and its header lines together.
MAX_HEAD_BYTES = 16 * 1024

#: The most digits of a Content-Length.
_MAX_DIGITS = 18

# A target may contain bytes over 0x7f (curl sends a URL as it was typed), but no control characters
# and no spaces.
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([^\x00-\x20\x7f]+) HTTP/([0-9])\.([0-9])")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
# At the end of incomplete bytes, the LF of a CR may still arrive.  Every LF found here has no CR.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x0c\x0e-\x1f\x7f]|\r(?!\Z)")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-~%!$&'()*+,;=]+)(:[0-9]*)?")

#: The headers that determine how a request is framed and served.
_DECISIVE = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"connection"})

#: Methods that are refused on every route (RFC 9110, 9.3.6 and 9.3.8).
_NEVER = frozenset({b"CONNECT", b"TRACE"})

_TEXTS = {
    Fault.LINE: "malformed header line",
    Fault.LENGTH: "malformed Content-Length",
    Fault.CODING: "unsupported Transfer-Encoding",
    Fault.AMBIGUOUS: "Transfer-Encoding in HTTP/1.0",
}


class RequestHead(NamedTuple):
    """
    A valid request line and its headers.

    :param method: such as ``GET``.
    :param target: in origin-form, printable ASCII.
    :param version: ``HTTP/1.0`` or ``HTTP/1.1``.
    :param fields: the headers.
    :param length: length of the body in bytes; ``None`` if the body is chunked.
    :param expects_continue: whether the client waits for ``100 Continue`` before it sends the body.
    :param persistent: whether another request may follow.
    """

    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    length: int | None
    expects_continue: bool
    persistent: bool


def read_head(head: bytes) -> RequestHead:
    """
    Parse ``head``: a request line and header lines, without the CRLF and the empty line at their
    end.  One empty line before them is allowed (RFC 9112, 2.2).

    :return: the parsed request line and headers.
    :raise ChatfilesError: 400, 417, 431, 501 or 505.
    """
    line, _, block = head.removeprefix(b"\r\n").partition(b"\r\n")
    method, target, version = check_request_line(line)
    try:
        fields = read_header_lines(block + b"\r\n" if block else b"")
    except MalformedHead as error:
        raise _refused_lines(error, block) from None
    values = values_by_name(fields, _DECISIVE)
    is_http10 = version == b"HTTP/1.0"
    _check_host(values.get(b"host", []), is_http10)
    expects_continue = _expects_continue(values) and not is_http10
    length = _length(values, is_http10=is_http10)
    persistent = not (is_http10 or asks_to_close(values))
    return RequestHead(method, target, version, fields, length, expects_continue, persistent)


def _check_host(hosts: list[bytes], is_http10: bool) -> None:
    if len(hosts) > 1 or not (hosts or is_http10):
        raise _malformed("exactly one Host is required")  # RFC 9112, 3.2
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise _malformed("malformed Host")


def _expects_continue(values: Values) -> bool:
    expected = [value.lower() for value in values.get(b"expect", ())]
    if expected and expected != [b"100-continue"]:
        raise ExpectationFailed
    return bool(expected)


def _length(values: Values, *, is_http10: bool) -> int | None:
    lines = len(values.get(b"content-length", ())) + len(values.get(b"transfer-encoding", ()))
    if lines > 1:
        raise _malformed("more than one message length")  # RFC 9112, 6.3
    try:
        framing = declared_framing(values, is_http10=is_http10, max_digits=_MAX_DIGITS)
    except MalformedHead as error:
        raise _malformed(_TEXTS[error.fault]) from None
    return None if framing.chunked else framing.length or 0


def check_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """
    :param line: the first line of a request, without its CRLF.
    :return: the method; the target, with every byte over 0x7f percent-encoded; the version.
    :raise ChatfilesError: 400, 501 or 505.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _malformed("malformed request line")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise VersionNotSupported
    if minor not in b"01":
        raise _malformed("malformed HTTP version")
    if method in _NEVER:
        raise NotImplementedHere
    if not target.startswith(b"/"):
        raise _malformed("request target must begin with /")
    if not target.isascii():
        target = _NOT_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), target)
    return method, target, b"HTTP/1." + minor


def check_field_line(line: bytes) -> None:
    """
    :param line: one header line, without its CRLF.
    :raise BadRequest: it is folded, its name is invalid, or its value has control characters.
    """
    if line[:1] in (b" ", b"\t"):
        raise _malformed("folded header line")  # RFC 9112, 5.2
    if not FIELD_LINE.fullmatch(line):
        raise _malformed(_TEXTS[Fault.LINE])


def _refused_lines(error: MalformedHead, block: bytes) -> ChatfilesError:
    """:return: the error that the client receives for header lines that break a rule."""
    if error.fault is Fault.TOO_MANY_LINES:
        return HeadTooLarge()
    for line in block.split(b"\r\n"):
        check_field_line(line)
    return _malformed(_TEXTS[error.fault])


class PartialHead:
    """
    Checks request lines and headers that have arrived in part.  An error that no further byte can
    correct is reported at once, not at the deadline.  The cost is proportional to the bytes
    received.
    """

    def __init__(self) -> None:
        self._line = 0  # the offset of the first line that has not been checked
        self._lines = 0
        self._seen = 0

    def check(self, part: bytes) -> None:
        """
        :param part: all bytes that have arrived, including those of earlier calls.
        :raise ChatfilesError: 400, 431, 501 or 505.
        """
        if part in (b"\r", b"\r\n"):
            return
        start = 2 if part.startswith(b"\r\n") else 0
        self._line = max(self._line, start)
        while (end := part.find(b"\r\n", max(self._line, self._seen - 1))) >= 0:
            line = part[self._line : end]
            if self._line == start:
                check_request_line(line)
            else:
                check_field_line(line)
                name, _, value = line.partition(b":")
                _length({name.lower(): [value.strip(b" \t")]}, is_http10=False)
            self._line = self._seen = end + 2
            self._lines += 1
        if _CONTROL.search(part, max(self._line, self._seen - 1)):
            raise _malformed("malformed request")
        self._seen = len(part)
        if self._lines > 1 + MAX_HEADER_LINES:
            raise HeadTooLarge


def too_large(part: bytes) -> ChatfilesError:
    """
    :param part: a request line and headers, or the beginning of them, of more than
        `MAX_HEAD_BYTES`.
    :return: 414 if the request line alone is that long, else 431.
    """
    line = part.removeprefix(b"\r\n").partition(b"\r\n")[0]
    return URITooLong() if len(line) > MAX_HEAD_BYTES else HeadTooLarge()


def values_of(name: bytes, part: bytes) -> tuple[list[bytes], bool]:
    """
    :param name: the name of a header, in lower case.
    :param part: a request line and headers that were refused, or the beginning of them.
    :return: the values before the first malformed line, and whether every line is well formed.
    """
    values: list[bytes] = []
    start, *lines = part.removeprefix(b"\r\n").split(b"\r\n")
    if not _REQUEST_LINE.fullmatch(start):
        return values, False
    for line in lines:
        if not FIELD_LINE.fullmatch(line):
            return values, False
        key, _, value = line.partition(b":")
        if key.lower() == name:
            values.append(value.strip(b" \t"))
    return values, True


def _malformed(text: str) -> BadRequest:
    return BadRequest(text, code="malformed_request")
