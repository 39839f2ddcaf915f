"""
The files of one resumable upload, open for one request.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import replace
from typing import Final

from chatfiles.errors import ChatfilesError, NotARegularFile, NotFound
from chatfiles.workspace.files.write_targets import Target, Targets, sync_directory, write_refusal
from chatfiles.workspace.publication.unpublished_file import UnpublishedFile
from chatfiles.workspace.resumable.record_files import remove_record, write_record
from chatfiles.workspace.resumable.upload_record import Record, chat_name, partial_name
from chatfiles.workspace.uploads.upload_directory import write_error

__all__ = [
    "OpenUpload",
    "create_partial",
    "digest_of",
    "has_partial",
    "look_at",
    "open_upload",
    "upload_not_found",
]

_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = _OPEN | os.O_CREAT | os.O_EXCL
#: Another process removed the partial file, or put a symlink, directory or socket in its place.
_NOT_OURS: Final = frozenset({errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO})
#: The most bytes of one read, to compute a digest.
_READ: Final = 1 << 20


def upload_not_found() -> NotFound:
    """:return: the error for an upload that does not exist, or not any more."""
    return NotFound("upload not found", code="upload_not_found")


def create_partial(directory_fd: int, upload_id: str) -> None:
    """
    Create an empty partial file with mode 0600.

    :raise OSError: it could not be created.
    """
    fd = os.open(partial_name(upload_id), _CREATE, 0o600, dir_fd=directory_fd)
    try:
        os.fchmod(fd, 0o600)  # whatever the umask is
    finally:
        os.close(fd)
    sync_directory(directory_fd)  # chunks are flushed, so the name must be, too


def digest_of(fd: int) -> hashlib._Hash:
    """:return: the SHA-256 of the whole file so far, to be continued."""
    digest, offset = hashlib.sha256(), 0
    while data := os.pread(fd, _READ, offset):
        digest.update(data)
        offset += len(data)
    return digest


class OpenUpload:
    """
    :param record: what is remembered of the upload.
    :param uploads_fd: the directory of uploads.
    :param target: where a file with a path will be; ``None`` for an upload to the chat.
    :ivar file: the partial file, at its end; ``None`` if the upload is finished.
    :ivar offset: bytes of it.
    """

    def __init__(self, record: Record, uploads_fd: int, target: Target | None) -> None:
        self.record = record
        self.uploads_fd = uploads_fd
        self.target = target
        self.file: UnpublishedFile | None = None
        self.offset = record.length or 0 if record.finished else 0

    @property
    def directory_fd(self) -> int:
        """The directory of the partial file."""
        if self.target is None or self.record.in_place:
            return self.uploads_fd
        return self.target.directory_fd

    def save(self, now: float, **changes: object) -> None:
        """
        Change the record.

        :param now: seconds since the epoch.
        :param changes: attributes of `Record`.
        :raise OSError: it could not be written.
        """
        record = replace(self.record, **changes)  # type: ignore[arg-type]
        write_record(self.uploads_fd, record, now)
        self.record = record

    def refusal(self, error: OSError) -> ChatfilesError:
        """:return: the error that the client receives."""
        if self.target is None and error.errno != errno.EFBIG:
            return write_error(error)
        return write_refusal(error)

    def truncate(self, offset: int) -> None:
        """
        Discard the bytes behind *offset*.

        :raise OSError: they could not be discarded.
        """
        assert self.file is not None
        os.ftruncate(self.file.fd, offset)
        os.lseek(self.file.fd, offset, os.SEEK_SET)
        os.fdatasync(self.file.fd)
        self.offset = offset

    def open_partial(self, now: float) -> None:
        """
        Open the partial file, and discard a chunk whose checksum was not verified.

        :param now: seconds since the epoch.
        :raise NotFound: 404, it is not there, or not ours any more.
        :raise OSError: it cannot be opened.
        """
        name = partial_name(self.record.id)
        try:
            fd = os.open(name, _OPEN, dir_fd=self.directory_fd)
        except OSError as error:
            if error.errno in _NOT_OURS:
                raise upload_not_found() from None
            raise
        facts = os.fstat(fd)
        # A hard link could name a file that the client must not write.
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            os.close(fd)
            raise upload_not_found()
        os.lseek(fd, 0, os.SEEK_END)
        self.offset = facts.st_size
        self.file = UnpublishedFile.existing(self.directory_fd, fd, name, facts.st_size)
        if self.record.verified is not None:
            if self.offset > self.record.verified:
                self.truncate(self.record.verified)
            self.save(now, verified=None)
        self._require_fitting()

    def _require_fitting(self) -> None:
        """
        :raise NotFound: 404, another process has made the partial file longer than the file.
        """
        if not _fits(self.record, self.offset):
            raise upload_not_found()

    def look(self) -> None:
        """
        Find the offset, and whether the file has its name, and change no file.

        :raise NotFound: 404, the partial file is not there.
        :raise OSError: it cannot be examined.
        """
        name = partial_name(self.record.id)
        try:
            facts = os.stat(name, dir_fd=self.directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            if not self.was_published():
                raise upload_not_found() from None
            self.record = replace(self.record, finished=True)
            self.offset = self.record.length or 0
            return
        if not stat.S_ISREG(facts.st_mode):
            raise upload_not_found()
        verified = self.record.verified
        self.offset = facts.st_size if verified is None else min(facts.st_size, verified)
        self._require_fitting()

    def was_published(self) -> bool:
        """
        :return: whether the file has its name, although the record does not say so: the process
            was killed in between.
        """
        record = self.record
        name = chat_name(record) if self.target is None else self.target.name
        return record.inode is not None and self._inode_of(name) == record.inode

    def mark_published(self, now: float) -> None:
        """
        Correct the record of a file that `was_published`.

        :param now: seconds since the epoch.
        :raise OSError: the record could not be written.
        """
        name = partial_name(self.record.id)
        if self._inode_of(name) == self.record.inode:
            os.unlink(name, dir_fd=self.directory_fd)
        self.save(now, finished=True)
        self.offset = self.record.length or 0

    def _inode_of(self, name: str | bytes) -> tuple[int, int] | None:
        try:
            facts = os.stat(name, dir_fd=self.directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return facts.st_dev, facts.st_ino

    def remove(self) -> None:
        """
        Remove the partial file and the record.

        :raise OSError: they could not be removed.
        """
        if not self.record.finished:
            with suppress(FileNotFoundError):
                os.unlink(partial_name(self.record.id), dir_fd=self.directory_fd)
        remove_record(self.uploads_fd, self.record.id)

    def close(self) -> None:
        """Close all files, and keep the partial one.  Idempotent."""
        if self.file is not None:
            self.file.keep()
            self.file.close()
        if self.target is not None:
            self.target.close()
        if self.uploads_fd >= 0:
            os.close(self.uploads_fd)
            self.uploads_fd = -1


def open_upload(record: Record, uploads_fd: int, targets: Targets, now: float) -> OpenUpload:
    """
    :param record: of the upload.
    :param uploads_fd: the directory of uploads; it is closed with the result, or by an error.
    :param targets: opens the directory of a file with a path.
    :param now: seconds since the epoch.
    :return: the open upload, to be closed after use.
    :raise NotFound: 404, its files are not there.
    :raise ChatfilesError: its directory cannot be opened.
    :raise OSError: its files cannot be opened.
    """
    upload = OpenUpload(record, uploads_fd, None)
    try:
        if record.path is not None and not record.finished:
            upload.target = _open_target(record, targets)
        if not record.finished and upload.was_published():
            upload.mark_published(now)
        elif not record.finished:
            upload.open_partial(now)
    except BaseException:
        upload.close()
        raise
    return upload


def look_at(record: Record, uploads_fd: int, targets: Targets) -> tuple[Record, int]:
    """
    Look at an upload that another request may use: nothing is changed.

    :param record: of the upload.
    :param uploads_fd: the directory of uploads.
    :param targets: opens the directory of a file with a path.
    :return: the record, which says so if the file has its name, and how many bytes count.
    :raise NotFound: 404, the partial file is not there.
    :raise ChatfilesError: its directory cannot be opened.
    :raise OSError: its files cannot be examined.
    """
    upload = OpenUpload(record, os.dup(uploads_fd), None)
    try:
        if not record.finished:
            if record.path is not None:
                upload.target = _open_target(record, targets)
            upload.look()
        return upload.record, upload.offset
    finally:
        upload.close()


def has_partial(record: Record, uploads_fd: int, targets: Targets) -> bool:
    """
    As `look_at`, for an unfinished upload.

    :return: whether its partial file is still there, as far as can be seen.
    """
    try:
        return not look_at(record, uploads_fd, targets)[0].finished
    except NotFound:
        return False
    except (ChatfilesError, OSError):
        return True


def _fits(record: Record, size: int) -> bool:
    """:return: whether the workspace itself can have written so many bytes."""
    return record.length is None or size <= record.length


def _open_target(record: Record, targets: Targets) -> Target:
    assert record.path is not None
    try:
        return targets.open(record.path)
    except (NotFound, NotARegularFile):
        raise upload_not_found() from None  # its directory was removed, or is a symlink now
