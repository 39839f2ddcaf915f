"""
The file ``NAME.part``, which holds a download until it is complete.

The validator of the version whose bytes it has is in its extended attribute `ATTRIBUTE`, or in the
file ``NAME.part.etag`` if the file system has no such attributes.  Every method may wait for the
disk, and raise `OSError`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from typing import BinaryIO, cast

__all__ = ["ATTRIBUTE", "PartFile"]

#: The extended attribute with the validator.
ATTRIBUTE = "user.chatfiles.etag"
#: Maximum bytes of a validator, and of one read.
ETAG_LIMIT, BLOCK = 8 * 1024, 1024 * 1024
#: Maximum bytes of a file's name.
NAME_MAX = 255


class PartFile:
    """
    The unfinished download of one file.

    :param target: the path of the complete file.
    :param hashes: whether `sha256` is wanted.
    :ivar path: the path of the ``.part`` file.
    """

    def __init__(self, target: str, *, hashes: bool = False) -> None:
        self._target = target
        self.path = _beside(target)
        self._tag_path = _beside(target, b".part.etag")
        self._hashes = hashes
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()

    def take(self) -> tuple[int, str | None]:
        """
        Open the file that an earlier call has left.

        :return: its length, and the validator of its version; 0 and ``None`` without such a file.
        """
        try:
            self._file = _open(self.path)
        except FileNotFoundError:
            return 0, None
        return os.fstat(self._file.fileno()).st_size, self._tag(self._file)

    def hash_taken(self) -> None:
        """Compute the digest of the bytes that `take` has found."""
        if self._hashes and self._file is not None:
            self._file.seek(0)
            while block := self._file.read(BLOCK):
                self._digest.update(block)

    def begin(self, etag: str | None, *, continues: bool) -> None:
        """
        Prepare to write.

        :param etag: the strong validator of the version; ``None`` if it has none.
        :param continues: whether the bytes that are there are the beginning of this version.
        """
        if self._file is None:
            self._file = _open(self.path, create=True)
        if continues:
            self._file.seek(0, os.SEEK_END)
            return
        self._forget_tag(self._file)
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        if etag is not None:
            self._set_tag(self._file, etag)

    def write(self, piece: bytes) -> None:
        """Append *piece*."""
        assert self._file is not None
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]
        if self._hashes:
            self._digest.update(piece)

    def sha256(self) -> str:
        """:return: the digest of all bytes, in hexadecimal digits."""
        return self._digest.hexdigest()

    def publish(self) -> None:
        """Flush the file, and give it its name.  It replaces a file of that name."""
        assert self._file is not None
        with suppress(OSError):
            there = os.stat(self._target)
            os.fchmod(self._file.fileno(), stat.S_IMODE(there.st_mode) & 0o777)
        os.fsync(self._file.fileno())
        with suppress(OSError):
            os.removexattr(self._file.fileno(), ATTRIBUTE)
        os.replace(self.path, self._target)
        self._unlink(self._tag_path)
        self.close()

    def remove(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._unlink(self.path)
            self._unlink(self._tag_path)
            self.close()

    def close(self) -> None:
        """Close the file, which stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def reopen(self) -> BinaryIO:
        """:return: what was written, open for reading at its beginning; to be closed after use."""
        return open(self.path, "rb")

    def _tag(self, file: BinaryIO) -> str | None:
        try:
            return os.getxattr(file.fileno(), ATTRIBUTE).decode("latin-1")
        except OSError:
            pass
        try:
            with open(self._tag_path, "rb") as tag:
                return tag.read(ETAG_LIMIT).decode("latin-1")
        except OSError:
            return None

    def _set_tag(self, file: BinaryIO, etag: str) -> None:
        value = etag.encode("latin-1")
        try:
            os.setxattr(file.fileno(), ATTRIBUTE, value)
        except OSError:  # no extended attributes here
            with open(self._tag_path, "wb") as tag:
                tag.write(value)

    def _forget_tag(self, file: BinaryIO) -> None:
        with suppress(OSError):
            os.removexattr(file.fileno(), ATTRIBUTE)
        self._unlink(self._tag_path)

    def _unlink(self, path: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _beside(target: str, suffix: bytes = b".part") -> str:
    """:return: the path of *target* with *suffix*; a name that would be too long is shortened."""
    directory, name = os.path.split(os.fsencode(target))
    if len(name) + len(suffix) > NAME_MAX:
        name = name[: NAME_MAX - len(b".part.etag")]
    return os.fsdecode(os.path.join(directory, name + suffix))


def _open(path: str, *, create: bool = False) -> BinaryIO:
    """
    Open a file, without a moment at which a signal would leave a descriptor behind.

    :return: the file, locked, so that two downloads never write to one file.
    :raise BlockingIOError: another download writes to it.
    :raise FileExistsError: it is not a regular file.
    """
    while True:
        file = _open_regular(path, create=create)
        try:
            if file is not None:
                _lock(file, path)
                if os.path.samestat(os.fstat(file.fileno()), os.lstat(path)):
                    return file
        except FileNotFoundError:  # the download that had locked it has just renamed it
            pass
        except BaseException:
            cast("BinaryIO", file).close()
            raise
        if file is not None:
            file.close()


def _open_regular(path: str, *, create: bool) -> BinaryIO | None:
    """:return: the file; ``None`` if it was replaced meanwhile."""
    try:
        is_regular = stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        if not create:
            raise
        try:
            return open(path, "x+b", 0)
        except FileExistsError:
            return None
    if not is_regular:
        raise FileExistsError(errno.EEXIST, "it is not a regular file", path)
    try:
        return open(path, "r+b", 0)
    except FileNotFoundError:
        return None


def _lock(file: BinaryIO, path: str) -> None:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EAGAIN, "another download writes to it", path) from None
    except OSError:  # its file system has no locks
        pass
