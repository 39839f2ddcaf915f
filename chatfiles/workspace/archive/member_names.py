"""
The names of an archive's members: as the format can hold them, and none twice (reference/archives,
"Members").
"""

from __future__ import annotations

from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.workspace.archive.manifest import Manifest
from chatfiles.workspace.archive.member import ArchiveWriter
from chatfiles.workspace.archive.plan import Folder

__all__ = ["MemberNames"]


class MemberNames:
    """
    Names the members of one archive.

    :param writer: has the format.
    :param manifest: lists the members whose names differ from those of their files.
    """

    def __init__(self, writer: ArchiveWriter, manifest: Manifest) -> None:
        self._writer = writer
        self._manifest = manifest
        self._given: set[bytes] = set()
        self._plain, self._above = b"", 0

    def begin(self, path: VirtualPath, names: tuple[bytes, ...]) -> bytes:
        """
        :param path: of the request; until the next call, members are at or below it.
        :param names: the segments of its place.
        :return: the name of its member.
        """
        self._plain, self._above = b"/".join(names), len(path.raw)
        member = b"/".join(map(self._writer.segment, names))
        while member in self._given:
            member = member.replace(b"%", b"%25")
        self._given.add(member)
        return member

    def below(self, member: bytes, beside: Folder, name: bytes) -> bytes:
        """
        :param member: of a directory.
        :param beside: what is in this directory.
        :param name: of something in it.
        :return: the name of its member.
        """
        written = self._writer.segment(name)
        if written != name:
            while beside.has(written):  # that name belongs to another file
                written = written.replace(b"%", b"%25")
        return member + b"/" + written

    def added(self, member: bytes, path: VirtualPath, end: bytes = b"") -> None:
        """
        :param member: has been added to the archive.
        :param path: of its file or directory.
        :param end: what follows the name in the manifest.
        """
        if member != self._plain + path.raw[self._above :]:
            self._manifest.rename(member + end, path.raw)
