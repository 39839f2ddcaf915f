"""
The bytes of an archive, made step by step from the files of a plan.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from typing import Final

from chatfiles.errors import (
    ChatfilesError,
    Forbidden,
    NotADirectory,
    NotFound,
)
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.workspace.archive.deflate import PIECE
from chatfiles.workspace.archive.file_members import FileMembers, Pieces, reason_of
from chatfiles.workspace.archive.layout import MANIFEST, Placed
from chatfiles.workspace.archive.manifest import Manifest, Reason
from chatfiles.workspace.archive.member import ArchiveWriter, Member
from chatfiles.workspace.archive.member_names import MemberNames
from chatfiles.workspace.archive.plan import DENIED, FILE, SPECIAL, SYMLINK, Folder, Plan
from chatfiles.workspace.files.interface import IFileStore
from chatfiles.workspace.files.open_directory import OpenDirectory

__all__ = ["ArchiveSource"]

#: Bytes of files, or of the archive, after which a part ends; and seconds.
STEP_BYTES: Final = PIECE
STEP_SECONDS: Final = 0.05
_REASONS: Final = {
    SYMLINK: Reason.SYMLINK,
    SPECIAL: Reason.SPECIAL,
    DENIED: Reason.PERMISSION_DENIED,
}


class ArchiveSource(Iterator[bytes]):
    """
    Makes the bytes of one archive, as an iterator of parts, each of which is one step.

    :param store: opens the files.
    :param plan: what to add.
    :param writer: has the format.
    :param manifest: counts the members.
    :param now_ns: returns the time of day in nanoseconds.
    :param seconds: returns the time of a clock that only a part is measured with.
    :param sleep: waits for the given seconds.
    :ivar owner: the root to which the next part belongs.
    """

    def __init__(
        self,
        store: IFileStore,
        plan: Plan,
        writer: ArchiveWriter,
        manifest: Manifest,
        now_ns: Callable[[], int] = time.time_ns,
        seconds: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.owner: Hashable = plan.layout.placed[0].path.root
        self._store = store
        self._plan = plan
        self._writer = writer
        self._manifest = manifest
        self._now_ns = now_ns
        self._seconds = seconds
        self._names = MemberNames(writer, manifest)
        self._files = FileMembers(writer, manifest, self._names, now_ns, sleep)
        self._pieces = self._all()

    def __next__(self) -> bytes:
        """
        Make the next part.  Blocks.

        :return: some bytes, perhaps none.
        :raise FileChanged: a file has changed, and the format cannot leave it out any more.
        :raise chatfiles.errors.ChatfilesError: a file cannot be opened, for another reason than
            that it has vanished or must not be read.
        :raise OSError: an I/O error.
        """
        owner, end = self.owner, self._seconds() + STEP_SECONDS
        made: list[bytes] = []
        size, taken = 0, self._files.taken
        for piece in self._pieces:
            made.append(piece)
            size += len(piece)
            is_full = max(size, self._files.taken - taken) >= STEP_BYTES or self._seconds() > end
            if is_full or self.owner != owner:
                break
        if not made:
            raise StopIteration
        return b"".join(made)

    def close(self) -> None:
        """Close what is open.  There are no more parts.  Blocks; idempotent."""
        self._pieces.close()

    # -- members

    def _all(self) -> Pieces:
        layout = self._plan.layout
        if layout.has_several:
            yield self._directory(layout.top, self._top_mtime_ns(layout.common))
        for placed in layout.placed:
            self.owner = placed.path.root
            yield b""  # what follows is another part if the owner is another one
            yield from self._placed(placed)
        yield from self._last()

    def _top_mtime_ns(self, common: VirtualPath | None) -> int:
        if common is not None:
            with suppress(ChatfilesError), self._store.open_directory(common) as directory:
                return os.fstat(directory.fd).st_mtime_ns
        return self._now_ns()

    def _last(self) -> Pieces:
        now_ns = self._now_ns()
        text = self._manifest.text(now_ns)
        yield self._writer.begin(Member(MANIFEST, len(text), now_ns))
        for start in range(0, len(text), PIECE):
            yield self._writer.data(text[start : start + PIECE])
        yield self._writer.end()
        yield from self._writer.finish()

    def _placed(self, placed: Placed) -> Pieces:
        path = placed.path
        folder = self._plan.folders.get(path)
        names = placed.names
        if folder is None and names == (MANIFEST,):
            names *= 2  # the manifest has this name
        member = self._names.begin(path, names)
        if folder is None:
            yield from self._files.add(path, member, lambda: self._store.open(path))
            return
        try:
            opened = self._store.open_directory(path)
        except (Forbidden, NotADirectory, NotFound) as error:
            yield self._skipped(path.raw, reason_of(error))
            return
        with opened:
            yield from self._folder(opened, folder, member)

    def _folder(self, opened: OpenDirectory, folder: Folder, member: bytes) -> Pieces:
        if not self._writer.can_hold(member):
            yield self._skipped(opened.path.raw, Reason.TOO_LONG)
            return
        self._names.added(member, opened.path, b"/")
        yield self._directory(member, os.fstat(opened.fd).st_mtime_ns)
        for entry in folder.entries:
            if isinstance(entry, Folder):
                yield from self._below(opened, folder, entry, member)
            elif entry[:1] == FILE:
                yield from self._file_in(opened, folder, entry[1:], member)
            else:
                yield self._skipped(opened.path.raw + b"/" + entry[1:], _REASONS[entry[:1]])

    def _below(self, above: OpenDirectory, beside: Folder, folder: Folder, member: bytes) -> Pieces:
        try:
            opened = above.open_directory(folder.name)
        except (Forbidden, NotADirectory, NotFound) as error:
            reason = reason_of(error, above, folder.name)
            yield self._skipped(above.path.raw + b"/" + folder.name, reason)
            return
        with opened:
            yield from self._folder(opened, folder, self._names.below(member, beside, folder.name))

    def _file_in(self, above: OpenDirectory, beside: Folder, name: bytes, member: bytes) -> Pieces:
        whole, path = self._names.below(member, beside, name), above.path.child(name)
        yield from self._files.add(path, whole, lambda: above.open_file(name), above)

    def _directory(self, member: bytes, mtime_ns: int) -> bytes:
        self._manifest.add()
        return self._writer.directory(member, mtime_ns)

    def _skipped(self, path: bytes, reason: Reason) -> bytes:
        self._manifest.skip(path, reason)
        return b""
