"""
Which request heads are well framed (RFC 9112, 2–7): bytes in, verdict out.

Twisted's parser takes more than the RFC allows; what two parsers read differently is how requests
are smuggled, so everything doubtful is refused here and the connection closed (CONTRACT 9).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol

from chatfiles.errors import (
    BadRequest,
    ChatfilesError,
    ExpectationFailed,
    NotImplementedHere,
    VersionNotSupported,
)

__all__ = [
    "MAX_HEAD_BYTES",
    "MAX_HEAD_LINES",
    "ascii_request_line",
    "check_field_line",
    "check_head",
    "check_partial_line",
    "check_request_line",
    "refusal",
]

#: Bytes of a request line and its header lines together (CONTRACT 9).
MAX_HEAD_BYTES = 16 * 1024
#: Header lines of a request (CONTRACT 9).
MAX_HEAD_LINES = 100

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# A target may hold bytes over 0x7f: curl sends what was typed.  Controls and spaces never.
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([^\x00-\x20\x7f]+) HTTP/([0-9])\.([0-9])")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_FIELD_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
# A CR may still be followed by its LF; an LF that is there had no CR.
_SPOILT = re.compile(rb"[\x00-\x08\x0a-\x0c\x0e-\x1f\x7f]|\r(?!\Z)")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-~%!$&'()*+,;=]+)(:[0-9]*)?")

#: Methods that must not reach a resource, whatever the route (RFC 9110, 9.3.6 and 9.3.8).
_NEVER = frozenset({b"CONNECT", b"TRACE"})


class FieldLines(Protocol):
    """What is asked of a collection of header fields (Twisted's ``Headers`` has it)."""

    def getRawHeaders(self, name: bytes, /) -> Sequence[bytes] | None:
        """:return: the values of the field, in order, or ``None``."""


def _malformed(text: str) -> BadRequest:
    return BadRequest(text, code="malformed_request")


def check_request_line(line: bytes) -> None:
    """
    :param line: the first line of a request, without its CRLF.
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


def ascii_request_line(line: bytes) -> bytes:
    """
    :param line: the first line of a request, checked.
    :return: the same with every byte over 0x7f percent-encoded; Twisted would refuse some of them.
    """
    return _NOT_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), line)


def check_field_line(line: bytes) -> None:
    """
    :param line: one header line, without its CRLF.
    :raise BadRequest: it is folded, has no valid name, or a value with control characters.
    """
    if line[:1] in (b" ", b"\t"):
        raise _malformed("folded header line")  # RFC 9112, 5.2
    match = _FIELD_LINE.fullmatch(line)
    if match is None:
        raise _malformed("malformed header line")
    name = match[1].lower()
    if name == b"content-length" and not _LENGTH.fullmatch(match[2].rstrip(b" \t")):
        raise _malformed("malformed Content-Length")
    if name == b"transfer-encoding" and match[2].rstrip(b" \t").lower() != b"chunked":
        raise _malformed("unsupported Transfer-Encoding")


def check_partial_line(part: bytes) -> None:
    """
    Refuse now what no further byte can mend, rather than at the deadline: lines that end in a bare
    LF, and whatever is not HTTP at all.

    :param part: the beginning of a line of a head, without CRLF.
    :raise BadRequest: it has a control character.
    """
    if _SPOILT.search(part):
        raise _malformed("malformed request")


def check_head(fields: FieldLines, version: bytes) -> None:
    """
    Judge what only the whole head tells.

    :param fields: all header fields.
    :param version: ``HTTP/1.0`` or ``HTTP/1.1``.
    :raise ChatfilesError: 400 or 417.
    """
    error = _host_error(fields, version) or _length_error(fields, version)
    if error is not None:
        raise error
    expect = fields.getRawHeaders(b"expect")
    if expect and [value.lower() for value in expect] != [b"100-continue"]:
        raise ExpectationFailed


def refusal(error: ChatfilesError, request_id: str) -> bytes:
    """
    :param error: what is wrong with a request that is not well framed.
    :return: the whole answer to it, the last one on its connection.
    """
    body = json.dumps({"error": error.text, "code": error.code, "request_id": request_id}).encode()
    phrase = HTTPStatus(error.status).phrase.encode("ascii")
    return (
        b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"X-Request-Id: %s\r\nConnection: close\r\n\r\n%s"
        % (error.status, phrase, len(body), request_id.encode(), body)
    )


def _host_error(fields: FieldLines, version: bytes) -> ChatfilesError | None:
    hosts = fields.getRawHeaders(b"host") or ()
    if len(hosts) > 1 or (not hosts and version != b"HTTP/1.0"):
        return _malformed("exactly one Host is required")  # RFC 9112, 3.2
    if hosts and not _HOST.fullmatch(hosts[0]):
        return _malformed("malformed Host")
    return None


def _length_error(fields: FieldLines, version: bytes) -> ChatfilesError | None:
    lengths = fields.getRawHeaders(b"content-length") or ()
    codings = fields.getRawHeaders(b"transfer-encoding") or ()
    if len(lengths) + len(codings) > 1:
        return _malformed("more than one message length")  # RFC 9112, 6.3
    if codings and version == b"HTTP/1.0":
        return _malformed("Transfer-Encoding in HTTP/1.0")  # RFC 9112, 6.1
    return None
