"""
An adapter over ``multipart``'s push parser: bytes of a form in, its files out, as they arrive.

Chosen over ``python-multipart``: both are incremental and kept up, and both take apart 4 to 5 GB/s
in segments of 64 KiB (a disk takes a tenth of that); this one bounds the size and number of headers
itself, and gives events instead of callbacks, so that what a part is can be decided in one place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserError,
    PushMultipartParser,
    parse_options_header,
)

from chatfiles.rules.upload_head import invalid_form

__all__ = ["FileBegins", "FileContent", "FormEvent", "MultipartReader"]

#: Parts of a form, files and plain fields together.
MAX_PARTS = 1024
#: Bytes of one header line of a part.
MAX_HEADER_LINE = 8 * 1024
#: Header lines of a part (RFC 7578, 4.8, knows three).
MAX_HEADER_LINES = 16
#: Characters of a media type that are repeated to the caller.
MAX_MEDIA_TYPE = 255
#: A name in the form of RFC 8187.
_EXTENDED = re.compile(
    r";[ \t]*filename\*[ \t]*=[ \t]*(?:utf-8|iso-8859-1)'[^'\";]*'([^'\"; \t]*)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class FileBegins:
    """
    A file of the form.

    :param name: as its sender calls it: browsers write ``"`` and line ends as ``%22``, ``%0D`` and
        ``%0A`` (https://html.spec.whatwg.org/#multipart-form-data).
    :param media_type: as its sender says, ``None`` when it does not.
    :param written: the name as it was written.
    """

    name: str
    media_type: str | None
    written: str


@dataclass(frozen=True, slots=True)
class FileContent:
    """Some bytes of it."""

    data: bytes


FormEvent = FileBegins | FileContent


class _Parser(PushMultipartParser):  # type: ignore[misc]
    """Judges a header line by itself, not by where the bytes that hold it were divided."""

    def _on_segment_headerline(self, line: bytes) -> None:
        if b"\n" in line:
            raise ParserError("Invalid line break in segment header")
        if len(line) > MAX_HEADER_LINE:
            raise ParserError("Maximum segment header length exceeded")
        super()._on_segment_headerline(line)


class MultipartReader:
    """
    Reads one form.  Parts that are not files of the field ``files`` are skipped.

    :param boundary: between its parts.
    """

    def __init__(self, boundary: str) -> None:
        # Headers are decoded as Latin-1 so that none is lost; see _text.
        self._parser = _Parser(
            boundary,
            max_header_size=MAX_HEADER_LINE + 1,  # it counts the CR that may have come already
            max_header_count=MAX_HEADER_LINES,
            max_segment_count=MAX_PARTS,
            header_charset="latin-1",
        )
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # The first delimiter may do without its CRLF; None once it has come.
        self._preamble: bytes | None = b"\r\n"
        self._in_file = False

    def feed(self, data: bytes) -> Iterator[FormEvent]:
        """
        :param data: the next bytes of the form.
        :return: what they hold; to be consumed before the next call.
        :raise BadRequest: it is not a well-formed form.
        """
        if self._preamble is not None:
            data = self._skip_preamble(self._preamble + data)
        if not data or self._parser.closed:
            return
        try:
            for event in self._parser.parse(data):
                if isinstance(event, MultipartSegment):
                    names = _file_names(event) if event.name == "files" else None
                    self._in_file = names is not None
                    if names is not None:
                        yield FileBegins(names[0], _media_type(event), names[1])
                elif event is None:
                    self._in_file = False
                elif self._in_file:
                    yield FileContent(bytes(event))
        except MultipartError as error:
            raise invalid_form(str(error)) from None

    def _skip_preamble(self, data: bytes) -> bytes:
        """
        What is before the first delimiter is nothing (RFC 2046, 5.1.1).  The parser would find
        other delimiters in it when its bytes are divided otherwise.

        :return: the bytes from the first delimiter on.
        """
        start = data.find(self._delimiter)
        if start < 0:
            self._preamble = data[-len(self._delimiter) + 1 :]
            return b""
        self._preamble = None
        return data[start + 2 :]

    def finish(self) -> None:
        """
        The last byte has been fed.

        :raise BadRequest: the form is not complete.
        """
        try:
            self._parser.close()
        except MultipartError as error:
            raise invalid_form(str(error)) from None


def _file_names(part: MultipartSegment) -> tuple[str, str] | None:
    """:return: what the sender calls it, and how that was written; ``None`` if it is no file."""
    disposition = part.header("Content-Disposition") or ""
    if part.filename is not None:
        written = parse_options_header(disposition)[1].get("filename", part.filename)
        return _text(part.filename), _text(written)
    # RFC 7578, 4.2, forbids this form; Python's requests has long sent nothing else.
    extended = _EXTENDED.search(disposition)
    if extended is None:
        return None
    name = _text(unquote_to_bytes(extended[1]).decode("latin-1"))
    return name, name


def _text(latin: str) -> str:
    """Browsers and curl send UTF-8; what is not, is taken for what it was decoded as."""
    try:
        return latin.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return latin


def _media_type(part: MultipartSegment) -> str | None:
    given = part.header("Content-Type")
    if not given or len(given) > MAX_MEDIA_TYPE or not given.isascii() or not given.isprintable():
        return None
    return str(given)
