"""
A strict reading of the head of an HTTP/1 answer: bytes in, verdict out.

It stands in front of a client parser that is generous (bare line feeds, folded lines, any number
of fields, two ways to frame a body).  What is generous about the end of an answer lets a cut file
look whole, or one workspace's bytes reach another's caller, so here the answer is refused instead
(RFC 9112, 2.2, 5 and 6; CONTRACT 6.3 and 9).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from chatfiles.rules.header_fields import Fields, read_fields

__all__ = [
    "MAX_FIELDS",
    "MAX_HEAD_BYTES",
    "MAX_INTERIM",
    "BadResponse",
    "HeadScanner",
    "ResponseHead",
]

#: Octets of a head and of all interim answers before it (CONTRACT 9).
MAX_HEAD_BYTES = 65536
#: Field lines of one head (CONTRACT 9).
MAX_FIELDS = 100
#: Interim answers (1xx) before the final one.
MAX_INTERIM = 8

#: The most that a length can be: what fits a signed 64-bit file offset.
_MAX_LENGTH = 2**63 - 1

_START = b"HTTP/1."
_END = b"\r\n\r\n"
# The reason phrase, and with it its space, is left out by some servers; nothing depends on it.
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
_BARE_LINE_END = re.compile(rb"\r(?=[^\n])|(?<!\r)\n", re.DOTALL)
_DIGITS = re.compile(rb"[0-9]{1,19}")
_JUDGED = frozenset({b"content-length", b"transfer-encoding", b"connection", b"content-encoding"})


class BadResponse(Exception):
    """
    The answer cannot be trusted, and neither can anything that follows it on its connection.

    :param reason: why, for a log; holds nothing of the answer.
    """


class ResponseHead(NamedTuple):
    """
    The head of a final answer that keeps every rule.

    :param status_line: without its line end.
    :param fields: names in lower case and values without the white space around them, in order.
    :param length: octets of the body, as declared; ``None`` if nothing was.
    :param has_body: whether a body follows; then it is chunked or *length* is known.
    :param persistent: whether the connection may be used again after the answer.
    :param rest: what followed the head in the octets fed so far.
    """

    status_line: bytes
    status: int
    fields: Fields
    length: int | None
    chunked: bool
    has_body: bool
    persistent: bool
    rest: bytes


class HeadScanner:
    """
    Reads octets until the head of the final answer to one request is complete.

    :param method: of the request, which decides whether a body follows.
    """

    __slots__ = ("_buffer", "_interims", "_is_head", "_searched", "_spent")

    def __init__(self, method: bytes) -> None:
        self._is_head = method == b"HEAD"
        self._buffer = bytearray()
        self._searched = 0  # octets of the buffer known to be well formed and without an end
        self._spent = 0  # octets of the interim answers
        self._interims = 0

    def feed(self, data: bytes) -> ResponseHead | None:
        """
        :param data: the next octets received, in any division.
        :return: the head once it is complete, ``None`` before; not to be called after that.
        :raise BadResponse: as soon as it is certain that the answer must be refused.
        """
        source: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            source = self._buffer
        while (end := source.find(_END, max(0, self._searched - 3))) >= 0:
            end += len(_END)
            self._spend(end)
            rest = bytes(source[end:])
            head = self._read(bytes(source[:end]), rest)
            if head is not None:
                return head
            source = rest
            self._searched = 0
        self._keep(source)
        return None

    def _spend(self, octets: int) -> None:
        self._spent += octets
        if self._spent > MAX_HEAD_BYTES:
            raise BadResponse("head too large")

    def _keep(self, source: bytes | bytearray) -> None:
        """Judge what there is of an incomplete head, and keep it."""
        if self._spent + len(source) > MAX_HEAD_BYTES:
            raise BadResponse("head too large")
        if not _START.startswith(bytes(source[: len(_START)])):
            raise BadResponse("not HTTP/1")
        if _BARE_LINE_END.search(source, max(0, self._searched - 1)):
            raise BadResponse("bare CR or LF")
        self._searched = len(source)
        if source is not self._buffer:
            self._buffer = bytearray(source)

    def _read(self, text: bytes, rest: bytes) -> ResponseHead | None:
        """:return: the head, or ``None`` for one that is only interim."""
        line = _STATUS_LINE.match(text)
        if line is None:
            raise BadResponse("malformed status line")
        fields = read_fields(text[line.end() : -2])
        if fields is None:
            raise BadResponse("malformed field line")
        if len(fields) > MAX_FIELDS:
            raise BadResponse("too many fields")
        status = int(line[2])
        if status < 200:
            self._interim(status, fields)
            return None
        framing = _judge(status, fields, is_http10=line[1] == b"0", is_head=self._is_head)
        return ResponseHead(text[: line.end() - 2], status, fields, *framing, rest)

    def _interim(self, status: int, fields: Fields) -> None:
        self._interims += 1
        if status == 101:
            raise BadResponse("unasked upgrade")
        if self._interims > MAX_INTERIM:
            raise BadResponse("too many interim answers")
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in fields):
            raise BadResponse("interim answer with a body")


def _judge(
    status: int, fields: Fields, *, is_http10: bool, is_head: bool
) -> tuple[int | None, bool, bool, bool]:
    """
    Apply the rules that span several fields (RFC 9112, 6.3).

    :return: what `ResponseHead` says of *length*, *chunked*, *has_body* and *persistent*.
    """
    if 300 <= status < 400 and status != 304:
        raise BadResponse("redirect")
    lengths: list[bytes] = []
    codings: list[bytes] = []
    persistent = not is_http10
    for name, value in [field for field in fields if field[0] in _JUDGED]:
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"connection":
            persistent = persistent and not _lists_close(value)
        elif value.lower() not in (b"", b"identity"):
            raise BadResponse("unasked content coding")
    length = _length(lengths) if lengths else None
    chunked = _is_chunked(codings) if codings else False
    if chunked and (is_http10 or length is not None):
        raise BadResponse("ambiguous framing")
    has_body = not is_head and status not in (204, 304)
    if has_body and length is None and not chunked:
        raise BadResponse("no length")
    # A server that frames a body where none can be may well send one.
    if not has_body and not is_head and (chunked or (status == 204 and length)):
        persistent = False
    return length, chunked, has_body, persistent


def _lists_close(value: bytes) -> bool:
    return b"close" in [option.strip(b" \t") for option in value.lower().split(b",")]


def _length(values: list[bytes]) -> int:
    """Equal lines count as one (RFC 9112, 6.3); a list within a line is refused."""
    if len(set(values)) > 1 or not _DIGITS.fullmatch(values[0]) or int(values[0]) > _MAX_LENGTH:
        raise BadResponse("bad Content-Length")
    return int(values[0])


def _is_chunked(values: list[bytes]) -> bool:
    if len(values) > 1 or values[0].lower() != b"chunked":
        raise BadResponse("unknown transfer coding")
    return True
