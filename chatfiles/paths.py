"""
Rules of form for virtual paths (CONTRACT 5): bytes in, verdict out.

Both roles apply them, each for itself; neither normalises anything.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ROOTS", "VirtualPath", "check_form"]

#: The roots, in the order in which the refusal names them.
ROOTS: tuple[bytes, ...] = (b"/configs", b"/workspace", b"/home", b"/plugins")


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
    Judge the values of the ``path`` parameter of a query, in the order of CONTRACT 5.

    :param values: every value that was given, percent-decoded once.
    :raise chatfiles.errors.InvalidPath: 400, with the text of the first rule broken.
    """
    raise NotImplementedError
