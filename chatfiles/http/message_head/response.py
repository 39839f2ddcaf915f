"""
Parses the status line and headers of a response strictly (RFC 9112, sections 2, 5 and 6).

A lenient parser can make an interrupted file look complete, or give the bytes of one workspace to
a client of another.  This one refuses such a response.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from chatfiles.http.message_head.rules import (
    MAX_HEADER_LINES,
    Fault,
    MalformedHead,
    asks_to_close,
    declared_framing,
    read_header_lines,
    values_by_name,
)
from chatfiles.rules.header_fields import Fields

__all__ = [
    "MAX_HEAD_BYTES",
    "MAX_INTERIM",
    "BadResponse",
    "HeadScanner",
    "ResponseHead",
]

#: The most bytes of a status line, its headers and all interim responses before them.
MAX_HEAD_BYTES = 65536
#: The most interim responses (1xx) before the final one.
MAX_INTERIM = 8

#: The most digits of a Content-Length.
_MAX_DIGITS = 19

_START = b"HTTP/1."
_END = b"\r\n\r\n"
# Some servers omit the reason phrase and the space before it.  Nothing depends on the phrase.
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")
_BARE_LINE_END = re.compile(rb"\r(?=[^\n])|(?<!\r)\n", re.DOTALL)
#: The headers that determine how a response is framed, and whether it is accepted.
_DECISIVE = frozenset({b"content-length", b"transfer-encoding", b"connection", b"content-encoding"})

# The lines that our own workspace sends first, because they differ in every response.  No rule
# depends on them.
_VARYING = re.compile(
    rb"HTTP/1\.1 ([2345][0-9]{2} [A-Za-z ]{1,32})\r\nServer: [!-~]{1,64}\r\nDate: [ -~]{29}\r\n"
    rb"X-Request-Id: [A-Za-z0-9._-]{1,64}\r\n"
)
_VARYING_LINES = 3
#: Header blocks behind them whose meaning is remembered, and the bytes of the longest.
_BLOCKS, _LONGEST = 4096, 2048

_REASONS = {
    Fault.LINE: "malformed field line",
    Fault.TOO_MANY_LINES: "too many fields",
    Fault.LENGTH: "bad Content-Length",
    Fault.CODING: "unknown transfer coding",
    Fault.AMBIGUOUS: "ambiguous framing",
}


class BadResponse(Exception):
    """
    Neither the response nor the bytes after it on its connection can be trusted.

    :param reason: the reason, for the log; it contains no part of the response.
    """


class ResponseHead(NamedTuple):
    """
    The valid status line and headers of a final response.

    :param version: ``HTTP/1.0`` or ``HTTP/1.1``.
    :param status: the status code.
    :param phrase: the reason phrase.
    :param fields: the headers: names in lower case, and values without surrounding white space, in
        the order of their lines.
    :param length: the declared length of the body in bytes; ``None`` if none is declared.
    :param chunked: whether the body is declared as chunked.
    :param has_body: whether a body follows.  If so, it is chunked, or *length* is known.
    :param persistent: whether the connection may be used again after the response.
    :param rest: the received bytes that follow the headers.
    :param usual: whether the headers are short, and often the same.  Some of them are left out:
        ``Server``, ``Date`` and ``X-Request-Id``.
    """

    version: bytes
    status: int
    phrase: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    length: int | None
    chunked: bool
    has_body: bool
    persistent: bool
    rest: bytes
    usual: bool = False


#: The number of values of a `ResponseHead` before *rest*.
_PARSED = ResponseHead._fields.index("rest")


class HeadScanner:
    """
    Reads bytes until the headers of the final response to one request are complete.

    :param method: of the request; it determines whether a body follows.
    :param upgrade: whether the request asks for an upgrade.  Then ``101`` is a final response
        without a body, and *rest* belongs to the next protocol.
    :ivar continued: whether ``100 Continue`` has been received.
    """

    __slots__ = ("_buffer", "_interims", "_is_head", "_searched", "_spent", "_upgrade", "continued")

    def __init__(self, method: bytes, *, upgrade: bool = False) -> None:
        self._is_head = method == b"HEAD"
        self._upgrade = upgrade
        self._buffer = bytearray()
        self._searched = 0  # checked bytes of the buffer, in which no headers end
        self._spent = 0  # bytes of complete status lines and headers
        self._interims = 0
        self.continued = False

    def feed(self, data: bytes) -> ResponseHead | None:
        """
        :param data: the next bytes received, however they are divided.
        :return: the status line and headers when they are complete; ``None`` before.  After that,
            this must not be called again.
        :raise BadResponse: the response must be refused, whatever the next bytes are.
        """
        source: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            source = self._buffer
        while (end := source.find(_END, max(0, self._searched - 3))) >= 0:
            end += len(_END)
            self._spent += end
            if self._spent > MAX_HEAD_BYTES:
                raise BadResponse("headers too large")
            rest = bytes(source[end:])
            head = self._read(bytes(source[:end]), rest)
            if head is not None:
                return head
            source = rest
            self._searched = 0
        self._keep(source)
        return None

    def _keep(self, source: bytes | bytearray) -> None:
        """Check the bytes of incomplete headers, and store them."""
        if self._spent + len(source) > MAX_HEAD_BYTES:
            raise BadResponse("headers too large")
        if not _START.startswith(bytes(source[: len(_START)])):
            raise BadResponse("not HTTP/1")
        if _BARE_LINE_END.search(source, max(0, self._searched - 1)):
            raise BadResponse("bare CR or LF")
        self._searched = len(source)
        if source is not self._buffer:
            self._buffer = bytearray(source)

    def _read(self, text: bytes, rest: bytes) -> ResponseHead | None:
        """:return: the parsed status line and headers; ``None`` for an interim response."""
        varying = _VARYING.match(text)
        if varying is not None and len(text) - varying.end() <= _LONGEST:
            known = _known_head(varying[1], text[varying.end() : -2], self._is_head)
            if known is not None:
                return ResponseHead._make((*known[:_PARSED], rest, True))
        line = _STATUS_LINE.match(text)
        if line is None:
            raise BadResponse("malformed status line")
        try:
            fields = read_header_lines(text[line.end() : -2])
            if int(line[2]) < 200:
                self._check_interim(int(line[2]), fields)
                is_final = line[2] == b"101"
                return _upgraded(line, fields, rest) if is_final else None
            return _final_head(line, fields, rest, is_head=self._is_head)
        except MalformedHead as error:
            raise BadResponse(_REASONS[error.fault]) from None

    def _check_interim(self, status: int, fields: Fields) -> None:
        self._interims += 1
        self.continued |= status == 100
        if status == 101 and not self._upgrade:
            raise BadResponse("unasked upgrade")
        if self._interims > MAX_INTERIM:
            raise BadResponse("too many interim responses")
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in fields):
            raise BadResponse("interim response with a body")


@lru_cache(_BLOCKS)
def _known_head(status: bytes, block: bytes, is_head: bool) -> ResponseHead | None:
    """
    :param status: status code and reason phrase.
    :param block: the header lines behind `_VARYING`, each with its CRLF.
    :param is_head: whether the response is one to ``HEAD``.
    :return: the final response, without these lines; ``None`` if it has to be read as a whole.
    """
    line = _STATUS_LINE.match(b"HTTP/1.1 %b\r\n" % status)
    assert line is not None
    try:
        fields = read_header_lines(block)
        if len(fields) + _VARYING_LINES <= MAX_HEADER_LINES:
            return _final_head(line, fields, b"", is_head=is_head)._replace(usual=True)
    except (MalformedHead, BadResponse):
        pass  # the reason is found again where it is reported
    return None


def _upgraded(line: re.Match[bytes], fields: Fields, rest: bytes) -> ResponseHead:
    if line[1] == b"0":
        raise BadResponse("upgrade in HTTP/1.0")  # RFC 9110, 7.8
    phrase = line[3] or b""
    return ResponseHead(b"HTTP/1.1", 101, phrase, tuple(fields), None, False, False, False, rest)


def _final_head(
    line: re.Match[bytes], fields: Fields, rest: bytes, *, is_head: bool
) -> ResponseHead:
    """Apply the rules that need all headers (RFC 9112, section 6.3)."""
    status, is_http10 = int(line[2]), line[1] == b"0"
    if 300 <= status < 400 and status != 304:
        raise BadResponse("redirect")
    values = values_by_name(fields, _DECISIVE)
    if any(
        value.lower() not in (b"", b"identity") for value in values.get(b"content-encoding", ())
    ):
        raise BadResponse("unasked content coding")
    length, chunked = declared_framing(values, is_http10=is_http10, max_digits=_MAX_DIGITS)
    has_body = not is_head and status not in (204, 304)
    if has_body and length is None and not chunked:
        raise BadResponse("no length")
    # A server that declares a body where none is allowed may also send one.
    unasked = not has_body and not is_head and (chunked or (status == 204 and bool(length)))
    persistent = not (is_http10 or unasked or asks_to_close(values))
    version, phrase = b"HTTP/1." + line[1], line[3] or b""
    return ResponseHead(
        version, status, phrase, tuple(fields), length, chunked, has_body, persistent, rest
    )
