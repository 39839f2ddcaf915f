"""
The last member of an archive: what it contains, and what was left out (reference/archives,
"Manifest").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from chatfiles.http.server.json_text import json_text
from chatfiles.rules.entry_json import format_time, ref_of

__all__ = ["Manifest", "Reason"]

#: The most files that are named in each list, and the most bytes of their names together.
MOST_NAMED: Final = 1000
MOST_BYTES: Final = 256 * 1024


class Reason(StrEnum):
    """Why a file or directory is not in the archive."""

    SYMLINK = "symlink"
    SPECIAL = "special"
    PERMISSION_DENIED = "permission_denied"
    VANISHED = "vanished"
    CHANGING = "changing"
    TOO_LONG = "too_long"


#: The reasons of what an archive never holds.  All others are losses.
_NEVER: Final = (Reason.SYMLINK, Reason.SPECIAL)


class _Named:
    """A list of bounded size."""

    def __init__(self) -> None:
        self.items: list[dict[str, str]] = []
        self.is_full = False
        self._bytes = 0

    def add(self, **members: str) -> None:
        self._bytes += sum(map(len, members.values()))
        self.is_full = len(self.items) == MOST_NAMED or self._bytes > MOST_BYTES
        if not self.is_full:
            self.items.append(members)


class Manifest:
    """
    Counts the members of an archive.

    :param workspace: the id of the workspace; ``None`` if it has none.
    :param paths: the virtual paths of the request.
    :param started_ns: when the request came, in nanoseconds since the epoch.
    :ivar members: number of files and directories in the archive.
    :ivar bytes: number of bytes in these files.
    """

    def __init__(self, workspace: str | None, paths: Iterable[bytes], started_ns: int) -> None:
        self._workspace = workspace
        self._paths = [ref_of(path) for path in paths]
        self._started_ns = started_ns
        self._losses, self._others, self._renamed = _Named(), _Named(), _Named()
        self._skipped: Counter[str] = Counter()
        self.members = self.bytes = 0

    @property
    def skipped(self) -> int:
        """Number of files and directories that were left out."""
        return self._skipped.total()

    def add(self, size: int = 0) -> None:
        """:param size: the bytes of a file that was added; 0 for a directory."""
        self.members += 1
        self.bytes += size

    def skip(self, path: bytes, reason: Reason) -> None:
        """
        :param path: the virtual path of what is left out.
        :param reason: why.
        """
        self._skipped[reason.value] += 1
        named = self._others if reason in _NEVER else self._losses
        if not named.is_full:
            named.add(ref=ref_of(path), reason=reason.value)

    def rename(self, member: bytes, path: bytes) -> None:
        """
        :param member: the name of a member, which differs from that of its file.
        :param path: the virtual path of the file.
        """
        self._renamed.add(member=member.decode("utf-8", "replace"), ref=ref_of(path))

    def text(self, finished_ns: int) -> bytes:
        """
        :param finished_ns: when all other members were written, in nanoseconds since the epoch.
        :return: the content of the member: JSON.
        """
        content = {
            "format": 1,
            "workspace": self._workspace,
            "paths": self._paths,
            "started": format_time(self._started_ns),
            "finished": format_time(finished_ns),
            "members": self.members,
            "bytes": self.bytes,
            "skipped_total": self.skipped,
            "skipped_by_reason": self._skipped,
            "skipped": self._first_skipped(),
            "renamed": self._renamed.items,
        }
        return json_text(content) + b"\n"

    def _first_skipped(self) -> list[dict[str, str]]:
        """:return: losses, then what an archive never holds, as many as the manifest may name."""
        named = _Named()
        for item in (*self._losses.items, *self._others.items):
            named.add(**item)
        return named.items
