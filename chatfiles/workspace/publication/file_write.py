"""
One ``PUT``: the body is hashed and written while it arrives, then the file is published.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from chatfiles.errors import DigestMismatch
from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.rules.write_request import WriteOptions, file_too_large
from chatfiles.workspace.files.targets import Target, Targets, parent_not_found, write_refusal
from chatfiles.workspace.publication.in_place_file import InPlaceFile
from chatfiles.workspace.publication.publisher import Published, Publisher
from chatfiles.workspace.publication.unpublished_file import UnnamedFiles

__all__ = ["AskedWrite", "FileWrite", "FileWrites", "Written"]


@dataclass(frozen=True, slots=True)
class AskedWrite:
    """
    What a ``PUT`` asks for.

    :param digests: every SHA-256 that the file must have.
    :param limit: the most bytes of the file.
    """

    path: VirtualPath
    options: WriteOptions
    conditions: WriteConditions
    digests: frozenset[bytes]
    limit: int


class Written(NamedTuple):
    """A file that was stored, and its SHA-256."""

    published: Published
    sha256: bytes


class _NewFile(Protocol):
    def write(self, data: bytes) -> None: ...
    def complete(self) -> None: ...
    def close(self) -> None: ...


class FileWrite:
    """
    Stores a file (a `chatfiles.streams.body_sink.BlockingSink`).

    :param asked: what the client asks for.
    :param target: the place of the file; it is closed at the end.
    :param file: the file that is written; it is closed at the end.
    :param publish: gives it its name.
    """

    def __init__(
        self,
        asked: AskedWrite,
        target: Target,
        file: _NewFile,
        publish: Callable[[], Published],
    ) -> None:
        self._asked = asked
        self._target = target
        self._file = file
        self._publish = publish
        self._size = 0
        self._digest = hashlib.sha256()

    def feed(self, data: bytes) -> None:
        """
        Hash and write the next bytes of the file.

        :raise ChatfilesError: 413, 500 or 507; in place also what `Target.look_at_file` raises.
        """
        self._size += len(data)
        if self._size > self._asked.limit:
            raise file_too_large(self._asked.limit)
        self._digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise write_refusal(error) from error

    def prepare(self) -> None:
        """
        The body is complete: check its digest, and flush the file to the disk.

        :raise DigestMismatch: 422, the bytes are not those that the client meant.
        :raise ChatfilesError: 500 or 507.
        """
        actual = self._digest.digest()
        for expected in self._asked.digests - {actual}:
            raise DigestMismatch(expected, actual)
        try:
            self._file.complete()
        except OSError as error:
            raise write_refusal(error) from error

    def finish(self) -> Written:
        """
        Publish the file.

        :return: the file.
        :raise ChatfilesError: 412 or another refusal; an old file is unchanged.
        """
        try:
            published = self._publish()
        except OSError as error:
            raise write_refusal(error) from error
        self.close()
        return Written(published, self._digest.digest())

    def keep(self) -> None:
        """Do nothing: a published file remains."""

    def close(self) -> None:
        """Close the file and its directory; nothing remains that was not published.  Idempotent."""
        self._file.close()
        self._target.close()


class FileWrites:
    """
    Begins to write files.

    :param targets: decides where.
    :param publisher: publishes them.
    """

    def __init__(self, targets: Targets, publisher: Publisher) -> None:
        self.targets = targets
        self.publisher = publisher
        self._files = UnnamedFiles()

    def begin(self, asked: AskedWrite) -> FileWrite:
        """
        Check everything that can be known before the body.  Blocks.

        :return: stores the body; to be closed after use.
        :raise ChatfilesError: the file may not be written.
        """
        target = self._open(asked)
        try:
            self.publisher.require(asked.conditions, target.look_at_file())
            return self._file_write(asked, target)
        except BaseException as error:
            target.close()
            if isinstance(error, OSError):
                raise write_refusal(error) from error
            raise

    def _open(self, asked: AskedWrite) -> Target:
        missing = parent_not_found()
        try:
            return self.targets.open(asked.path)
        except type(missing) as error:
            if error.code != missing.code or not asked.options.parents:
                raise
        return self.targets.make(asked.path)

    def _file_write(self, asked: AskedWrite, target: Target) -> FileWrite:
        conditions, mode = asked.conditions, asked.options.mode
        if self.targets.prefixes.write_in_place(asked.path):
            in_place = InPlaceFile(target, self.publisher, conditions, mode)
            return FileWrite(asked, target, in_place, in_place.publish)
        file = self._files.new_file(target.directory_fd)

        def publish() -> Published:
            return self.publisher.publish(target, file, conditions, mode)

        return FileWrite(asked, target, file, publish)
