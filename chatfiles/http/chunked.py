"""
Decodes a chunked body (RFC 9112, section 7.1): bytes in, bytes out.

The decoder depends on no role and no transport.  It accepts less than common parsers do: if two
parsers read one body differently, an attacker can smuggle a request (RFC 9112, section 11.2).
"""

from __future__ import annotations

import re

from chatfiles.rules.header_fields import FIELD_LINE

__all__ = [
    "MANY_CHUNKS",
    "MAX_LINE_BYTES",
    "MAX_TRAILER_BYTES",
    "ChunkedDecoder",
    "MalformedChunks",
]

#: A chunk is smaller than this.  A larger size is an attempt to overflow a counter.
MAX_CHUNK_BYTES = 1 << 60
#: The line with the size and the extensions of a chunk is shorter than this.
MAX_LINE_BYTES = 1024
#: The most bytes of all trailer lines together, with their line ends.
MAX_TRAILER_BYTES = 65536
#: A read with more chunks than this is crowded: decoding it delays other connections.
MANY_CHUNKS = 1000

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]++)(?:;[\t\x20-\x7e\x80-\xff]*+)?")
# The usual start of a chunk: no extension, and a size within bounds.  It needs no other check.
_USUAL = re.compile(rb"([0-9A-Fa-f]{1,15}+)\r\n")

_CRLF = b"\r\n"
# What the decoder waits for.
_SIZE, _DATA, _DATA_END, _TRAILER = range(4)


class MalformedChunks(ValueError):
    """
    The body breaks a rule.  Neither the body nor the bytes after it can be trusted.

    :param reason: the rule, for people; it contains no part of the body.
    """


class ChunkedDecoder:
    """
    Decodes one body, as it arrives.

    :ivar complete: whether the end of the body has been read.
    :ivar rest: the bytes after the body in the last `feed`; empty until the body is complete.
    :ivar crowded: whether the last `feed` contained more than `MANY_CHUNKS` chunks.
    """

    __slots__ = ("_left", "_line", "_trailer_bytes", "_waits_for", "complete", "crowded", "rest")

    def __init__(self) -> None:
        self.complete = False
        self.rest = b""
        self.crowded = False
        self._waits_for = _SIZE
        self._left = 0  # missing bytes of the chunk, or of the CRLF after it
        self._line = bytearray()  # the part of an incomplete line that has arrived
        self._trailer_bytes = 0

    @property
    def left(self) -> int:
        """Bytes of the current chunk that have not been read; 0 if none is begun."""
        return self._left if self._waits_for == _DATA else 0

    def feed(self, data: bytes) -> bytes:
        """
        :param data: the next bytes received: any number of chunks, or a part of one.
        :return: the bytes of the body among them, joined; empty if there are none.
        :raise MalformedChunks: the body is malformed, whatever the next bytes are.
        :raise RuntimeError: the body is complete already.
        """
        if self.complete:
            raise RuntimeError("the body is complete")
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.complete:
            if self._waits_for == _SIZE and not self._line:
                at = _read_usual(data, at, pieces)
            at = self._read(data, at, pieces)
        self.crowded = len(pieces) > MANY_CHUNKS
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Read what the decoder waits for, from offset *at* of *data*.  Return its end."""
        if at == len(data):
            return at
        if self._waits_for == _DATA:
            return self._read_data(data, at, pieces)
        if self._waits_for == _DATA_END:
            return self._read_data_end(data, at)
        end = data.find(b"\n", at)
        if end < 0:
            self._keep(data[at:])
            return len(data)
        line = bytes(self._line) + data[at:end] if self._line else data[at:end]
        self._line.clear()
        self._read_line(line, data, end + 1)
        return end + 1

    def _read_data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        piece = data[at : at + self._left]
        pieces.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._waits_for, self._left = _DATA_END, len(_CRLF)
        return at + len(piece)

    def _read_data_end(self, data: bytes, at: int) -> int:
        given = data[at : at + self._left]
        if not _CRLF.startswith(given, len(_CRLF) - self._left):
            raise MalformedChunks("no line end behind a chunk")
        self._left -= len(given)
        if not self._left:
            self._waits_for = _SIZE
        return at + len(given)

    def _keep(self, part: bytes) -> None:
        """Store the beginning of a line, unless the line is too long already."""
        self._line += part
        if self._waits_for == _SIZE:
            if len(self._line) > MAX_LINE_BYTES:
                raise MalformedChunks("chunk size line too long")
        else:
            line_end = 1 if self._line.endswith(b"\r") else 2
            self._check_trailer_bytes(len(self._line) + line_end)

    def _read_line(self, line: bytes, data: bytes, end: int) -> None:
        """
        :param line: a line up to its LF, which is excluded.
        :param data: the bytes being read.
        :param end: the offset in *data* after the line.
        """
        if not line.endswith(b"\r"):
            raise MalformedChunks("bare LF")
        line = line[:-1]
        if self._waits_for == _SIZE:
            self._read_size(line)
        elif line:
            self._trailer_bytes += len(line) + len(_CRLF)
            self._check_trailer_bytes(0)
            if not FIELD_LINE.fullmatch(line):
                raise MalformedChunks("malformed trailer")
        else:
            self.complete, self.rest = True, data[end:]

    def _read_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line) if len(line) < MAX_LINE_BYTES else None
        size = MAX_CHUNK_BYTES if match is None else int(match[1], 16)
        if size >= MAX_CHUNK_BYTES:
            raise MalformedChunks("malformed chunk size")
        self._waits_for, self._left = (_DATA, size) if size else (_TRAILER, 0)

    def _check_trailer_bytes(self, more: int) -> None:
        if self._trailer_bytes + more > MAX_TRAILER_BYTES:
            raise MalformedChunks("trailer too long")


def _read_usual(data: bytes, at: int, pieces: list[bytes]) -> int:
    """
    Read the chunks that are complete, as most are.  To read them one at a time costs three times
    as much.

    :return: the offset of the first byte of *data* that was not read.
    """
    while (match := _USUAL.match(data, at)) is not None:
        start = match.end()
        end = start + int(match[1], 16)
        if end == start or not data.startswith(_CRLF, end):
            break
        pieces.append(data[start:end])
        at = end + len(_CRLF)
    return at
