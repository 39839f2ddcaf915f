"""
The bytes of one file in an archive: those of one version, or none (reference/archives,
"Files that change").
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator
from typing import Final

from chatfiles.errors import (
    ChatfilesError,
    FileBusy,
    Forbidden,
    NotARegularFile,
    NotFound,
    UnknownLength,
)
from chatfiles.rules.entry_json import Kind
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.streams.file_source import FileChanged
from chatfiles.workspace.archive.deflate import PIECE
from chatfiles.workspace.archive.manifest import Manifest, Reason
from chatfiles.workspace.archive.member import ArchiveWriter, Member
from chatfiles.workspace.archive.member_names import MemberNames
from chatfiles.workspace.archive.steady_file import SteadyFile
from chatfiles.workspace.files.open_directory import OpenDirectory
from chatfiles.workspace.files.open_file import OpenFile

__all__ = ["ATTEMPTS", "WHOLE_FILE", "FileMembers", "Pieces", "reason_of"]

#: The largest file that is read as a whole before its first byte is sent.
WHOLE_FILE: Final = 256 * 1024
#: How often such a file is read if it changes meanwhile.
ATTEMPTS: Final = 3

_REASONS_OF_ERRORS: Final[dict[type[ChatfilesError], Reason]] = {
    Forbidden: Reason.PERMISSION_DENIED,
    FileBusy: Reason.CHANGING,
    UnknownLength: Reason.SPECIAL,
}
#: The errors of a file that is left out.  Any other one interrupts the archive.
LEFT_OUT: Final = (Forbidden, FileBusy, NotARegularFile, NotFound, UnknownLength)
Pieces = Generator[bytes, None, None]


class FileMembers:
    """
    Adds files to one archive.

    :param writer: has the format.
    :param manifest: counts them.
    :param names: of the members.
    :param now_ns: returns the time of day in nanoseconds.
    :param sleep: waits for the given seconds.
    :ivar taken: number of bytes that were read from files.
    """

    def __init__(
        self,
        writer: ArchiveWriter,
        manifest: Manifest,
        names: MemberNames,
        now_ns: Callable[[], int],
        sleep: Callable[[float], object],
    ) -> None:
        self._writer = writer
        self._manifest = manifest
        self._names = names
        self._now_ns = now_ns
        self._sleep = sleep
        self.taken = 0

    def add(
        self,
        path: VirtualPath,
        member: bytes,
        open_file: Callable[[], OpenFile],
        above: OpenDirectory | None = None,
    ) -> Pieces:
        """
        Add a file, or note in the manifest why it is left out.

        :param path: of the file.
        :param member: its name in the archive.
        :param open_file: opens it; called again if it changes.
        :param above: the directory that it is in, if that is open.
        :raise FileChanged: it has changed, and the format cannot leave it out any more.
        """
        if not self._writer.can_hold(member):
            yield self._skipped(path.raw, Reason.TOO_LONG)
            return
        for _ in range(ATTEMPTS):
            try:
                file = open_file()
            except LEFT_OUT as error:
                yield self._skipped(path.raw, reason_of(error, above, path.name))
                return
            with file:
                steady = SteadyFile(file, self._now_ns, self._sleep)
                described = _described(file, member)
                begun = self._begun(steady, path, described)
                if begun is None:
                    continue
                yield begun
                if steady.size > WHOLE_FILE:
                    yield from self._rest(steady, path, described)
                return
        yield self._skipped(path.raw, Reason.CHANGING)

    def _begun(self, file: SteadyFile, path: VirtualPath, member: Member) -> bytes | None:
        """
        :return: a whole small file, or the beginning of a long one; ``None`` if it is being
            rewritten.
        """
        writer = self._writer
        try:
            file.begin()
            if file.size > WHOLE_FILE:
                return writer.begin(member)
            content = self._read(file, 0, file.size)
            file.finish()
        except FileChanged:
            return None
        self._added(path, member)
        pieces = writer.begin(member), writer.data(content) if content else b"", writer.end()
        return b"".join(pieces)

    def _rest(self, file: SteadyFile, path: VirtualPath, member: Member) -> Pieces:
        for start in range(0, file.size, PIECE):
            try:
                content = self._read(file, start, min(PIECE, file.size - start))
                if start + PIECE >= file.size:
                    file.finish()
            except FileChanged:
                yield from self._writer.abandon()
                yield self._skipped(path.raw, Reason.CHANGING)
                return
            yield self._writer.data(content)
        self._added(path, member)
        yield self._writer.end()

    def _skipped(self, path: bytes, reason: Reason) -> bytes:
        """:return: no bytes: a step may end here."""
        self._manifest.skip(path, reason)
        return b""

    def _read(self, file: SteadyFile, start: int, length: int) -> bytes:
        self.taken += length
        return file.read(start, length)

    def _added(self, path: VirtualPath, member: Member) -> None:
        self._manifest.add(member.size)
        self._names.added(member.name, path)


def reason_of(
    error: ChatfilesError, above: OpenDirectory | None = None, name: bytes = b""
) -> Reason:
    """
    :param error: one of `LEFT_OUT`.
    :param above: the directory in which it was met, if that is open.
    :param name: what could not be opened there.
    :return: why something that was counted cannot be opened any more.
    """
    if (known := _REASONS_OF_ERRORS.get(type(error))) is not None:
        return known
    found = above.look(name) if above is not None and not isinstance(error, NotFound) else None
    if found is None:
        return Reason.VANISHED
    return {Kind.SYMLINK: Reason.SYMLINK, Kind.OTHER: Reason.SPECIAL}.get(
        found.kind, Reason.VANISHED
    )


def _described(file: OpenFile, member: bytes) -> Member:
    mode = os.fstat(file.fd).st_mode
    return Member(member, file.facts.size, file.facts.mtime_ns, bool(mode & stat.S_IXUSR))
