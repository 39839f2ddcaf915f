"""
Uploads one large file in as many requests as necessary (tus 1.0.0; reference/resumable).

What is sent next, and what a response means, is decided by `chatfiles.client.core`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from chatfiles.cli.errors import CliError, printable, untrusted, warn
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.http.multipart_form import Wait
from chatfiles.cli.terminal.progress_bar import ProgressBar, format_size
from chatfiles.cli.terminal.tables import as_object, as_rows
from chatfiles.cli.transfers.input_file import STDIN, Source, SourceChanged
from chatfiles.cli.transfers.retries import DEFAULT_RETRIES, LONGEST_PAUSE, pause_after
from chatfiles.cli.transfers.upload import Upload
from chatfiles.cli.transfers.upload_records import RecordFile
from chatfiles.client.blocking.response import BlockingResponse
from chatfiles.client.core.answers import header
from chatfiles.client.core.names import route
from chatfiles.client.core.resumable_upload import (
    CHUNK_TYPE,
    Finished,
    ResumableUpload,
    UntrustedResponse,
    UploadRecord,
    UploadRequest,
    UploadService,
    Verdict,
)
from chatfiles.client.core.steps import Request

__all__ = [
    "CONTINUE",
    "ResumableTransfer",
    "ResumeOptions",
    "is_large",
    "is_offered",
]

#: A file with more bytes is sent in a way that can be continued.
LARGE = 16 * 1024 * 1024
#: The code of a response that says the offset.
_MOVED = "offset_mismatch"
#: What a later command can do.
CONTINUE = "the same command with --continue sends the rest"
#: What becomes of an upload that an earlier command has begun, without ``--continue``.
UNUSED = (
    "--continue sends its rest. Starting over; what was sent then expires, after a day by default"
)


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """
    What the user wants of an upload that can be continued.

    :param directory: of the records; see `chatfiles.cli.transfers.upload_records`.
    :param resume: whether the upload of an earlier command is continued.
    :param retries: how many retries in a row are made after transient errors.  One after which the
        upload made progress is not counted.  ``None`` means `DEFAULT_RETRIES`.
    :param shown: whether there is a terminal to show the progress on.
    :param quiet: whether only errors are printed.
    """

    directory: str
    resume: bool = False
    retries: int | None = None
    shown: bool = False
    quiet: bool = False


def is_large(source: Source) -> bool:
    """:return: whether a file should be sent in a way that can be continued.  No pipe can be."""
    return source.size is not None and source.size > LARGE


def is_offered(client: Client, workspace: str, size: int) -> bool:
    """
    :param workspace: its id.
    :param size: bytes of the file.
    :return: whether the platform has resumable uploads for files of this size.
    :raise CliError: the platform is unavailable.
    """
    with client.open(Request("OPTIONS", route(workspace, "uploads"))) as response:
        service = UploadService.of(response.status, partial(header, response))
        if service is None and response.status >= 400:
            refusal = client.refusal(response)
            if refusal.transient:
                raise refusal
    return service is not None and (service.max_bytes is None or size <= service.max_bytes)


class _Rest:
    """The rest of a file as the body of a request."""

    content_type = CHUNK_TYPE
    closing = b""

    def __init__(self, source: Source, offset: int) -> None:
        self.length: int | None = (source.size or 0) - offset
        self._pieces = source.rest(offset)

    def blocks(self, wait: Wait) -> Iterator[bytes]:
        return self._pieces


class _RestUpload(Upload):
    """A request with the rest of a file, which may be repeated."""

    def __init__(self, source: Source, offset: int, advance: Callable[[int], object]) -> None:
        super().__init__(_Rest(source, offset), advance)
        self._of = f" of {source.size} bytes"
        self._offset = offset

    def _failed(self, error: OSError) -> CliError:
        how = "stalled" if isinstance(error, TimeoutError) else "was interrupted"
        # What the kernel has taken of the last bytes need not have arrived.
        where = "" if self.complete else f" after {self._offset + self.sent}{self._of}"
        return CliError(f"the upload {how}{where}", Exit.INCOMPLETE, transient=True)


class ResumableTransfer:
    """
    The upload of one large file.

    :param workspace: its id.
    :param path: the virtual path of the file; ``None`` for an upload to the chat.
    :param conditions: headers of the creation, such as ``If-Match``.
    :param pause: sleeps for a number of seconds between two attempts.
    """

    def __init__(
        self,
        client: Client,
        workspace: str,
        source: Source,
        path: bytes | None,
        conditions: Mapping[str, str],
        options: ResumeOptions,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._client = client
        self._source = source
        self._options = options
        self._pause = pause or time.sleep
        where = route(workspace, "uploads", path)
        self._upload = ResumableUpload(where, source.size, conditions=conditions)
        self._record = _record_file(client.platform + where, source, conditions, options.directory)
        self._retries = DEFAULT_RETRIES if options.retries is None else options.retries
        self._error = CliError("nothing was sent", Exit.FAILED)  # the last one
        self._kept, self._is_saved = "", False  # the URL in the record; whether we have written it
        self._bar = ProgressBar(
            printable(os.path.basename(source.label)), shown=options.shown, quiet=options.quiet
        )

    def run(self) -> Finished | None:
        """
        Send what is missing of the file.

        :return: the stored file; ``None`` if the workspace has no resumable uploads.
        :raise CliError: the file is not stored.
        """
        with self._bar:
            try:
                self._prepare()
                return self._send()
            except CliError as error:
                self._advise(error)
                raise
            except KeyboardInterrupt:
                if self._kept:
                    self._bar.say(CONTINUE)
                raise

    def forget(self) -> None:
        """The command has succeeded, and need not be continued."""
        self._drop()

    def describe(self) -> dict[str, Any]:
        """
        :return: the entry of the stored file in the JSON of the platform.
        :raise CliError: the platform has not sent it.
        """
        headers = {"Tus-Resumable": "1.0.0"}
        answer = self._client.call("GET", self._upload.url or "", conditions=headers)
        rows = as_rows(answer, "files")
        if len(rows) != 1:
            raise untrusted("it is not about one file")
        return as_object(rows[0])

    # -- before the first request

    def _prepare(self) -> None:
        """Compute the digest of the file, so that the workspace stores it only if it is right."""
        self._bar.remark("computing its SHA-256")
        self._bar.begin(0, self._source.size)
        self._source.compute_digest(self._bar.advance)
        self._bar.remark("")
        sha256 = self._source.digest.hexdigest().encode("ascii")
        upload, metadata = self._upload, {b"filename": self._source.name, b"sha256": sha256}
        self._upload = replace(upload, metadata=metadata, url=self._find())

    def _find(self) -> str | None:
        """:return: the upload that an earlier command has begun, if it is of this file."""
        record = None if self._record is None else self._record.load()
        if record is None:
            return None
        if not self._options.resume:
            if record.is_of(*self._source.facts):
                self._bar.say(
                    f"an earlier upload of {self._source.label} is not finished; {UNUSED}"
                )
            return None
        self._kept, url = record.url, record.url.removeprefix(self._client.platform)
        if record.is_of(*self._source.facts):
            return url
        self._bar.say(f"{self._source.label} has changed since its upload began; starting over")
        self._remove(replace(self._upload, url=url))
        return None

    # -- requests

    def _send(self) -> Finished | None:
        upload = self._upload
        continues = upload.url is not None
        while (request := upload.next()) is not None:
            verdict, error = self._exchange(request)
            if verdict is Verdict.UNSUPPORTED:
                return None
            if verdict is not Verdict.PROCEED:
                self._recover(verdict, error)
                continues = continues and upload.url is not None
                continue
            self._keep()
            if upload.is_stuck(self._retries):
                raise self._error
            if continues and upload.finished is None:
                self._say_continues(upload.offset or 0)
            continues = False
        return upload.finished

    def _exchange(self, request: UploadRequest) -> tuple[Verdict, CliError | None]:
        """:return: what to do, and the error that an error response or its absence is."""
        body = None
        try:
            if request.offset is not None:
                self._bar.begin(request.offset, self._source.size)
                body = _RestUpload(self._source, request.offset, self._bar.advance)
            with self._open(request, body) as response:
                sent = 0 if body is None else body.sent
                verdict = self._upload.received(response.status, partial(header, response), sent)
                if verdict in (Verdict.PROCEED, Verdict.RESTARTED):
                    return verdict, None
                return verdict, self._client.refusal(response)
        except UntrustedResponse as error:
            raise untrusted(f"it {error}") from error
        except CliError as error:
            if not error.transient:
                raise
            return self._upload.interrupted(), error

    def _open(self, request: UploadRequest, body: Upload | None) -> BlockingResponse:
        client, method, headers = self._client, request.method, request.headers
        if body is not None:
            return body.post(client, request.url, method, headers)
        return client.open(Request(method, request.url, headers))

    # -- after errors

    def _recover(self, verdict: Verdict, error: CliError | None) -> None:
        """
        :raise CliError: the upload cannot be continued now.
        """
        if verdict is Verdict.RESTARTED:
            self._drop()
            self._bar.say("the unfinished upload is gone, or is of other content; starting over")
            error = CliError("the workspace forgets the upload", Exit.UNAVAILABLE, transient=True)
        elif verdict is Verdict.LOST:
            self._remove(self._upload)
        assert error is not None
        may_retry = verdict is not Verdict.LOST and (error.transient or error.code == _MOVED)
        is_soon = (error.retry_after or 0) <= LONGEST_PAUSE
        if not (may_retry and is_soon) or self._upload.is_stuck(self._retries):
            raise error
        self._error = error
        if verdict is Verdict.AGAIN:
            pause = pause_after(error, self._upload.failures - 1)
            self._bar.retrying(error, pause)
            self._pause(pause)

    def _advise(self, error: CliError) -> None:
        """Say that the upload can be continued, if it can."""
        if isinstance(error, SourceChanged):
            self._remove(self._upload)
        if self._kept:
            error.hint = f"{error.hint}; {CONTINUE}" if error.hint else CONTINUE

    def _say_continues(self, offset: int) -> None:
        there, size = format_size(offset), format_size(self._source.size or 0)
        self._bar.say(f"continuing after {there} of {size}")

    # -- the record

    def _keep(self) -> None:
        """Remember the upload for a later command."""
        if self._record is None or self._upload.url is None or self._is_saved:
            return
        url = self._client.platform + self._upload.url
        try:
            self._record.save(UploadRecord(url, *self._source.facts))
            self._kept, self._is_saved = url, True
        except OSError as error:
            self._record = None
            if not self._options.quiet:
                self._bar.close()
                warn(f"--continue will not work: cannot write {error.filename}: {error.strerror}")

    def _drop(self) -> None:
        if self._record is not None and self._kept:
            self._record.drop(self._kept)
        self._kept, self._is_saved = "", False

    def _remove(self, upload: ResumableUpload) -> None:
        """Remove an upload that is of no use, as far as possible."""
        self._drop()
        request = upload.removal()
        if request is not None:
            with suppress(CliError):
                self._client.call("DELETE", request.url, conditions=request.headers)


def _record_file(
    destination: str, source: Source, conditions: Mapping[str, str], directory: str
) -> RecordFile | None:
    """:return: the file that remembers an upload; standard input cannot be found again."""
    if source.path == STDIN:
        return None
    name, file = os.fsdecode(source.name), os.path.realpath(source.path)
    return RecordFile(directory, [destination, file, name, *map(": ".join, conditions.items())])
