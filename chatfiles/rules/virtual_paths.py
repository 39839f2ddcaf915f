"""
Checks the form of virtual paths, which are bytes (reference/paths, "Form").

Each role applies these rules itself.  Neither normalizes a path.
"""

from __future__ import annotations

from dataclasses import dataclass

from chatfiles.errors import InvalidPath

__all__ = ["ROOTS", "VirtualPath", "check_form"]

#: The roots, in the order in which the error message names them.
ROOTS: tuple[bytes, ...] = (b"/configs", b"/workspace", b"/home", b"/plugins")
#: The most bytes in a path, and in one segment of it (reference/paths, "Form"; PATH_MAX and
#: NAME_MAX of Linux).
MAX_PATH_BYTES = 4096
MAX_SEGMENT_BYTES = 255


@dataclass(frozen=True, slots=True)
class VirtualPath:
    """
    A path of valid form.

    :param raw: the whole path; it begins with a root.
    :param root: the root, one of `ROOTS`.
    :param segments: the segments below the root; empty if the path is the root itself.
    """

    raw: bytes
    root: bytes
    segments: tuple[bytes, ...]

    @property
    def name(self) -> bytes:
        """The last segment, which is the file name in the response."""
        return self.raw.rsplit(b"/", 1)[1]

    def child(self, name: bytes) -> VirtualPath:
        """
        :param name: of something in the directory that this path names.
        :return: its path, which may be longer than a path in a request.
        """
        return VirtualPath(self.raw + b"/" + name, self.root, (*self.segments, name))


def check_form(values: list[bytes]) -> VirtualPath:
    """
    Validate the ``path`` parameter of a query, in the order of reference/paths, "Form".

    The first checks are whether the path is absolute and below a root, even if it is too long.  A
    root itself is valid here; the workspace decides what it names.

    :param values: every value of the parameter, percent-decoded once.
    :return: the path.
    :raise chatfiles.errors.InvalidPath: 400; the text names the first rule that is broken.
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
