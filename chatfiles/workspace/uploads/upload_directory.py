"""
The directory of uploads.  It is opened without following symlinks; leftovers are removed when the
role starts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable

from chatfiles.errors import (
    NOT_NOW,
    ChatfilesError,
    NoSpace,
    NotFound,
    ReadFailed,
    Unavailable,
    WriteFailed,
)
from chatfiles.workspace.publication.leftovers import PART, PREFIX, remove_lost, remove_unlocked
from chatfiles.workspace.publication.unpublished_file import UnpublishedFile, can_name_later
from chatfiles.workspace.uploads.all_or_none import NOTE, withdraw_noted

__all__ = ["UPLOADS", "UPLOAD_OWNER", "UPLOAD_SEGMENTS", "UploadDirectory", "write_error"]

#: The owner of calls for a thread that concern uploads (`chatfiles.runtime.threads`).
UPLOAD_OWNER = "uploads"
#: The directory below ``/workspace`` (reference/uploads, "All or nothing").
UPLOAD_SEGMENTS = (b".molecule", b"chat-uploads")
#: The virtual path of that directory, for the log.
UPLOADS = os.fsdecode(b"/".join((b"/workspace", *UPLOAD_SEGMENTS)))

#: The detail of the error for a directory that the role may not write.
NO_PERMISSION = (
    "the workspace has no permission to write to its directory of uploads; "
    "this lasts until its operator changes it"
)
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Prefixes of temporary names; the second one is that of older versions.
_PREFIXES = (PREFIX, ".upload-")


def write_error(error: OSError) -> ChatfilesError:
    """:return: the error that the client receives; the log names the directory."""
    failed = _write_error(error)
    failed.place = UPLOADS
    return failed


def _write_error(error: OSError) -> ChatfilesError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace()
    if error.errno in NOT_NOW:
        return Unavailable(retry_after=1)
    if error.errno in _DENIED:
        return WriteFailed(detail=NO_PERMISSION)
    return WriteFailed()


class UploadDirectory:
    """
    ``/workspace/.molecule/chat-uploads`` of a workspace.

    :param open_root: opens the directory of ``/workspace`` and returns a descriptor to close.
    :param unnamed: whether to try ``O_TMPFILE``.
    """

    def __init__(self, open_root: Callable[[], int], *, unnamed: bool = True) -> None:
        self._open_root = open_root
        self._unnamed: bool | None = None if unnamed else False
        self._sweeping = threading.Lock()

    def open(self) -> int:
        """
        Open the directory, and create it with mode 0700 if it is missing.  If `sweep` is running,
        wait until it returns: it must not take new files for those of a killed process.

        :return: a descriptor of the directory, to be closed after use.
        :raise OSError: it cannot be opened; ``ELOOP`` or ``ENOTDIR`` if it is not a directory.
        :raise WriteFailed: ``/workspace`` is missing.
        """
        with self._sweeping:
            return self._open(create=True)

    def open_existing(self) -> int:
        """
        As `open`, but do not create the directory.

        :raise OSError: it cannot be opened, or is missing.
        """
        return self._open(create=False)

    def existing_or_none(self) -> int | None:
        """:return: as `open_existing`, but ``None`` if it cannot be opened."""
        try:
            return self._open(create=False)
        except (OSError, ChatfilesError):
            return None

    def _open(self, *, create: bool) -> int:
        try:
            fd = self._open_root()
        except (NotFound, ReadFailed) as error:
            raise WriteFailed(detail="the directory of /workspace is not there") from error
        for segment in UPLOAD_SEGMENTS:
            try:
                if create:
                    _make(segment, fd)
                below = os.open(segment, _DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def new_file(self, directory_fd: int) -> UnpublishedFile:
        """:return: a new file in the directory that is not visible yet."""
        if self._unnamed is None:
            self._unnamed = can_name_later(directory_fd)
        return UnpublishedFile(directory_fd, self._unnamed)

    def sweep(self) -> int:
        """
        Remove the files that a killed process left.  Blocks.

        :return: how many files were removed.
        """
        with self._sweeping:
            return self._sweep()

    def _sweep(self) -> int:
        fd = self.existing_or_none()
        if fd is None:
            return 0
        try:
            names = [name for name in os.listdir(fd) if name.startswith(_PREFIXES)]
            return sum(_remove(fd, name) for name in names)
        finally:
            os.close(fd)


def _make(segment: bytes, directory_fd: int) -> None:
    """Create a directory if the name is free, and flush the name to the disk."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(segment, 0o700, dir_fd=directory_fd)
        # *directory_fd* may be O_PATH, which cannot be flushed.
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory_fd)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _remove(directory_fd: int, name: str) -> int:
    if not name.endswith((PART, NOTE)):
        return remove_lost(directory_fd, name, directory_fd)
    also = withdraw_noted if name.endswith(NOTE) else None
    # Files are only created when the sweep of this process has ended.
    return remove_unlocked(directory_fd, name, also, without_locks=True)
