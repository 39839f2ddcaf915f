"""
The output of a download: a file that appears only when it is complete, or standard output.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from chatfiles.cli.errors import CliError, local_error
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.terminal.standard_streams import not_written
from chatfiles.cli.transfers.local_place import Place
from chatfiles.cli.transfers.partial_file import PartialFile, lock
from chatfiles.cli.transfers.partial_record import PartialRecord, Version
from chatfiles.posix.rename_noreplace import NO_HARD_LINKS

__all__ = [
    "Attributes",
    "FileSink",
    "PipeSink",
    "Sink",
    "new_file_mode",
]


@dataclass(frozen=True, slots=True)
class Attributes:
    """
    What a file keeps of the workspace's one.

    :param mode: its permission bits.
    :param mtime_ns: when it was modified, in nanoseconds since the epoch; ``None`` for now.
    """

    mode: int
    mtime_ns: int | None

    def apply(self, descriptor: int) -> None:
        """
        Set them, as far as the file system and the owner of the file allow it.

        :raise OSError: the disk failed.
        """
        with contextlib.suppress(PermissionError):  # file systems without modes: 0600 is safe
            os.fchmod(descriptor, self.mode)
        if self.mtime_ns is not None:
            with contextlib.suppress(PermissionError):
                os.utime(descriptor, ns=(self.mtime_ns, self.mtime_ns))


class Sink(Protocol):
    """The output of a download."""

    def write(self, piece: bytes) -> None:
        """
        Write the next bytes.

        :raise CliError: they cannot be written.
        """

    def restart(self) -> None:
        """
        Discard the bytes that were written.

        :raise CliError: they cannot be discarded.
        """

    def sha256(self) -> str:
        """:return: the SHA-256 of all bytes that were written, in hexadecimal."""


class PipeSink:
    """
    Writes to standard output at once.

    :param stream: the binary stream of standard output.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._written = False
        self._digest = hashlib.sha256()

    def write(self, piece: bytes) -> None:
        """See `Sink`.  Raises `BrokenPipeError` if the reader has closed the pipe."""
        self._written = True
        self._digest.update(piece)
        try:
            self._stream.write(piece)
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise not_written(error) from error

    def restart(self) -> None:
        """See `Sink`."""
        if self._written:
            raise CliError(
                "the transfer was interrupted and the file has changed; "
                "part of the old one was written",
                Exit.INCOMPLETE,
            )

    def sha256(self) -> str:
        """See `Sink`."""
        return self._digest.hexdigest()


class FileSink:
    """
    A file with a temporary name in the directory of its final name.  As a context manager, it
    removes the temporary name at the end.

    :param place: the final name.
    :param force: whether it may replace a regular file.
    :param part: where an interrupted download is kept; ``None`` to keep nothing.
    :param resume: whether to continue one that was kept.
    :ivar resumed: describes the bytes that the file begins with; ``None`` if it is empty.
    :ivar changed: whether it has been written to, or restarted.
    :raise CliError: the final name exists, or no file can be created there.
    """

    def __init__(
        self, place: Place, *, force: bool, part: PartialFile | None = None, resume: bool = True
    ) -> None:
        self._place = place
        self.resumed: PartialRecord | None = None
        self.changed = False
        self._force = force
        self._mode = _mode_there(place, force=force)
        self._part = part
        # The digest of the bytes that were written, and their number: assigned together, because a
        # signal may interrupt `write` anywhere.
        self._written = hashlib.sha256(), 0
        try:
            self._temporary, descriptor = place.make_temporary()
        except OSError as error:
            raise self._failed(error) from error
        self._file: BinaryIO = os.fdopen(descriptor, "w+b", buffering=0)
        self._locked = part is not None and lock(self._file)
        if part is not None and resume:
            self._take(part)

    def _take(self, part: PartialFile) -> None:
        try:
            taken = part.take(self._temporary)
        except OSError as error:
            self._remove()
            raise self._failed(error) from error
        except BaseException:
            self._remove()
            raise
        if taken is not None:
            self._file.close()
            self._file, self._locked = taken.file, True
            self._written = taken.digest, taken.record.size
            self.resumed = taken.record

    def write(self, piece: bytes) -> None:
        """See `Sink`."""
        self.changed = True
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._failed(error) from error
        digest, size = self._written[0].copy(), self._written[1]
        digest.update(piece)
        self._written = digest, size + len(piece)

    def restart(self) -> None:
        """See `Sink`."""
        self.changed = True
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError as error:
            raise self._failed(error) from error
        self._written = hashlib.sha256(), 0

    def sha256(self) -> str:
        """See `Sink`."""
        return self._written[0].hexdigest()

    @property
    def size(self) -> int:
        """How many bytes of the file it holds."""
        return self._written[1]

    def reopen(self) -> BinaryIO:
        """
        :return: what was written, open for reading at its beginning; to be closed after use.
        :raise CliError: it cannot be read.
        """
        try:
            file = os.fdopen(os.dup(self._file.fileno()), "rb")
            file.seek(0)
        except OSError as error:
            raise local_error(f"cannot read {self._place.label}", error) from error
        return file

    def keep(self, version: Version | None) -> str | None:
        """
        Keep an interrupted download for the next one.

        :param version: the version of the file that the bytes belong to, if it is known.
        :return: the path of the ``.part`` file; ``None`` if nothing is kept.
        """
        part, (digest, size) = self._part, self._written
        if part is None or not self._locked or version is None or not 0 < size < version.total:
            return None
        record = part.describe(version, size, digest)
        try:
            self._file.truncate(size)
            kept = part.put(self._file, self._temporary, record)
        except OSError:  # a disk that fails or is full: the bytes are lost, the error is another
            return None
        return part.place.label if kept else None

    def publish(self, attributes: Attributes | None = None) -> None:
        """
        Give the file its final name.  Remove a ``.part`` file of it.

        :param attributes: its permissions and times; without them the file has those that any new
            file has, and is flushed to the disk first.
        :raise CliError: another process has created a file with this name, or the disk failed.
        """
        try:
            if attributes is not None:
                attributes.apply(self._file.fileno())
            else:
                mode = self._mode if self._mode is not None else new_file_mode()
                with contextlib.suppress(PermissionError):  # file systems without modes
                    os.fchmod(self._file.fileno(), mode)
                os.fsync(self._file.fileno())
            self._file.close()
            self._move()
        except OSError as error:
            raise self._failed(error) from error
        if self._part is not None:
            self._part.discard()

    def _move(self) -> None:
        if self._force:
            self._temporary.rename(self._place)
            return
        try:
            self._temporary.link(self._place)  # __exit__ removes the temporary name
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            if not self._temporary.rename_new(self._place):
                self._claim_and_replace()

    def _claim_and_replace(self) -> None:
        """
        Create the final name as an empty file, then replace that file.  This is for file systems
        where a file cannot be named in one step, and never replaces another process's file.
        """
        os.close(self._place.open(os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            self._temporary.rename(self._place)
        except BaseException:
            with contextlib.suppress(OSError):
                self._place.unlink()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._temporary.unlink()
        self._file.close()

    def _failed(self, error: OSError) -> CliError:
        if error.errno == errno.EEXIST:
            return _taken(self._place)
        hint = "choose another place with -o"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "free some space, or choose another place with -o"
        return local_error(f"cannot write {self._place.label}", error, hint)


def _taken(place: Place) -> CliError:
    return CliError(
        f"{place.label} exists",
        Exit.LOCAL,
        hint="--force replaces it; -o FILE chooses another name",
    )


def new_file_mode() -> int:
    """:return: the permissions that the umask allows a new file.  Not for several threads."""
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask


def _mode_there(place: Place, *, force: bool) -> int | None:
    """
    :return: the permissions of the file that is to be replaced; ``None`` if there is none.
    :raise CliError: *place* exists and must not be replaced.
    """
    try:
        there = place.status()
    except OSError:  # missing, or not accessible: creating the file reports which
        return None
    if not stat.S_ISREG(there.st_mode):
        raise CliError(
            f"{place.label} is there and is not a regular file",
            Exit.LOCAL,
            hint="-o - writes to standard output; -o FILE chooses another name",
        )
    if not force:
        raise _taken(place)
    return stat.S_IMODE(there.st_mode) & 0o777
