"""
Writes one file at a path of a workspace (reference/writes).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes

import click

from chatfiles.cli.errors import CliError, printable, untrusted
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.http.multipart_form import Wait
from chatfiles.cli.listing.requests import look_at
from chatfiles.cli.terminal.progress_bar import ProgressBar
from chatfiles.cli.terminal.tables import as_object
from chatfiles.cli.transfers.chat_upload import hinted
from chatfiles.cli.transfers.input_file import Source
from chatfiles.cli.transfers.resumable_upload import (
    ResumableTransfer,
    ResumeOptions,
    is_large,
    is_offered,
)
from chatfiles.cli.transfers.upload import Upload
from chatfiles.cli.workspaces import find_workspace
from chatfiles.client.core.names import condition
from chatfiles.client.core.writes import mkdir

__all__ = ["FilePut", "put_file"]

#: Maximum bytes of a response.
RESPONSE_LIMIT = 64 * 1024
#: Seconds after which the entity tag of a file is strong, so that it can be a condition.
SETTLED = 1.2


@dataclass(frozen=True, slots=True)
class FilePut:
    """
    How a file is written.

    :param if_absent: only if nothing is there.
    :param if_match: the entity tag of the version that may be replaced; ``None`` for any.
    :param parents: whether to create missing directories.
    :param mode: permission bits in octal digits; ``None`` for the usual ones.
    :raise UsageError: the conditions contradict each other.
    """

    if_absent: bool = False
    if_match: str | None = None
    parents: bool = False
    mode: str | None = None

    def __post_init__(self) -> None:
        if self.if_absent and self.if_match is not None:
            raise click.UsageError("--if-absent and --if-match exclude each other")


class _FileBody:
    """A file as the whole body of a request."""

    content_type = "application/octet-stream"
    closing = b""

    def __init__(self, source: Source) -> None:
        self.length = source.size
        self._source = source

    def blocks(self, wait: Wait) -> Iterator[bytes]:
        return filter(None, self._source.pieces(wait))


class _FileUpload(Upload):
    unknown_hint = "it may have been stored; `chatfiles stat` shows what is there now"


def put_file(
    client: Client,
    reference: str,
    path: bytes,
    source: Source,
    asked: FilePut,
    options: ResumeOptions,
    *,
    describes: bool,
) -> dict[str, Any]:
    """
    Write a file, and compare what was stored with what was sent.

    :param reference: the id or name of the workspace.
    :param path: the virtual path.
    :param options: for a large file, whose upload can be continued.
    :param describes: whether the result is shown.
    :return: what the platform says of the file.
    :raise CliError: the file was not stored, or the response differs from it.
    """
    workspace = find_workspace(client, reference)
    answer = None
    # No header of a resumable upload says a mode.
    if is_large(source) and asked.mode is None:
        answer = _put_large(client, workspace, path, source, asked, options, describes)
    if answer is None:
        answer = _put_at_once(client, workspace, path, source, asked, shown=options.shown)
    _compare(answer, source, path)
    return answer


def _put_at_once(
    client: Client, workspace: str, path: bytes, source: Source, asked: FilePut, *, shown: bool
) -> dict[str, Any]:
    parents = 1 if asked.parents else None
    route = client.context(workspace).route("fs/file", path, parents=parents, mode=asked.mode)
    headers = condition(asked.if_match, if_absent=asked.if_absent)
    with ProgressBar(printable(os.path.basename(source.label)), shown=shown) as bar:
        bar.begin(0, source.size)
        upload = _FileUpload(_FileBody(source), bar.advance)
        with upload.post(client, route, "PUT", headers) as response:
            if response.status not in (200, 201):
                raise hinted(client.refusal(response), response.status, client.platform)
            if not upload.complete:
                raise untrusted("it came before the file had been sent")
            return as_object(client.json(response, RESPONSE_LIMIT))


def _put_large(
    client: Client,
    workspace: str,
    path: bytes,
    source: Source,
    asked: FilePut,
    options: ResumeOptions,
    describes: bool,
) -> dict[str, Any] | None:
    """:return: as `put_file`; ``None`` if there are no resumable uploads for this file."""
    if not is_offered(client, workspace, source.size or 0):
        return None
    if asked.parents:
        client.run(mkdir(client.context(workspace), os.path.dirname(path), parents=True))
    headers = condition(asked.if_match, if_absent=asked.if_absent)
    transfer = ResumableTransfer(client, workspace, source, path, headers, options)
    stored = transfer.run()
    if stored is None:
        return None
    transfer.forget()
    answer = {"ref": quote_from_bytes(path), "size": source.size, "sha256": stored.sha256}
    if describes and stored.sha256 == source.digest.hexdigest():
        answer |= _describe(client, workspace, path)
    return answer


def _describe(client: Client, workspace: str, path: bytes) -> dict[str, Any]:
    """:return: the entity tag and the time of a file that has just been written."""
    entry = look_at(client, workspace, path)
    if (entry.etag or "").startswith("W/"):  # until the file is older than a second
        time.sleep(SETTLED)
        before, entry = entry, look_at(client, workspace, path)
        if entry.mtime_ns != before.mtime_ns:
            return {}  # another program has written it
    return {key: entry.received[key] for key in ("etag", "mtime") if key in entry.received}


def _compare(answer: dict[str, Any], source: Source, path: bytes) -> None:
    sent = {"size": source.sent, "sha256": source.digest.hexdigest()}
    for member, value in sent.items():
        if answer.get(member) != value:
            raise CliError(
                f"{source.label} was not stored as it was sent: its {member} is {value}, "
                f"not {answer.get(member)}",
                Exit.INCOMPLETE,
                hint=f"do not use {os.fsdecode(path)}; send the file again",
            )
