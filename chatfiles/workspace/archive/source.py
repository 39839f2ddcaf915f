"""
The bytes of an archive, made step by step from the files of a plan.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import suppress
from typing import Final

from chatfiles.errors import (
    ChatfilesError,
    FileBusy,
    Forbidden,
    NotADirectory,
    NotARegularFile,
    NotFound,
    UnknownLength,
)
from chatfiles.rules.entries import Kind
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.streams.file_source import FileChanged
from chatfiles.workspace.archive.deflate import PIECE
from chatfiles.workspace.archive.layout import MANIFEST, Placed
from chatfiles.workspace.archive.manifest import Manifest, Reason
from chatfiles.workspace.archive.member import ArchiveWriter, Member
from chatfiles.workspace.archive.plan import DENIED, FILE, SPECIAL, SYMLINK, Folder, Plan
from chatfiles.workspace.archive.steady_file import SteadyFile
from chatfiles.workspace.files.interface import IFileStore
from chatfiles.workspace.files.open_directory import OpenDirectory
from chatfiles.workspace.files.open_file import OpenFile

__all__ = ["ArchiveSource"]

#: Bytes of files, or of the archive, after which a part ends; and seconds.
STEP_BYTES: Final = PIECE
STEP_SECONDS: Final = 0.05
#: The largest file that is read as a whole before its first byte is sent.
WHOLE_FILE: Final = 256 * 1024
#: How often such a file is read if it changes meanwhile.
ATTEMPTS: Final = 3

_REASONS: Final = {
    SYMLINK: Reason.SYMLINK,
    SPECIAL: Reason.SPECIAL,
    DENIED: Reason.PERMISSION_DENIED,
}
_REASONS_OF_ERRORS: Final[dict[type[ChatfilesError], Reason]] = {
    Forbidden: Reason.PERMISSION_DENIED,
    FileBusy: Reason.CHANGING,
    UnknownLength: Reason.SPECIAL,
}
Pieces = Generator[bytes, None, None]


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
        self._sleep = sleep
        self._pieces = self._all()
        self._top_names: set[bytes] = set()
        self._plain, self._above = b"", 0
        self._taken = 0  # bytes of files in this part

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
        size = self._taken = 0
        for piece in self._pieces:
            made.append(piece)
            size += len(piece)
            is_full = max(size, self._taken) >= STEP_BYTES or self._seconds() > end
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
        self._plain, self._above = b"/".join(names), len(path.raw)
        member = self._top_member(names)
        if folder is None:
            yield from self._file(path, member, lambda: self._store.open(path))
            return
        try:
            opened = self._store.open_directory(path)
        except (Forbidden, NotADirectory, NotFound) as error:
            yield self._skipped(path.raw, _reason(error))
            return
        with opened:
            yield from self._folder(opened, folder, member)

    def _top_member(self, names: tuple[bytes, ...]) -> bytes:
        member = b"/".join(map(self._writer.segment, names))
        while member in self._top_names:
            member = member.replace(b"%", b"%25")
        self._top_names.add(member)
        return member

    def _folder(self, opened: OpenDirectory, folder: Folder, member: bytes) -> Pieces:
        if not self._writer.can_hold(member):
            yield self._skipped(opened.path.raw, Reason.TOO_LONG)
            return
        self._note_name(member, opened.path, b"/")
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
            reason = _reason(error, above, folder.name)
            yield self._skipped(above.path.raw + b"/" + folder.name, reason)
            return
        with opened:
            yield from self._folder(opened, folder, self._member(beside, folder.name, member))

    def _file_in(self, above: OpenDirectory, beside: Folder, name: bytes, member: bytes) -> Pieces:
        whole = self._member(beside, name, member)
        yield from self._file(above.path.child(name), whole, lambda: above.open_file(name), above)

    def _file(
        self,
        path: VirtualPath,
        member: bytes,
        open_file: Callable[[], OpenFile],
        above: OpenDirectory | None = None,
    ) -> Pieces:
        if not self._writer.can_hold(member):
            yield self._skipped(path.raw, Reason.TOO_LONG)
            return
        for _ in range(ATTEMPTS):
            try:
                file = open_file()
            except (Forbidden, FileBusy, NotARegularFile, NotFound, UnknownLength) as error:
                yield self._skipped(path.raw, _reason(error, above, path.name))
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
        """:raise FileChanged: it has changed, and the format cannot leave it out any more."""
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

    def _read(self, file: SteadyFile, start: int, length: int) -> bytes:
        self._taken += length
        return file.read(start, length)

    def _directory(self, member: bytes, mtime_ns: int) -> bytes:
        self._manifest.add()
        return self._writer.directory(member, mtime_ns)

    def _added(self, path: VirtualPath, member: Member) -> None:
        self._manifest.add(member.size)
        self._note_name(member.name, path)

    def _member(self, beside: Folder, name: bytes, member: bytes) -> bytes:
        """:return: the name of the member for *name* in the directory *member*."""
        written = self._writer.segment(name)
        if written != name:
            while beside.has(written):  # that name belongs to another file
                written = written.replace(b"%", b"%25")
        return member + b"/" + written

    def _note_name(self, member: bytes, path: VirtualPath, end: bytes = b"") -> None:
        if member != self._plain + path.raw[self._above :]:
            self._manifest.rename(member + end, path.raw)

    def _skipped(self, path: bytes, reason: Reason) -> bytes:
        self._manifest.skip(path, reason)
        return b""


def _reason(error: ChatfilesError, above: OpenDirectory | None = None, name: bytes = b"") -> Reason:
    """:return: why something that was counted cannot be opened any more."""
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
