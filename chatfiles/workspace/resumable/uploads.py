"""
The resumable uploads of a workspace (reference/resumable).  All methods block.

An upload is used by one request at a time: see `chatfiles.workspace.resumable.locks`.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from chatfiles.errors import (
    BadRequest,
    ChatfilesError,
    Conflict,
    NoSpace,
    NotFound,
    TooManyRequests,
)
from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.rules.resumable_upload import (
    UPLOAD_ID,
    Chunk,
    Creation,
    upload_too_large,
    upload_too_long,
)
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.workspace.files.write_targets import Targets, write_refusal
from chatfiles.workspace.publication.publisher import Publisher
from chatfiles.workspace.resumable.chunk_writer import ChunkWriter
from chatfiles.workspace.resumable.hashes import RunningHashes
from chatfiles.workspace.resumable.open_upload import (
    OpenUpload,
    create_partial,
    has_partial,
    look_at,
    open_upload,
    upload_not_found,
)
from chatfiles.workspace.resumable.record_files import (
    read_record,
    record_ids,
    remove_record,
    write_record,
)
from chatfiles.workspace.resumable.upload_record import Record, partial_name
from chatfiles.workspace.uploads.upload_directory import UPLOAD_OWNER, UploadDirectory, write_error

__all__ = ["OffsetMismatch", "ResumableLimits", "ResumableUploads", "UploadState", "owner_of"]

#: Seconds for which a finished upload is remembered.
FINISHED_FOR: Final = 24 * 3600.0
#: How often the time of the last progress is written while a chunk arrives: at most once in so many
#: seconds, but so often while the upload would otherwise expire.
_PROGRESS_SECONDS, _PROGRESS_TIMES = 60.0, 4


class OffsetMismatch(Conflict):
    """
    The chunk does not begin where the upload ends.

    :param offset: where it ends, in bytes.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(f"offset is {offset}", code="offset_mismatch")
        self.offset = offset


@dataclass(frozen=True, slots=True)
class ResumableLimits:
    """
    :param file_bytes: largest file.
    :param expiry: seconds after the last progress in which an unfinished upload is kept.
    :param unfinished: the most unfinished uploads.
    """

    file_bytes: int = 10 << 30
    expiry: float = 24 * 3600.0
    unfinished: int = 64


@dataclass(frozen=True, slots=True)
class UploadState:
    """
    :param offset: bytes that the workspace has.
    :param expires: when it is forgotten, in whole seconds since the epoch.
    """

    record: Record
    offset: int
    expires: int


def owner_of(path: VirtualPath | None) -> Hashable:
    """
    :param path: where a file will be; ``None`` for an upload to the chat.
    :return: the owner of calls for a thread (`chatfiles.runtime.threads`): a root that hangs must
        not hold up uploads elsewhere.
    """
    return UPLOAD_OWNER if path is None else path.root


class ResumableUploads:
    """
    :param directory: of uploads; it has the records.
    :param targets: opens the places of files with a path.
    :param publisher: publishes files.
    :param limits: of uploads.
    :param now: returns seconds since the epoch.
    """

    def __init__(
        self,
        directory: UploadDirectory,
        targets: Targets,
        publisher: Publisher,
        limits: ResumableLimits,
        now: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._targets = targets
        self._publisher = publisher
        self.limits = limits
        self._now = now
        self._hashes = RunningHashes()
        self._finished: set[str] = set()

    def owner_of(self, upload_id: str) -> Hashable:
        """
        :return: the owner of calls for an upload, see `owner_of`.
        :raise NotFound: 404, there is no such upload.
        """
        with self._opened() as uploads_fd:
            return owner_of(self._read(uploads_fd, upload_id)[0].path)

    def check_target(self, path: VirtualPath, conditions: WriteConditions) -> None:
        """
        Check whether a file may be written, as far as can be known now.

        :param conditions: of the request.
        :raise ChatfilesError: it may not.
        """
        self._targets.require_file(path)
        with self._targets.open(path) as target:
            self._publisher.require(conditions, target.look_at_file())

    def create(
        self, creation: Creation, path: VirtualPath | None, conditions: WriteConditions
    ) -> UploadState:
        """
        :param path: of the file; ``None`` for an upload to the chat.
        :param conditions: of the request, for a file with a path.
        :return: the new upload.
        :raise TooManyRequests: 429, there are too many.
        :raise NoSpace: 507, the file system has not enough space.
        :raise ChatfilesError: it cannot be created.
        """
        in_place = path is not None and self._targets.prefixes.write_in_place(path)
        upload_id = secrets.token_hex(16)
        record = Record(upload_id, creation.length, creation.metadata, path, conditions, in_place)
        try:
            uploads_fd = self._directory.open()
            try:
                self._create(uploads_fd, record)
            finally:
                os.close(uploads_fd)
        except OSError as error:
            raise (write_error if path is None else write_refusal)(error) from error
        return UploadState(record, 0, self._expires(record, self._now()))

    def _create(self, uploads_fd: int, record: Record) -> None:
        target = None if record.path is None else self._targets.open(record.path)
        upload = OpenUpload(record, os.dup(uploads_fd), target)
        try:
            self._add_record(uploads_fd, record)
            try:
                _require_space(upload.directory_fd, record.length or 0)
                create_partial(upload.directory_fd, record.id)
            except BaseException:
                remove_record(uploads_fd, record.id)
                raise
        finally:
            upload.close()

    def _add_record(self, uploads_fd: int, record: Record) -> None:
        """:raise TooManyRequests: 429, there are too many."""
        if not self._is_added(uploads_fd, record, 0):
            # What another process removed with its directory cannot be ended by its client.
            unfinished = self._unfinished(uploads_fd)
            lost = sum(not has_partial(each, uploads_fd, self._targets) for each in unfinished)
            if not self._is_added(uploads_fd, record, lost):
                raise TooManyRequests(
                    "too many unfinished uploads", code="too_many_uploads", retry_after=60
                )

    def _is_added(self, uploads_fd: int, record: Record, lost: int) -> bool:
        """
        :param lost: how many unfinished uploads do not count.
        :return: whether there was room for the upload, so that its record is written.
        """
        with self._publisher.locks.of(uploads_fd):
            has_room = len(self._unfinished(uploads_fd)) < self.limits.unfinished + lost
            if has_room:
                write_record(uploads_fd, record, self._now())
            return has_room

    def _unfinished(self, uploads_fd: int) -> list[Record]:
        ids = set(record_ids(uploads_fd))
        self._finished &= ids
        unfinished = []
        for upload_id in ids - self._finished:
            found = read_record(uploads_fd, upload_id)
            if found is not None and found[0].finished:
                self._finished.add(upload_id)
            elif found is not None and not self._is_expired(*found):
                unfinished.append(found[0])
        return unfinished

    def begin(self, upload_id: str, chunk: Chunk) -> ChunkWriter:
        """
        :param chunk: what the request says of its body.
        :return: stores the body; to be closed after use.
        :raise NotFound: 404, there is no such upload.
        :raise OffsetMismatch: 409, the chunk does not begin where the upload ends.
        :raise ChatfilesError: the chunk cannot be stored.
        """
        upload = self._open(upload_id)
        try:
            self._check(upload, chunk)
            return ChunkWriter(
                upload,
                chunk,
                self.limits.file_bytes,
                self._publisher,
                self._hashes,
                self._now,
                min(_PROGRESS_SECONDS, self.limits.expiry / _PROGRESS_TIMES),
            )
        except BaseException as error:
            upload.close()
            if isinstance(error, OSError):
                raise upload.refusal(error) from error
            raise

    def _check(self, upload: OpenUpload, chunk: Chunk) -> None:
        if chunk.offset not in (None, upload.offset):
            raise OffsetMismatch(upload.offset)
        length = upload.record.length
        if chunk.length is not None and chunk.length != length:
            if length is not None or chunk.length < upload.offset:
                raise BadRequest("invalid Upload-Length", code="invalid_upload_length")
            length = chunk.length
        behind = upload.offset + (chunk.declared or 0)
        if length is not None and behind > length:
            raise upload_too_long()
        if behind > self.limits.file_bytes and length is None:
            raise upload_too_large(self.limits.file_bytes)
        if length != upload.record.length:
            upload.save(self._now(), length=length)

    def complete(self, upload_id: str, chunk: Chunk) -> UploadState:
        """
        Append nothing, which finishes a complete file.

        :param chunk: as for `begin`.
        :return: the upload.
        :raise ChatfilesError: as `begin`, and as the methods of `ChunkWriter`.
        """
        writer = self.begin(upload_id, chunk)
        try:
            writer.prepare()
            writer.finish()
        finally:
            writer.close()
        return self.state(upload_id)

    def state(self, upload_id: str, *, finish: bool = False) -> UploadState:
        """
        :param finish: whether to publish a file whose bytes are all there: a process was killed, or
            a file system was full.  The client takes such an upload for finished.
        :return: the upload.
        :raise NotFound: 404, there is no such upload.
        :raise ChatfilesError: its files cannot be read.
        """
        state = self._state(upload_id)
        if not finish or state.record.finished or state.offset != state.record.length:
            return state
        try:
            return self.complete(upload_id, Chunk(None, None, 0, None))
        except ChatfilesError:
            return self._state(upload_id)

    def look(self, upload_id: str) -> UploadState:
        """
        As `state`, but change nothing, so that another request may use the upload.

        :return: the upload.
        """
        with self._opened() as uploads_fd:
            found = self._read(uploads_fd, upload_id)
            try:
                record, offset = look_at(found[0], uploads_fd, self._targets)
            except NotFound:
                before, found = found, self._read(uploads_fd, upload_id)
                if found[0] == before[0]:
                    raise
                record, offset = look_at(found[0], uploads_fd, self._targets)  # it was published
            return UploadState(record, offset, self._expires(record, found[1]))

    def _state(self, upload_id: str) -> UploadState:
        upload = self._open(upload_id)
        try:
            found = read_record(upload.uploads_fd, upload_id)
            at = self._now() if found is None else found[1]
            return UploadState(upload.record, upload.offset, self._expires(upload.record, at))
        finally:
            upload.close()

    def remove(self, upload_id: str) -> None:
        """
        Forget an upload.  A finished file is kept.

        :raise NotFound: 404, there is no such upload.
        :raise ChatfilesError: it cannot be removed.
        """
        upload = self._open(upload_id)
        try:
            upload.remove()
        except OSError as error:
            raise upload.refusal(error) from error
        finally:
            upload.close()

    def sweep(self) -> int:
        """
        Remove the uploads that have expired.

        :return: how many unfinished ones were removed.
        """
        uploads_fd = self._directory.existing_or_none()
        if uploads_fd is None:
            return 0
        try:
            return sum(self._sweep(uploads_fd, each) for each in record_ids(uploads_fd))
        finally:
            os.close(uploads_fd)

    def _sweep(self, uploads_fd: int, upload_id: str) -> int:
        with suppress(OSError, ChatfilesError):
            found = read_record(uploads_fd, upload_id)
            if found is not None and self._is_expired(*found):
                self._remove(uploads_fd, found[0])
                return int(not found[0].finished)
        return 0

    def _remove(self, uploads_fd: int, record: Record) -> None:
        if record.path is None or record.in_place:
            with suppress(FileNotFoundError):
                os.unlink(partial_name(record.id), dir_fd=uploads_fd)
        elif not record.finished:
            with suppress(ChatfilesError, OSError), self._targets.open(record.path) as target:
                os.unlink(partial_name(record.id), dir_fd=target.directory_fd)
        remove_record(uploads_fd, record.id)

    def _open(self, upload_id: str) -> OpenUpload:
        with self._opened() as uploads_fd:
            record = self._read(uploads_fd, upload_id)[0]
            return open_upload(record, os.dup(uploads_fd), self._targets, self._now())

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """:return: the directory of uploads; errors of the system in the block are reported."""
        try:
            uploads_fd = self._directory.open_existing()
        except FileNotFoundError:
            raise upload_not_found() from None
        except OSError as error:
            raise write_error(error) from error
        try:
            yield uploads_fd
        except OSError as error:
            raise write_error(error) from error
        finally:
            os.close(uploads_fd)

    def _read(self, uploads_fd: int, upload_id: str) -> tuple[Record, float]:
        """:return: the record of an upload, and the time of its last progress."""
        found = read_record(uploads_fd, upload_id) if UPLOAD_ID.fullmatch(upload_id) else None
        if found is None or self._is_expired(*found):
            raise upload_not_found()
        return found

    def _is_expired(self, record: Record, progressed: float) -> bool:
        return self._now() >= self._expires(record, progressed)

    def _expires(self, record: Record, progressed: float) -> int:
        lasts = FINISHED_FOR if record.finished else self.limits.expiry
        return math.ceil(progressed + lasts)


def _require_space(directory_fd: int, length: int) -> None:
    facts = os.fstatvfs(directory_fd)
    if facts.f_blocks and facts.f_bavail * facts.f_frsize < length:
        raise NoSpace
