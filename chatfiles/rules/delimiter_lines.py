"""
The delimiter lines of a multipart body (RFC 2046, 5.1.1), found however the body is divided.

A delimiter line begins at the start of the body, at the start of a part's content or behind a CRLF.
It is ``--`` and the boundary, perhaps ``--``, then only blanks, and it ends with CRLF or with the
body.  A line that only begins like one belongs to the content.

The libraries that parse forms are stricter or more lenient: they refuse the blanks, take
``--boundary--more`` for the end of the form, or miss the delimiter behind a part without content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto

__all__ = ["MAX_BLANKS", "DelimiterLines", "MalformedDelimiter", "Mark"]

#: Maximum number of blanks behind a boundary: they are kept until the line ends.
MAX_BLANKS = 1024
#: What may follow the boundary in a delimiter line: complete (``crlf``), or as far as it has come.
_REST = rb"""
    (?: (?P<last>--)?
        (?: (?P<blanks>[\ \t]{%d}) | [\ \t]* (?: (?P<crlf>\r\n) | (?P<end>\Z) | \r\Z ) )
      | -\Z
    )""" % (MAX_BLANKS + 1)


class Mark(Enum):
    """A delimiter line."""

    NEXT = auto()  # a part follows
    LAST = auto()  # the form has ended


class MalformedDelimiter(ValueError):
    """
    More than `MAX_BLANKS` blanks follow a boundary.  Or a line before the first delimiter begins
    like one, behind CRLF or LF: a part could be lost with it.
    """


class DelimiterLines:
    """
    Divides one body.  The headers of a part come as they were sent, with the empty line.

    :param boundary: the boundary, without its dashes.
    """

    def __init__(self, boundary: bytes) -> None:
        self._start = b"\r\n--" + boundary
        self._line = re.compile(re.escape(self._start) + _REST, re.VERBOSE)
        # The start of the body counts as the start of a line: a CRLF that is not part of the body.
        self._buffer = b"\r\n"
        self._not_sent = 2
        self._in_preamble = True
        self._in_headers = self._has_boundary = False
        self._ended = False

    def feed(self, data: bytes) -> Iterator[bytes | Mark]:
        """
        :param data: the next bytes of the body.
        :return: the bytes and delimiter lines in order; consume them before the next call.
        :raise MalformedDelimiter: see there.
        """
        if not self._ended:  # an epilogue is not collected
            self._buffer += data
        # Most pieces have no boundary.  `rfind` sees that three times as fast as `find`; it stays
        # linear, because CR is only at the start of what is looked for.
        self._has_boundary = self._buffer.rfind(self._start) >= 0
        while not self._ended:
            if self._in_headers:
                yield from self._take_headers()
                if self._in_headers:
                    return
            else:
                line = self._find_line()
                yield from self._take_content(self._undecided() if line is None else line.start())
                if line is None or line["crlf"] is None:
                    return
                yield self._take_line(line)

    def finish(self) -> Iterator[bytes | Mark]:
        """
        End the body.

        :return: the delimiter line that the end of the body has completed, if any.
        """
        if not self._in_headers and not self._ended:
            line = self._line.fullmatch(self._buffer)
            if line is not None and line["end"] is not None:
                yield self._mark(line)

    def _take_headers(self) -> Iterator[bytes]:
        """Yield headers; the line end before them is still in the buffer, but was not sent."""
        end = self._buffer.find(b"\r\n\r\n")
        keep = self._buffer[-3:] if end < 0 else b"\r\n"
        size = len(self._buffer) if end < 0 else end + 4
        piece, rest = self._buffer[self._not_sent : size], self._buffer[size:]
        self._in_headers = end < 0
        self._buffer, self._not_sent = keep + rest, len(keep)
        if piece:
            yield piece

    def _find_line(self) -> re.Match[bytes] | None:
        """:return: the next delimiter line, or the last bytes if they begin one."""
        # This is faster than the expression.
        position = self._buffer.find(self._start) if self._has_boundary else -1
        if self._in_preamble and self._buffer.find(self._start[1:]) not in (-1, position + 1):
            raise MalformedDelimiter("a line before the first boundary ends with LF only")
        if position < 0:
            return None
        line = self._line.search(self._buffer, position)
        if line is not None and line["blanks"]:
            raise MalformedDelimiter("too many blanks behind a boundary")
        if self._in_preamble and (line is None or line.start() > position):
            raise MalformedDelimiter("unexpected bytes behind the first boundary")
        return line

    def _undecided(self) -> int:
        """:return: where a beginning of the boundary is, at the end of the buffer."""
        if self._in_preamble:  # it is not sent, and is searched for one byte less
            return max(0, len(self._buffer) - len(self._start) + 1)
        # No boundary contains CR, so the last CR is the only one that may begin a line.
        position = self._buffer.rfind(b"\r", max(0, len(self._buffer) - len(self._start) + 1))
        is_beginning = position >= 0 and self._start.startswith(self._buffer[position:])
        return position if is_beginning else len(self._buffer)

    def _take_content(self, size: int) -> Iterator[bytes]:
        """Yield the first *size* bytes of the buffer, but for those that must not be sent."""
        piece, self._buffer = self._buffer[self._not_sent : size], self._buffer[size:]
        self._not_sent = max(0, self._not_sent - size)
        if piece and not self._in_preamble:
            yield piece

    def _take_line(self, line: re.Match[bytes]) -> Mark:
        """:return: the delimiter line, with which the buffer begins now."""
        # Its line end may be the empty line of a part without headers.
        self._buffer, self._not_sent = self._buffer[len(line[0]) - 2 :], 2
        return self._mark(line)

    def _mark(self, line: re.Match[bytes]) -> Mark:
        self._in_preamble = False
        self._ended = line["last"] is not None
        self._in_headers = not self._ended
        return Mark.LAST if self._ended else Mark.NEXT
