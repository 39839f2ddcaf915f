"""
A tree as JSON lines (reference/listing, "Streams").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from chatfiles.http.server.json_text import json_text
from chatfiles.rules.entry_json import ref_below, ref_of
from chatfiles.rules.listing_query import MAX_DEPTH
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.workspace.files.open_directory import Found, OpenDirectory
from chatfiles.workspace.files.walk import Walk
from chatfiles.workspace.listing.entry import entry
from chatfiles.workspace.listing.turns import Turn

__all__ = ["PART_BYTES", "end_line", "line_of_one", "lines"]

#: Bytes after which a part of the stream is sent.
PART_BYTES: Final = 64 * 1024


def end_line(entries: int, reason: str = "") -> bytes:
    """
    :param entries: the number of lines before it.
    :param reason: why there could have been more; empty if the listing is complete.
    :return: the last line of a stream.
    """
    line: dict[str, object] = {"end": True, "entries": entries, "complete": not reason}
    if reason:
        line["reason"] = reason
    return json_text(line) + b"\n"


def line_of_one(path: VirtualPath, found: Found, now_ns: int) -> bytes:
    """:return: the whole stream for what lies at *path*."""
    return json_text(entry(found, ref_of(path.raw), now_ns)) + b"\n" + end_line(1)


def lines(
    walk: Walk, most: int, now_ns: Callable[[], int], *, with_parents: bool
) -> Iterator[bytes]:
    """
    Make the lines of a walk.  Blocks, so it is done in threads: one at a time.

    :param walk: over the tree; it stays open.  One that reaches a level behind `MAX_DEPTH` shows
        whether something is left out there.
    :param most: the most entries.
    :param now_ns: returns nanoseconds since the epoch.
    :param with_parents: whether each entry names its directory.
    :return: parts of the stream, some of which may be empty.
    :raise chatfiles.errors.ChatfilesError: the walk failed.
    """
    part, count, reason, is_too_deep = bytearray(), 0, "", False
    refs, turn, now = _Refs(), Turn(), now_ns()
    for visit in walk:
        if visit is not None and visit.level > MAX_DEPTH:
            is_too_deep = True
        elif visit is not None:
            if count == most:
                reason = "too_many_entries"
                break
            parent, ref = refs.of(visit.directory, visit.found.name)
            part += json_text(entry(visit.found, ref, now, parent if with_parents else None))
            part += b"\n"
            count += 1
        if turn.is_over() or len(part) >= PART_BYTES:
            yield bytes(part)
            part.clear()
            turn.begin()
            now = now_ns()
    yield bytes(part) + end_line(count, reason or ("too_deep" if is_too_deep else ""))


class _Refs:
    """Makes refs; that of the last directory is kept."""

    def __init__(self) -> None:
        self._directory: OpenDirectory | None = None
        self._ref = ""

    def of(self, directory: OpenDirectory, name: bytes) -> tuple[str, str]:
        """:return: the refs of the directory, and of *name* in it."""
        if directory is not self._directory:
            self._directory, self._ref = directory, ref_of(directory.path.raw)
        return self._ref, ref_below(self._ref, name)
