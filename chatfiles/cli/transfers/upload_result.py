"""
What the platform says that it has stored, held against what was sent (CONTRACT 7).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http.client import HTTPResponse
from typing import Any

from chatfiles.cli.errors import CliError, Exit
from chatfiles.cli.http.response_body import pieces, untrusted
from chatfiles.cli.terminal.tables import as_object, as_rows
from chatfiles.cli.transfers.input_file import Source

__all__ = ["Stored", "read_stored"]

#: Bytes of an answer that are read: 64 files need some 40 KiB.
ANSWER_LIMIT = 1024 * 1024
_SCHEME = "workspace:"


class Stored:
    """
    A success, once it has been believed.

    :ivar answer: all of it.
    :ivar paths: where the files are, in the order in which they were sent.
    :ivar proven: whether a digest came back for each of them; else only the sizes are known to be
        right, as the platforms in the field have it.
    """

    def __init__(self, answer: dict[str, Any], sources: Sequence[Source]) -> None:
        rows = as_rows(answer, "files")
        if len(rows) != len(sources):
            raise untrusted(f"it names {len(rows)} files, but {len(sources)} were sent")
        self.answer = answer
        self.paths = [_path(row) for row in rows]
        self.proven = all(row.get("sha256") is not None for row in rows)
        for source, row, path in zip(sources, rows, self.paths, strict=True):
            _compare(source, row, path)


def read_stored(response: HTTPResponse, sources: Sequence[Source]) -> Stored:
    """
    :param response: an answer with status 200.
    :param sources: what was sent, to the end.
    :raise CliError: something else has been stored, or the answer is not one of ours.
    """
    data = bytearray()
    for piece in pieces(response):
        data += piece
        if len(data) > ANSWER_LIMIT:
            raise untrusted("it is too long")
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise untrusted("it is not JSON") from error
    return Stored(as_object(answer), sources)


def _path(row: dict[str, Any]) -> str:
    uri = row.get("uri")
    if not isinstance(uri, str) or not uri.startswith(_SCHEME + "/"):
        raise untrusted("it does not say where a file is")
    return uri.removeprefix(_SCHEME)


def _compare(source: Source, row: dict[str, Any], path: str) -> None:
    size, digest = row.get("size"), row.get("sha256")
    if size != source.sent:
        raise _differs(source, path, f"{source.sent} bytes were sent, {size} were stored")
    if digest is not None and digest != source.digest.hexdigest():
        raise _differs(source, path, f"its SHA-256 is {source.digest.hexdigest()}, not {digest}")


def _differs(source: Source, path: str, how: str) -> CliError:
    return CliError(
        f"{source.label} was not stored as it was sent: {how}",
        Exit.INCOMPLETE,
        hint=f"do not use {path}; send the file again",
    )
