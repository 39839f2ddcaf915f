"""
One entry of a listing, as a JSON object (reference/listing, "Entries").
"""

from __future__ import annotations

from chatfiles.rules.entry_json import Kind, describe, name_members
from chatfiles.workspace.files.open_directory import Found

__all__ = ["entry"]


def entry(found: Found, ref: str, now_ns: int, parent: str | None = None) -> dict[str, object]:
    """
    :param found: what lies at a name.
    :param ref: of its path.
    :param now_ns: nanoseconds since the epoch, not later than when it was found.
    :param parent: the ref of the directory that it is in, if the entry has to name it.
    :return: the entry.
    """
    members = name_members(found.name, ref)
    if parent is not None:
        members["parent"] = parent
    if found.facts is None:
        members["type"] = Kind.OTHER.value
    else:
        members.update(describe(found.name, found.facts, now_ns))
    if not found.readable:
        members["readable"] = False
    if found.error:
        members["error"] = found.error
    return members
