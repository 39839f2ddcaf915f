"""
What a request touches, as fields of the audit log (reference/audit, "Fields").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatfiles.rules.entry_json import ref_of

__all__ = ["touched_move", "touched_path", "touched_paths"]


def touched_path(query: Mapping[bytes, Sequence[bytes]]) -> Mapping[str, Any]:
    """
    :param query: of a request; its path may break a rule of form.
    :return: its path; nothing if it names none, or several.
    """
    paths = query.get(b"path", ())
    return {"ref": ref_of(paths[0])} if len(paths) == 1 else {}


def touched_move(origin: bytes, destination: bytes) -> Mapping[str, Any]:
    """:return: both paths of a move."""
    return {"ref": ref_of(origin), "ref_to": ref_of(destination)}


def touched_paths(paths: Iterable[bytes]) -> Mapping[str, Any]:
    """
    :param paths: of an archive.
    :return: them; as one path if there is only one.
    """
    refs = [ref_of(path) for path in paths]
    return {"ref": refs[0]} if len(refs) == 1 else {"refs": refs}
