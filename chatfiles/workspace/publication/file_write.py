"""
One ``PUT``: the body is hashed and written while it arrives, then the file is published.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from chatfiles.errors import DigestMismatch
from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.rules.write_request import WriteOptions, file_too_large
from chatfiles.workspace.files.write_targets import Target, Targets, parent_not_found, write_refusal
from chatfiles.workspace.publication.in_place_file import copy_in_place
from chatfiles.workspace.publication.publisher import Published, Publisher
from chatfiles.workspace.publication.unpublished_file import UnnamedFiles, UnpublishedFile

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


class FileWrite:
    """
    Stores a file (a `chatfiles.streams.body_sink.BlockingSink`).

    :param asked: what the client asks for.
    :param target: the place of the file; it is closed at the end.
    :param file: the file that is written; it is closed at the end.
    :param publisher: gives it its name.
    :param spool_fd: the directory of *file*, if it is copied to its place; it is closed at the end.
    """

    def __init__(
        self,
        asked: AskedWrite,
        target: Target,
        file: UnpublishedFile,
        publisher: Publisher,
        spool_fd: int = -1,
    ) -> None:
        self._asked = asked
        self._target = target
        self._file = file
        self._publisher = publisher
        self._spool_fd = spool_fd
        self._size = 0
        self._digest = hashlib.sha256()

    def feed(self, data: bytes) -> None:
        """
        Hash and write the next bytes of the file.

        :raise ChatfilesError: 413, 500 or 507.
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
        :raise ChatfilesError: 412 or another refusal; an old file is unchanged, but for a copy in
            place that failed.
        """
        try:
            published = self._publish()
        except OSError as error:
            raise write_refusal(error) from error
        self.close()
        return Written(published, self._digest.digest())

    def _publish(self) -> Published:
        asked, target, file = self._asked, self._target, self._file
        mode = asked.options.mode
        if self._spool_fd >= 0:
            return copy_in_place(self._publisher, target, file.fd, asked.conditions, mode)
        return self._publisher.publish(target, file, asked.conditions, mode)

    def keep(self) -> None:
        """Do nothing: a published file remains."""

    def close(self) -> None:
        """Close the file and its directory; nothing remains that was not published.  Idempotent."""
        self._file.close()
        self._target.close()
        if self._spool_fd >= 0:
            os.close(self._spool_fd)
            self._spool_fd = -1


class FileWrites:
    """
    Begins to write files.

    :param targets: decides where.
    :param publisher: publishes them.
    :param open_spool: opens the directory of files that are then copied to their place, and returns
        a descriptor to close.
    """

    def __init__(
        self, targets: Targets, publisher: Publisher, open_spool: Callable[[], int]
    ) -> None:
        self.targets = targets
        self.publisher = publisher
        self._open_spool = open_spool
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
        if not self.targets.prefixes.write_in_place(asked.path):
            return FileWrite(asked, target, self._new_file(asked, target), self.publisher)
        spool_fd = self._open_spool()
        try:
            file = self._files.new_file(spool_fd)
        except BaseException:
            os.close(spool_fd)
            raise
        return FileWrite(asked, target, file, self.publisher, spool_fd)

    def _new_file(self, asked: AskedWrite, target: Target) -> UnpublishedFile:
        if asked.options.parents:
            # Its name keeps the directory, if a request that has created it is interrupted.
            return UnpublishedFile(target.directory_fd, unnamed=False)
        return self._files.new_file(target.directory_fd)
