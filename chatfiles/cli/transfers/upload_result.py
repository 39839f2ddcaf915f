"""
Compares the files that the platform reports as stored with those that were sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatfiles.cli.errors import CliError, untrusted
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.terminal.tables import as_rows
from chatfiles.cli.transfers.input_file import Source

__all__ = ["UploadResult"]

_SCHEME = "workspace:"


class UploadResult:
    """
    The result of an upload, which agrees with the files that were sent.  The platform's JSON object
    is stored as `answer`; its ``files`` are as many as the sources.

    :param sources: the files, which were sent to their ends.
    :ivar paths: the virtual paths of the files, in the order in which they were sent.
    :ivar proven: whether the response has a digest for each file; otherwise only the sizes have
        been compared, because older platforms send no digests.
    :raise CliError: the stored files differ, or the response is malformed.
    """

    def __init__(self, answer: dict[str, Any], sources: Sequence[Source]) -> None:
        rows = as_rows(answer, "files")
        self.answer = answer
        self.paths = [_path(row) for row in rows]
        self.proven = all(row.get("sha256") is not None for row in rows)
        for source, row, path in zip(sources, rows, self.paths, strict=True):
            _compare(source, row, path)


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
