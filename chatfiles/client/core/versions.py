"""
Which response continues a transfer: the rules that keep two versions of a file apart (RFC 9110,
13.1.5 and 15.3.7; reference/client, "One version").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chatfiles.client.core.answers import header
from chatfiles.client.core.errors import (
    BadAnswer,
    Changed,
    ClientError,
    Incomplete,
    PreconditionFailed,
)
from chatfiles.client.core.steps import Response
from chatfiles.rules.byte_ranges import Part, parse_content_range, part_fault

__all__ = ["NothingFollows", "OtherPart", "Span", "Versions", "check_whole", "is_strong"]

_STRONG = re.compile(r'"[\x21\x23-\x7e]*"')


def is_strong(etag: str | None) -> bool:
    """:return: whether *etag* is a strong validator, alone."""
    return etag is not None and _STRONG.fullmatch(etag) is not None


class OtherPart(Changed):
    """A response cannot continue what was received; a request from the start may help."""


class NothingFollows(OtherPart):
    """There are no bytes behind those that were received: perhaps they are the whole file."""


@dataclass(frozen=True, slots=True)
class Span:
    """
    A part of a file.

    :param first: the offset of its first byte; negative for the last ``-first`` bytes of the file.
    :param stop: the offset behind its last byte; ``None`` for the end of the file.
    """

    first: int = 0
    stop: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file."""
        return self.first == 0 and self.stop is None

    def field(self, received: int) -> str:
        """:return: the value of ``Range`` for what follows its first *received* bytes."""
        if self.first < 0:
            return f"bytes={self.first}"
        last = "" if self.stop is None else str(self.stop - 1)
        return f"bytes={self.first + received}-{last}"

    def last(self, total: int | None) -> int | None:
        """:return: the offset of its last byte in a file of *total* bytes."""
        ends = [each for each in (self.stop, total) if each is not None]
        return min(ends) - 1 if ends else None


class Versions:
    """
    The version of a file that a transfer has begun, and how far it is.

    :param span: the part of the file that is wanted.
    :param if_match: the condition of the program, if any.
    :param slices: whether the program accepts the whole file in place of a part, as `span` says.
    :param etag: the strong validator of the bytes that an earlier transfer has left.
    :param received: how many these are.
    :param total: the length of the file in that version, if it is known.
    :ivar span: the part that responses have: its `Span.first` is not negative after the first one.
    :ivar etag: the validator of the version; ``None`` before the first response, or without one.
    :ivar size: bytes of the part in all; ``None`` if that is not known.
    :ivar restarted: whether bytes were discarded.
    """

    def __init__(
        self,
        span: Span,
        if_match: str | None = None,
        *,
        slices: bool = False,
        etag: str | None = None,
        received: int = 0,
        total: int | None = None,
    ) -> None:
        self.span = self._wanted = span
        self._if_match = if_match
        self._slices = slices
        self._begun = False
        self._continues = False
        self._asked = ""
        self._total = self.size = total
        self.etag = etag
        self.received = received
        self.restarted = False

    def headers(self) -> dict[str, str]:
        """:return: the headers of the next request."""
        found = {} if self._if_match is None else {"If-Match": self._if_match}
        self._continues = self.received > 0 and is_strong(self.etag)
        self._asked = ""
        if not self._continues:
            self.span = self._wanted
        if self._continues or not self.span.is_whole:
            self._asked = self.span.field(self.received if self._continues else 0)
            found["Range"] = self._asked
        if self._continues:
            found["If-Range"] = str(self.etag)
        return found

    def accept(self, response: Response) -> bool:
        """
        Validate a 200 or 206.

        :return: whether the response begins from the start, so that what was received is discarded.
        :raise OtherPart: it cannot continue what was received.
        :raise Changed: it has another version than ``if_match`` names.
        :raise BadAnswer: it has other bytes than the request asked for, or is encoded.
        :raise Incomplete: its end could not be distinguished from an interruption.
        """
        _check_coding(response)
        etag = header(response, "ETag") or None
        if is_strong(self._if_match) and etag != self._if_match:
            raise Changed("the file has another version than if_match names")
        _check_framing(response, self.received)
        discards = self.received > 0 and not (self._continues and response.status == 206)
        if response.status == 206:
            self._accept_part(response)
        else:
            self._accept_whole(response)
        self.etag = etag
        self._begun = True
        return discards

    def refused(self, response: Response, error: ClientError) -> ClientError:
        """
        :param response: is neither 200 nor 206.
        :param error: what it says.
        :return: the error to raise.
        """
        if isinstance(error, PreconditionFailed) and self._begun:
            return Changed("the file has changed since the transfer began")
        if getattr(error, "status", 0) != 416 or not self._continues:
            return error
        is_end = header(response, "Content-Range") == f"bytes */{self.received}"
        text = "the file has become shorter since the transfer began"
        return (NothingFollows if is_end else OtherPart)(text)

    def is_whole(self, response: Response) -> bool:
        """
        :param response: to a ``HEAD``.
        :return: whether what was received is the whole file, in the version that it describes.
        """
        length = header(response, "Content-Length")
        if response.status != 200 or header(response, "ETag") != self.etag:
            return False
        self.size = self.received
        return length == str(self.received) and self._total in (None, self.received)

    @property
    def may_restart(self) -> bool:
        """Whether the program accepts another version than the one that was begun."""
        return self._if_match is None

    def discard(self) -> None:
        """Begin from the start."""
        self.restarted = self.restarted or self.received > 0
        self.received = 0
        self.span = self._wanted
        self.etag = self._total = self.size = None

    def check_fits(self, count: int) -> None:
        """:raise BadAnswer: *count* more bytes are too many."""
        if self.size is not None and self.received + count > self.size:
            raise BadAnswer("the response has a body that is not as long as its range")

    def check_end(self) -> None:
        """:raise BadAnswer: the body was shorter than its headers say."""
        if self.size is not None and self.received != self.size:
            raise BadAnswer("the response has a body that is not as long as its range")

    def _accept_whole(self, response: Response) -> None:
        if self._continues and self._if_match is not None:
            raise Changed("the whole file was sent in place of the rest of one version")
        if not self.span.is_whole and not self._slices:
            raise OtherPart("the whole file was sent in place of the part that was asked for")
        self.discard()
        self.span = Span()
        self.size = self._total = response.length

    def _accept_part(self, response: Response) -> None:
        part = parse_content_range(_encoded(response, "Content-Range"))
        fault = self._fault(response, part)
        if fault is not None:
            raise (OtherPart if self._continues else BadAnswer)(fault)
        assert part is not None
        if not self._continues:
            self.discard()
        if self.span.first < 0:
            self.span = Span(part.first)
        self._total = part.total
        self.size = part.last + 1 - self.span.first

    def _fault(self, response: Response, part: Part | None) -> str | None:
        fault = part_fault(
            [self._asked.encode("ascii")] if self._asked else [],
            content_range=_encoded(response, "Content-Range"),
            length=response.length,
            if_range=str(self.etag).encode("latin-1") if self._continues else b"",
            etags=_encoded(response, "ETag"),
        )
        if fault is not None or part is None:
            return fault or "206 without a Content-Range"
        if self._continues and self._total not in (None, part.total):
            return "206 of a file of another length"
        first, last = self.span.first, self.span.last(part.total)
        if first < 0:
            whole = part.total is not None and part.last == part.total - 1
            return (
                None if whole and part.length == min(-first, part.total or 0) else "206 too short"
            )
        return None if part.last == last else "206 with another part than was asked for"


def check_whole(response: Response) -> None:
    """
    :raise BadAnswer: its bytes are encoded.
    :raise Incomplete: its end could not be distinguished from an interruption.
    """
    _check_coding(response)
    _check_framing(response)


def _check_coding(response: Response) -> None:
    if header(response, "Content-Encoding").lower() not in ("", "identity"):
        raise BadAnswer("the response is encoded, which was not asked for")


def _check_framing(response: Response, done: int = 0) -> None:
    if not response.framed:
        text = "the response has no length and no chunks, so it may be incomplete"
        raise Incomplete(text, done=done)


def _encoded(response: Response, name: str) -> list[bytes]:
    return [value.encode("latin-1") for value in response.values(name)]
