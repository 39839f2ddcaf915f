"""
The body of a listing, which is made step by step.
"""

from __future__ import annotations

from collections.abc import Callable

from chatfiles.http.server.json_text import json_text
from chatfiles.rules.entry_json import ref_of, shown
from chatfiles.rules.listing_query import MAX_DEPTH, ListingQuery
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.streams.step_sender import SteppedBody
from chatfiles.workspace.files.interface import IFileStore
from chatfiles.workspace.files.open_directory import OpenDirectory
from chatfiles.workspace.files.walk import Walk
from chatfiles.workspace.listing.entry import entry
from chatfiles.workspace.listing.known_names import KnownNames
from chatfiles.workspace.listing.lines import line_of_one, lines
from chatfiles.workspace.listing.page import page

__all__ = ["listing_body"]

_Now = Callable[[], int]


def listing_body(
    store: IFileStore, asked: ListingQuery, most: int, now_ns: _Now, known: KnownNames
) -> SteppedBody:
    """
    Open what is listed.  Blocks, like the steps of the body.

    :param store: has the files.
    :param asked: what to list.
    :param most: the most entries of a stream.
    :param now_ns: returns nanoseconds since the epoch.
    :param known: keeps names for the next pages.
    :return: a stream of lines; or empty parts, and then one part that is a whole JSON text.
    :raise chatfiles.errors.ChatfilesError: it cannot be opened; see `IFileStore`.
    """
    if asked.depth == 0:
        return _one(store, asked.path, asked.is_stream, now_ns())
    directory = store.open_directory(asked.path)
    if not asked.is_stream:
        return _page(directory, asked, now_ns, known)
    walk = Walk(directory, asked.depth or MAX_DEPTH + 1)
    return SteppedBody(lines(walk, most, now_ns, with_parents=asked.depth != 1), walk.close)


def _one(store: IFileStore, path: VirtualPath, is_stream: bool, now_ns: int) -> SteppedBody:
    found, ref = store.look(path), ref_of(path.raw)
    if is_stream:
        text = line_of_one(path, found, now_ns)
    else:
        members = {"path": shown(path.raw), "ref": ref, "entry": entry(found, ref, now_ns)}
        text = json_text(members) + b"\n"
    return SteppedBody(iter([text]), lambda: None)


def _page(
    directory: OpenDirectory, asked: ListingQuery, now_ns: _Now, known: KnownNames
) -> SteppedBody:
    parts = page(directory, asked.limit, asked.after, now_ns, known)

    def release() -> None:
        parts.close()
        directory.close()

    return SteppedBody(parts, release)
