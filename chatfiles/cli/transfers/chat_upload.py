"""
Uploads files to the chat of a workspace: large ones one after the other, in a way that can be
continued, then all others in one form (reference/uploads, reference/resumable).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from chatfiles.cli.errors import CliError, printable, untrusted
from chatfiles.cli.http.client import Client
from chatfiles.cli.http.multipart_form import Form
from chatfiles.cli.terminal.progress_bar import ProgressBar
from chatfiles.cli.terminal.tables import as_object, as_rows
from chatfiles.cli.transfers.input_file import Source
from chatfiles.cli.transfers.resumable_upload import (
    CONTINUE,
    ResumableTransfer,
    ResumeOptions,
    is_large,
    is_offered,
)
from chatfiles.cli.transfers.upload import Upload
from chatfiles.cli.transfers.upload_result import UploadResult
from chatfiles.client.core.form import new_boundary

__all__ = ["ChatUpload", "count", "hinted"]

#: Maximum bytes of a response: 64 files need some 40 KiB.
RESPONSE_LIMIT = 1024 * 1024
#: Hints for statuses that only a request with a large body receives.
_HINTS = {
    413: "`curl {platform}/uploads/limits` shows what may be sent at once; --max-request-bytes and "
    "--max-file-bytes of both roles set it",
    415: "is --platform the platform's own address? Something on the way does not know uploads",
    507: "free some space where the workspace keeps its files",
}


class ChatUpload:
    """
    The upload of the files of one command.

    :param workspace: its id.
    :param sources: the files, in the order of the command.
    :param options: for large files.
    :param describes: whether the platform's description of each file is shown.
    """

    def __init__(
        self,
        client: Client,
        workspace: str,
        sources: Sequence[Source],
        options: ResumeOptions,
        *,
        describes: bool,
    ) -> None:
        self._client = client
        self._workspace = workspace
        self._sources = sources
        self._options = options
        self._describes = describes
        self._finished: list[ResumableTransfer] = []

    def run(self) -> UploadResult:
        """
        :return: the stored files, which agree with those that were sent.
        :raise CliError: not all files are stored, or some are stored wrongly.
        """
        rows = {source: row for source in self._large() if (row := self._send_large(source))}
        answer: dict[str, Any] = {}
        if rest := [source for source in self._sources if source not in rows]:
            try:
                answer = self._send_form(rest)
            except CliError as error:
                if self._finished:
                    error.hint = f"{error.hint}; {CONTINUE}" if error.hint else CONTINUE
                raise
            rows |= zip(rest, _rows(answer, len(rest)), strict=True)
        files = [rows[source] for source in self._sources]
        for transfer in self._finished:
            transfer.forget()
        return UploadResult({**answer, "files": files}, self._sources)

    def _large(self) -> list[Source]:
        """:return: the files that can be sent in a way that can be continued."""
        large = [source for source in self._sources if is_large(source)]
        largest = max((source.size or 0 for source in large), default=0)
        return large if large and is_offered(self._client, self._workspace, largest) else []

    def _send_large(self, source: Source) -> dict[str, Any] | None:
        """:return: the file's entry in the response; ``None`` if it was not sent."""
        client, workspace, options = self._client, self._workspace, self._options
        transfer = ResumableTransfer(client, workspace, source, None, {}, options)
        stored = transfer.run()
        if stored is None:
            return None
        self._finished.append(transfer)
        if self._describes:
            return transfer.describe()
        return {"uri": unquote(stored.uri), "size": source.size, "sha256": stored.sha256}

    def _send_form(self, sources: Sequence[Source]) -> dict[str, Any]:
        """:return: the response of the platform."""
        form, client = Form(sources, new_boundary()), self._client
        with ProgressBar(count(sources), shown=self._options.shown) as bar:
            bar.begin(0, form.length)
            upload = Upload(form, bar.advance)
            with upload.post(client, f"/workspaces/{self._workspace}/chat/uploads") as response:
                if response.status != 200:
                    raise hinted(client.refusal(response), response.status, client.platform)
                if not upload.complete:
                    raise untrusted("it came before the files had been sent")
                return as_object(client.json(response, RESPONSE_LIMIT))


def count(sources: Sequence[Source]) -> str:
    """:return: the only file's name, or how many there are."""
    if len(sources) > 1:
        return f"{len(sources)} files"
    return printable(os.path.basename(sources[0].label))


def _rows(answer: dict[str, Any], expected: int) -> list[dict[str, Any]]:
    rows = as_rows(answer, "files")
    if len(rows) != expected:
        raise untrusted(f"it names {len(rows)} files, but {expected} were sent")
    return rows


def hinted(error: CliError, status: int, platform: str) -> CliError:
    """:return: the error of an upload that was refused, with a hint if it had none."""
    if error.hint is None and status in _HINTS:
        error.hint = _HINTS[status].format(platform=platform)
    return error
