"""
One upload request: its files are parsed, hashed and written; then all are published or none.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from chatfiles.errors import BadRequest, TooLarge
from chatfiles.rules.media_types import media_type_essence
from chatfiles.rules.multipart_reader import (
    FileBegins,
    FileContent,
    FormEvent,
    MultipartReader,
)
from chatfiles.rules.upload_head import MAX_FILES, megabytes, request_too_large
from chatfiles.workspace.publication.unpublished_file import UnpublishedFile
from chatfiles.workspace.uploads.all_or_none import publish_all, withdraw_all
from chatfiles.workspace.uploads.safe_names import safe_name
from chatfiles.workspace.uploads.upload_directory import (
    UPLOAD_SEGMENTS,
    UploadDirectory,
    write_error,
)

__all__ = ["URI_PREFIX", "IngestLimits", "Ingestion", "StoredFile"]

#: Begins the URIs of uploaded files.
URI_PREFIX = "workspace:/workspace/" + "/".join(s.decode() for s in UPLOAD_SEGMENTS) + "/"


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """
    The limits of an upload.

    :param file_bytes: largest file.
    :param request_bytes: largest request body.
    """

    file_bytes: int
    request_bytes: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The description of a stored file for the client."""

    uri: str
    name: str
    media_type: str
    size: int
    original_name: str
    sha256: str

    def view(self) -> dict[str, object]:
        """:return: the file's entry in the JSON response."""
        return {
            "uri": self.uri,
            "name": self.name,
            "mimeType": self.media_type,
            "size": self.size,
            "originalName": self.original_name,
            "sha256": self.sha256,
        }


class _Part:
    """A file that is being received."""

    def __init__(
        self, begins: FileBegins, prefix: str, new_file: Callable[[], UnpublishedFile]
    ) -> None:
        self.name = safe_name(begins.given.written)
        self.stored_name = f"{prefix}-{self.name}"
        self.original_name = begins.given.name
        self.media_type = begins.media_type or media_type_essence(self.name.encode("ascii"))
        self.size = 0
        self.digest = hashlib.sha256()
        self.file = new_file()

    def stored(self) -> StoredFile:
        return StoredFile(
            uri=URI_PREFIX + self.stored_name,
            name=self.name,
            media_type=self.media_type,
            size=self.size,
            original_name=self.original_name,
            sha256=self.digest.hexdigest(),
        )


class Ingestion:
    """
    Stores the files of one request (a `chatfiles.streams.body_sink.BlockingSink`).

    :param directory: stores the files.
    :param limits: the limits of the upload.
    :param boundary: the boundary of the multipart form.
    :param prefix: returns 32 new hexadecimal digits for the name of a stored file.
    """

    def __init__(
        self,
        directory: UploadDirectory,
        limits: IngestLimits,
        boundary: str,
        prefix: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._form = MultipartReader(boundary)
        self._prefix = prefix
        self._directory_fd = -1
        self._parts: list[_Part] = []
        self._received = 0
        self._is_published = False

    def feed(self, data: bytes) -> None:
        """
        Parse and write the next bytes of the body.

        :raise ChatfilesError: 400, 413, 500 or 507.
        """
        self._received += len(data)
        if self._received > self._limits.request_bytes:
            raise request_too_large(self._limits.request_bytes)
        self._store(self._form.feed(data))

    def prepare(self) -> None:
        """
        The body is complete: flush the files to the disk.

        :raise ChatfilesError: 400, 500 or 507.
        """
        self._store(self._form.finish())
        if not self._parts:
            raise BadRequest("expected at least one 'files' field", code="no_files")
        try:
            for part in self._parts:
                part.file.complete()
        except OSError as error:
            raise write_error(error) from error

    def finish(self) -> list[StoredFile]:
        """
        Publish the files.  `close` withdraws them unless `keep` was called.

        :return: the stored files, in the order of the form.
        :raise ChatfilesError: 500 or 507; nothing is stored.
        """
        try:
            publish_all(self._files(), self._directory_fd)
        except OSError as error:
            raise write_error(error) from error
        for part in self._parts:
            part.file.close()
        self._is_published = True
        return [part.stored() for part in self._parts]

    def keep(self) -> None:
        """Keep the published files: the client receives the response."""
        self._parts, self._is_published = [], False  # their files are closed
        self._close_directory()

    def close(self) -> None:
        """Close all files, and withdraw published files that were not kept.  Idempotent."""
        if self._is_published:
            withdraw_all(self._files(), self._directory_fd)
        for part in self._parts:
            part.file.close()
        self._parts = []
        self._is_published = False
        self._close_directory()

    def _close_directory(self) -> None:
        if self._directory_fd >= 0:
            os.close(self._directory_fd)
            self._directory_fd = -1

    def _files(self) -> list[tuple[UnpublishedFile, str]]:
        return [(part.file, part.stored_name) for part in self._parts]

    def _store(self, events: Iterable[FormEvent]) -> None:
        try:
            for event in events:
                if isinstance(event, FileContent):
                    self._write(event.data)
                elif isinstance(event, FileBegins):
                    self._begin(event)
        except OSError as error:
            raise write_error(error) from error

    def _begin(self, begins: FileBegins) -> None:
        if len(self._parts) == MAX_FILES:
            raise BadRequest(f"too many files (limit {MAX_FILES})", code="too_many_files")
        if self._directory_fd < 0:
            self._directory_fd = self._directory.open()
        new_file = partial(self._directory.new_file, self._directory_fd)
        self._parts.append(_Part(begins, self._prefix(), new_file))

    def _write(self, data: bytes) -> None:
        part = self._parts[-1]
        part.size += len(data)
        if part.size > self._limits.file_bytes:
            limit = megabytes(self._limits.file_bytes)
            raise TooLarge(f"{part.name} exceeds per-file limit ({limit})", code="file_too_large")
        part.digest.update(data)
        part.file.write(data)
