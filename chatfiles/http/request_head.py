"""
Which request heads are well framed (RFC 9112, 2–7): bytes in, verdict out.

Twisted's parser takes more than the RFC allows; what two parsers read differently is how requests
are smuggled, so everything doubtful is refused here and the connection closed (CONTRACT 9).
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import NamedTuple, NoReturn

from chatfiles.errors import (
    BadRequest,
    ChatfilesError,
    ExpectationFailed,
    HeadTooLarge,
    NotImplementedHere,
    URITooLong,
    VersionNotSupported,
)
from chatfiles.rules.header_fields import FIELD_LINE, TOKEN, Fields, read_fields

__all__ = [
    "MAX_HEAD_BYTES",
    "MAX_HEAD_LINES",
    "PartialHead",
    "RequestHead",
    "check_field_line",
    "check_request_line",
    "read_head",
    "refusal",
    "too_large",
    "values_of",
]

#: Bytes of a request line and its header lines together (CONTRACT 9).
MAX_HEAD_BYTES = 16 * 1024
#: Header lines of a request (CONTRACT 9).
MAX_HEAD_LINES = 100

# A target may hold bytes over 0x7f: curl sends what was typed.  Controls and spaces never.
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([^\x00-\x20\x7f]+) HTTP/([0-9])\.([0-9])")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
# A CR may still be followed by its LF; an LF that is there had no CR.
_SPOILT = re.compile(rb"[\x00-\x08\x0a-\x0c\x0e-\x1f\x7f]|\r(?!\Z)")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-~%!$&'()*+,;=]+)(:[0-9]*)?")

_JUDGED = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"connection"})

#: Methods that must not reach a resource, whatever the route (RFC 9110, 9.3.6 and 9.3.8).
_NEVER = frozenset({b"CONNECT", b"TRACE"})


class RequestHead(NamedTuple):
    """
    A head that keeps every rule.

    :param target: in origin-form, printable ASCII.
    :param version: ``HTTP/1.0`` or ``HTTP/1.1``.
    :param length: bytes of the body; ``None`` when it is chunked.
    :param expects_continue: whether its sender waits to be asked for the body.
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
    :param head: a request line and header lines, without the CRLF and the empty line at their end.
        One empty line before them is allowed (RFC 9112, 2.2).
    :raise ChatfilesError: 400, 417, 431, 501 or 505.
    """
    line, _, block = head.removeprefix(b"\r\n").partition(b"\r\n")
    method, target, version = check_request_line(line)
    fields = read_fields(block + b"\r\n" if block else b"")
    if fields is None:
        _refuse_lines(block)
    if len(fields) > MAX_HEAD_LINES:
        raise HeadTooLarge
    return RequestHead(method, target, version, fields, *_judge(fields, version))


def _judge(fields: Fields, version: bytes) -> tuple[int | None, bool, bool]:
    """
    Apply the rules that only the whole head tells.

    :return: what `RequestHead` says of *length*, *expects_continue* and *persistent*.
    """
    said: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        if name in _JUDGED:
            said.setdefault(name, []).append(value)
    is_http10 = version == b"HTTP/1.0"
    _check_host(said.get(b"host", []), is_http10)
    expects = [value.lower() for value in said.get(b"expect", [])]
    if expects and expects != [b"100-continue"]:
        raise ExpectationFailed
    length = _length(said, is_http10=is_http10)
    closes = any(b"close" in _options(value) for value in said.get(b"connection", []))
    return length, bool(expects) and not is_http10, not (is_http10 or closes)


def _check_host(hosts: list[bytes], is_http10: bool) -> None:
    if len(hosts) > 1 or not (hosts or is_http10):
        raise _malformed("exactly one Host is required")  # RFC 9112, 3.2
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise _malformed("malformed Host")


def _length(said: dict[bytes, list[bytes]], *, is_http10: bool) -> int | None:
    lengths = said.get(b"content-length", [])
    codings = said.get(b"transfer-encoding", [])
    if len(lengths) + len(codings) > 1:
        raise _malformed("more than one message length")  # RFC 9112, 6.3
    if codings:
        if codings[0].lower() != b"chunked":
            raise _malformed("unsupported Transfer-Encoding")
        if is_http10:
            raise _malformed("Transfer-Encoding in HTTP/1.0")  # RFC 9112, 6.1
        return None
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise _malformed("malformed Content-Length")
    return int(lengths[0]) if lengths else 0


def _options(value: bytes) -> list[bytes]:
    return [option.strip(b" \t") for option in value.lower().split(b",")]


def check_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """
    :param line: the first line of a request, without its CRLF.
    :return: method; target, with every byte over 0x7f percent-encoded; version.
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
    :raise BadRequest: it is folded, has no valid name, or a value with control characters.
    """
    if line[:1] in (b" ", b"\t"):
        raise _malformed("folded header line")  # RFC 9112, 5.2
    if not FIELD_LINE.fullmatch(line):
        raise _malformed("malformed header line")


def _refuse_lines(block: bytes) -> NoReturn:
    for line in block.split(b"\r\n"):
        check_field_line(line)
    raise _malformed("malformed header line")


class PartialHead:
    """
    A head that has not arrived whole: what no further byte can mend is refused now, not at the
    deadline, at a cost that is proportional to what arrives.
    """

    def __init__(self) -> None:
        self._line = 0  # where the first line begins that has not been judged
        self._lines = 0
        self._seen = 0

    def check(self, part: bytes) -> None:
        """
        :param part: what has arrived, which begins with what was given before.
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
        if _SPOILT.search(part, max(self._line, self._seen - 1)):
            raise _malformed("malformed request")
        self._seen = len(part)
        if self._lines > 1 + MAX_HEAD_LINES:
            raise HeadTooLarge


def too_large(part: bytes) -> ChatfilesError:
    """
    :param part: a head, or the beginning of one, of more than `MAX_HEAD_BYTES`.
    :return: 414 when its first line alone is that long, else 431.
    """
    line = part.removeprefix(b"\r\n").partition(b"\r\n")[0]
    return URITooLong() if len(line) > MAX_HEAD_BYTES else HeadTooLarge()


def values_of(name: bytes, part: bytes) -> tuple[list[bytes], bool]:
    """
    :param name: of a field, in lower case.
    :param part: a head that was refused, or the beginning of one.
    :return: what it says there, as far as it is well formed, and whether that is all of it.
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


def refusal(error: ChatfilesError, request_id: str, date: bytes) -> bytes:
    """
    :param error: what is wrong with a request that is not well framed.
    :param date: now, as an IMF-fixdate (RFC 9110, 6.6.1: every 4xx has one).
    :return: the whole answer to it, the last one on its connection.
    """
    body = json.dumps({"error": error.text, "code": error.code, "request_id": request_id}).encode()
    phrase = HTTPStatus(error.status).phrase.encode("ascii")
    return (
        b"HTTP/1.1 %d %s\r\nConnection: close\r\nServer: chatfiles\r\nDate: %s\r\n"
        b"X-Request-Id: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n%s"
        % (error.status, phrase, date, request_id.encode(), len(body), body)
    )


def _malformed(text: str) -> BadRequest:
    return BadRequest(text, code="malformed_request")
