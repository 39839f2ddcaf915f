"""
An adapter for the push parser of ``multipart``: it parses a form while it arrives, and yields its
files.

`chatfiles.rules.delimiter_lines` divides the parts.  The library parses their headers; it divides
them by a boundary of its own, which no client can guess.

The library was chosen over ``python-multipart``.  Both are incremental and maintained, and both
parse 4 to 5 GB/s in segments of 64 KiB (a disk takes a tenth of that).  This one limits the size
and number of headers itself, and yields events instead of callbacks, so that one place decides what
a part is.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from multipart import MultipartError, MultipartSegment, ParserError, PushMultipartParser

from chatfiles.rules.delimiter_lines import DelimiterLines, MalformedDelimiter, Mark
from chatfiles.rules.given_names import GivenName, given_name
from chatfiles.rules.upload_head import invalid_form

__all__ = ["FileBegins", "FileContent", "FormEvent", "MultipartReader"]

#: Maximum number of parts of a form: files and plain form fields together.
MAX_PARTS = 1024
#: Maximum bytes of one header line of a part.
MAX_HEADER_LINE = 8 * 1024
#: Maximum number of header lines of a part.  RFC 7578, 4.8, defines three headers; others are
#: ignored, but each takes time.
MAX_HEADER_LINES = 256
#: Maximum characters of a media type that a response repeats; a longer one is ignored.
MAX_MEDIA_TYPE = 255
#: RFC 5322, 2.2; a name must not begin as a delimiter line does.
_HEADER_NAME = re.compile(rb"(?!--)([!-9;-~]+)[ \t]*:")


@dataclass(frozen=True, slots=True)
class FileBegins:
    """
    A file of the form begins.

    :param given: the name that the client gave it.
    :param media_type: the media type that the client sent, without parameters; ``None`` if it sent
        none.
    """

    given: GivenName
    media_type: str | None


@dataclass(frozen=True, slots=True)
class FileContent:
    """The next bytes of the file."""

    data: bytes


FormEvent = FileBegins | FileContent


class _Parser(PushMultipartParser):  # type: ignore[misc]
    """
    Validates each header line as a whole, however its bytes are divided among chunks.  Headers
    that no one reads are ignored, whatever they say (RFC 7578, 4.8).
    """

    def _on_segment_start(self) -> None:
        super()._on_segment_start()
        self._lines = 0
        self._unread = {b"content-disposition", b"content-type"}  # the first of each counts
        self._is_ignored = False

    def _on_segment_headerline(self, line: bytes) -> None:
        self._lines += 1
        if self._lines > MAX_HEADER_LINES:
            raise ParserError("Maximum segment header count exceeded")
        if b"\n" in line:
            raise ParserError("Invalid line break in segment header")
        if len(line) > MAX_HEADER_LINE:
            raise ParserError("Maximum segment header length exceeded")
        if line[0] not in b" \t":  # else it continues the last header
            self._is_ignored = self._begin_header(line)
        if not self._is_ignored:
            super()._on_segment_headerline(line)

    def _begin_header(self, line: bytes) -> bool:
        """:return: whether the header is ignored."""
        match = _HEADER_NAME.match(line)
        if match is None:
            raise ParserError("Malformed segment header")
        name = match[1].lower()
        is_read = name in self._unread
        self._unread.discard(name)
        return not is_read


class MultipartReader:
    """
    Reads one form.  Parts that are not files of the field ``files`` are skipped.

    :param boundary: the boundary between its parts.
    """

    def __init__(self, boundary: str) -> None:
        own_boundary = secrets.token_hex(16)
        own_delimiter = b"\r\n--" + own_boundary.encode("ascii")
        self._lines = DelimiterLines(boundary.encode("ascii"))
        self._delimiters = {
            Mark.NEXT: own_delimiter + b"\r\n",
            Mark.LAST: own_delimiter + b"--",
        }
        # Headers are decoded as Latin-1, so that no byte is lost; see given_names.
        self._parser = _Parser(
            own_boundary,
            max_header_size=MAX_HEADER_LINE + 1,  # a CR may have arrived
            max_segment_count=MAX_PARTS,
            header_charset="latin-1",
        )
        self._in_content = self._in_file = False

    def feed(self, data: bytes) -> Iterator[FormEvent]:
        """
        :param data: the next bytes of the form.
        :return: their events; consume them before the next call.
        :raise BadRequest: the form is malformed.
        """
        return self._parse(self._lines.feed(data))

    def finish(self) -> list[FormEvent]:
        """
        End the form after its last byte.

        :return: the last events.
        :raise BadRequest: the form is not complete.
        """
        events = list(self._parse(self._lines.finish()))
        try:
            self._parser.close()
        except MultipartError as error:
            raise invalid_form(str(error)) from None
        return events

    def _parse(self, pieces: Iterator[bytes | Mark]) -> Iterator[FormEvent]:
        try:
            for piece in pieces:
                if isinstance(piece, Mark):
                    self._in_content = self._in_file = False
                    yield from self._parse_structure(self._delimiters[piece])
                elif not self._in_content:
                    yield from self._parse_structure(piece)
                elif self._in_file:  # the parser would only search and copy it
                    yield FileContent(piece)
        except (MultipartError, MalformedDelimiter) as error:
            raise invalid_form(str(error)) from None

    def _parse_structure(self, data: bytes) -> Iterator[FormEvent]:
        for event in self._parser.parse(data):
            if isinstance(event, MultipartSegment):
                disposition = event.header("Content-Disposition") or ""
                given = given_name(disposition) if event.name == "files" else None
                self._in_content, self._in_file = True, given is not None
                if given is not None:
                    yield FileBegins(given, _media_type(event))


def _media_type(part: MultipartSegment) -> str | None:
    given: str = part.header("Content-Type") or ""
    essence = given.partition(";")[0].strip(" \t")
    if not essence or len(essence) > MAX_MEDIA_TYPE:
        return None
    return essence if essence.isascii() and essence.isprintable() else None
