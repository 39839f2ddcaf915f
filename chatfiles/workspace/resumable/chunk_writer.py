"""
Appends the body of one request to a resumable upload, and publishes the file when it is complete.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from chatfiles.errors import ChatfilesError, ChecksumMismatch
from chatfiles.rules.resumable_upload import Chunk, upload_too_large, upload_too_long
from chatfiles.workspace.publication.publisher import Publisher
from chatfiles.workspace.resumable.finishing import prepare, publish
from chatfiles.workspace.resumable.hashes import RunningHashes
from chatfiles.workspace.resumable.open_upload import OpenUpload, digest_of, upload_not_found
from chatfiles.workspace.resumable.record_files import progressed
from chatfiles.workspace.resumable.upload_record import Record

__all__ = ["ChunkWriter"]

#: Bytes after which what was written is flushed to the disk, so that it counts.
FLUSH_BYTES: Final = 8 << 20


class ChunkWriter:
    """
    Stores a chunk (a `chatfiles.streams.body_sink.BlockingSink`).

    :param upload: the upload, open; it is closed at the end.
    :param chunk: what the request says of its body.
    :param limit: the most bytes of a file.
    :param publisher: publishes the complete file.
    :param hashes: the SHA-256 of each upload as far as it has come.
    :param now: returns seconds since the epoch.
    :param progress_interval: seconds after which the time of the last progress is written again.
    """

    def __init__(
        self,
        upload: OpenUpload,
        chunk: Chunk,
        limit: int,
        publisher: Publisher,
        hashes: RunningHashes,
        now: Callable[[], float],
        progress_interval: float,
    ) -> None:
        self._upload = upload
        self._limit = limit
        self._publisher = publisher
        self._hashes = hashes
        self._now = now
        self._progress_interval = progress_interval
        self._start = self._flushed = upload.offset
        self._progressed = now()
        self._hash = hashes.take(upload.record.id, upload.offset)
        self._is_open, self._is_usable = True, upload.file is not None
        self._was_cut = True  # until the body ends, or is refused
        self._checksum = chunk.checksum
        self._chunk_hash: Any = None
        self._hash_before: Any = None
        if chunk.checksum is not None and self._is_usable:
            self._chunk_hash = hashlib.new(chunk.checksum.algorithm, usedforsecurity=False)
            self._hash_before = None if self._hash is None else self._hash.copy()
            upload.save(now(), verified=upload.offset)

    @property
    def _end(self) -> int:
        length = self._upload.record.length
        return self._limit if length is None else length

    @property
    def is_complete(self) -> bool:
        """Whether all bytes of the file are there."""
        return self._upload.offset == self._upload.record.length

    def feed(self, data: bytes) -> None:
        """
        Append the next bytes of the body, as far as they fit.

        :raise ChatfilesError: 413, 500 or 507.
        """
        upload = self._upload
        fitting = data[: self._end - upload.offset] if self._is_open else b""
        if fitting and self._is_usable:
            self._append(fitting)
        if len(fitting) < len(data):
            self._was_cut = False
            is_known = upload.record.length is not None
            raise upload_too_long() if is_known else upload_too_large(self._limit)

    def _append(self, data: bytes) -> None:
        upload = self._upload
        assert upload.file is not None
        try:
            upload.file.write(data)
        except OSError as error:
            self._is_usable, self._hash = False, None  # how much was written is unknown
            raise upload.refusal(error) from error
        upload.offset += len(data)
        if self._hash is not None:
            self._hash.update(data)
        if self._chunk_hash is not None:
            self._chunk_hash.update(data)
        if upload.offset - self._flushed >= FLUSH_BYTES:
            self._flush()
        if self._now() - self._progressed > self._progress_interval:
            self._note_progress()

    def prepare(self) -> None:
        """
        The body is complete: flush it, verify its checksum, and the digest of a complete file.

        :raise NotFound: 404, the upload has expired meanwhile.
        :raise ChecksumMismatch: 460, the chunk is discarded.
        :raise DigestMismatch: 422, the upload is removed.
        :raise ChatfilesError: 500 or 507.
        """
        self._was_cut = False
        if not self._is_usable:
            return  # it is finished
        assert self._upload.file is not None
        if not os.fstat(self._upload.file.fd).st_nlink:
            raise upload_not_found()  # it has expired, because the body stood still for so long
        self._flush()
        try:
            self._verify()
            self._note_progress()
            if self.is_complete:
                self._prepare_file()
        except OSError as error:
            raise self._upload.refusal(error) from error

    def _verify(self) -> None:
        if self._checksum is None:
            return
        if self._chunk_hash.digest() != self._checksum.digest:
            raise ChecksumMismatch
        self._upload.save(self._now(), verified=None)
        self._checksum = None

    def _prepare_file(self) -> None:
        upload = self._upload
        assert upload.file is not None
        if self._hash is None:  # the process has not seen all bytes of the upload
            self._hash = digest_of(upload.file.fd)
        prepare(upload, self._hash.digest(), self._now())

    def finish(self) -> Record:
        """
        Publish the file if it is complete.

        :return: the record of the upload.
        :raise ChatfilesError: the file cannot be published now; the upload remains.
        """
        if self._is_usable and self.is_complete:
            try:
                publish(self._upload, self._publisher, self._now())
            except OSError as error:
                raise self._upload.refusal(error) from error
            self._hash = None
        self._close()
        return self._upload.record

    def keep(self) -> None:
        """Do nothing: `finish` has closed the files."""

    def close(self) -> None:
        """
        Close the files; what arrived counts, but for a chunk with a checksum.  A file whose bytes
        are all there is published, although its client has left: not after an error.  Idempotent.
        """
        if not self._is_open:
            return
        try:
            self._settle()
        finally:
            self._close()

    def _settle(self) -> None:
        upload = self._upload
        if upload.file is None or upload.record.finished:
            return
        if self._checksum is not None:
            self._hash = None
            with suppress(OSError):  # the record says where it begins, so it does not count
                upload.truncate(self._start)
                self._hash = self._hash_before
                upload.save(self._now(), verified=None)
        else:
            with suppress(ChatfilesError, OSError):
                self._flush()
                self._note_progress()
                if self._was_cut and self._is_usable and self.is_complete:
                    self._prepare_file()
                    publish(upload, self._publisher, self._now())

    def _flush(self) -> None:
        """
        Flush what was written to the disk.  What could not be flushed does not count.

        :raise ChatfilesError: 500 or 507.
        """
        upload = self._upload
        assert upload.file is not None
        try:
            os.fdatasync(upload.file.fd)
        except OSError as error:
            self._is_usable, self._hash = False, None
            with suppress(OSError):
                upload.truncate(self._flushed)
            raise upload.refusal(error) from error
        self._flushed = upload.offset

    def _note_progress(self) -> None:
        self._progressed = self._now()
        progressed(self._upload.uploads_fd, self._upload.record.id, self._progressed)

    def _close(self) -> None:
        upload = self._upload
        if self._hash is not None and not upload.record.finished:
            self._hashes.put(upload.record.id, upload.offset, self._hash)
        self._is_open = False
        upload.close()
