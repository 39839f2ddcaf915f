"""
The body of an answer, or proof that it did not come whole.

`http.client` reads bodies leniently: an early end of a counted body passes for its end, a chunk
size cut behind a leading zero for the last chunk, and a body without any length for a whole one.
Here each of them is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse

from chatfiles.cli.errors import CliError, Exit

__all__ = ["announced_length", "pieces", "untrusted"]

#: Bytes asked of the socket at once.
BLOCK = 256 * 1024
#: Bytes of a chunk-size or trailer line, and lines of trailers, before an answer is malformed.
LINE_LIMIT = 4096
TRAILER_LIMIT = 100

_DIGITS = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")


def untrusted(why: str) -> CliError:
    """:return: the error for an answer that breaks a rule of HTTP or of the contract."""
    return CliError(
        f"the answer cannot be trusted: {why}",
        Exit.INCOMPLETE,
        hint="does --platform name a chatfiles platform, or is something between you and it?",
    )


def _cut(error: BaseException, received: int, length: int | None) -> CliError:
    happened = "stalled" if isinstance(error, TimeoutError) else "was cut"
    of = "" if length is None else f" of {length}"
    return CliError(
        f"the transfer {happened} after {received}{of} bytes",
        Exit.INCOMPLETE,
        hint="the file may have changed meanwhile, or a connection broke; run the command again",
        transient=True,
    )


def announced_length(response: HTTPResponse) -> int | None:
    """
    :return: how many bytes the body has; ``None`` when it is chunked (RFC 9112, 6.3).
    :raise CliError: the answer does not say how to tell a whole body from a cut one.
    """
    lengths = response.headers.get_all("Content-Length", [])
    codings = response.headers.get_all("Transfer-Encoding", [])
    if codings:
        if lengths or [c.strip().lower() for c in codings] != ["chunked"]:
            raise untrusted("it is framed in two ways, or in an unknown one")
        return None
    if not lengths:
        raise untrusted("it has no length, so nobody can tell whether it is whole")
    if len(lengths) != 1 or not _DIGITS.fullmatch(lengths[0].strip()):
        raise untrusted("its length is malformed")
    return int(lengths[0])


def pieces(response: HTTPResponse) -> Iterator[bytes]:
    """
    :return: the body, in pieces of at most `BLOCK` bytes; it has come whole when this ends.
    :raise CliError: it was cut, it stalled, or it is malformed.
    """
    length = announced_length(response)
    source = _chunked(response) if length is None else _counted(response, length)
    received = 0
    try:
        for piece in source:
            received += len(piece)
            yield piece
    except (OSError, EOFError, HTTPException) as error:
        raise _cut(error, received, length) from error


def _counted(response: HTTPResponse, length: int) -> Iterator[bytes]:
    left = length
    while left:
        piece = response.read1(min(BLOCK, left))
        if not piece:
            raise EOFError
        left -= len(piece)
        yield piece


def _line(response: HTTPResponse) -> bytes:
    line = response.fp.readline(LINE_LIMIT)
    if len(line) == LINE_LIMIT and not line.endswith(b"\n"):
        raise untrusted("a line of its framing is too long")
    if not line.endswith(b"\n"):
        raise EOFError
    return line


def _chunked(response: HTTPResponse) -> Iterator[bytes]:
    while left := _chunk_size(response):
        while left:
            piece = response.fp.read1(min(BLOCK, left))
            if not piece:
                raise EOFError
            left -= len(piece)
            yield piece
        if _line(response).rstrip(b"\r\n"):
            raise untrusted("a chunk is longer than it says")
    for _ in range(TRAILER_LIMIT):
        if not _line(response).rstrip(b"\r\n"):
            return
    raise untrusted("it has too many trailers")


def _chunk_size(response: HTTPResponse) -> int:
    match = _CHUNK_SIZE.fullmatch(_line(response))
    if match is None:
        raise untrusted("a chunk size is malformed")
    return int(match[1], 16)
