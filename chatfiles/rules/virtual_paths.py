"""
Rules of form for virtual paths (reference/paths, "Form"): bytes in, verdict out.

Both roles apply them, each for itself; neither normalises anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from chatfiles.errors import InvalidPath

__all__ = ["ROOTS", "VirtualPath", "check_form"]

#: The roots, in the order in which the refusal names them.
ROOTS: tuple[bytes, ...] = (b"/configs", b"/workspace", b"/home", b"/plugins")
#: Bytes in a path, and in one segment of it (reference/paths, "Form"; PATH_MAX and NAME_MAX of
#: Linux).
MAX_PATH_BYTES = 4096
MAX_SEGMENT_BYTES = 255


@dataclass(frozen=True, slots=True)
class VirtualPath:
    """
    A path that keeps every rule of form.

    :param raw: the whole path, bytes, beginning with a root.
    :param root: the root, one of `ROOTS`.
    :param segments: the segments below the root; empty when the path is the root itself.
    """

    raw: bytes
    root: bytes
    segments: tuple[bytes, ...]

    @property
    def name(self) -> bytes:
        """The last segment, as it is offered to the caller as a file name."""
        return self.raw.rsplit(b"/", 1)[1]


def check_form(values: list[bytes]) -> VirtualPath:
    """
    Judge the values of the ``path`` parameter of a query, in the order of reference/paths, "Form".

    Whether the path is absolute and below a root is judged first, also of one that is too long; a
    root itself has good form (what it names is for the workspace to say).

    :param values: every value that was given, percent-decoded once.
    :raise chatfiles.errors.InvalidPath: 400, with the text of the first rule broken.
    """
    if not any(values):
        raise InvalidPath("path query required", code="path_required")
    if len(values) > 1:
        raise InvalidPath("path query must be given once", code="path_repeated")
    raw = values[0]
    if not raw.startswith(b"/"):
        raise InvalidPath("path must be absolute", code="path_not_absolute")
    root = _root_of(raw)
    if root is None:
        raise InvalidPath(
            "path must be under /configs, /workspace, /home, or /plugins", code="path_outside_roots"
        )
    if len(raw) > MAX_PATH_BYTES or b"\0" in raw:
        raise InvalidPath
    segments = tuple(raw[len(root) + 1 :].split(b"/")) if raw != root else ()
    if not all(map(_may_be_segment, segments)):
        raise InvalidPath
    return VirtualPath(raw, root, segments)


def _root_of(raw: bytes) -> bytes | None:
    for root in ROOTS:
        if raw == root or raw.startswith(root + b"/"):
            return root
    return None


def _may_be_segment(segment: bytes) -> bool:
    return segment not in (b"", b".", b"..") and len(segment) <= MAX_SEGMENT_BYTES
