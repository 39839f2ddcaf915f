"""
A file that was opened and checked, and is served from its descriptor.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from chatfiles.model import FileFacts

__all__ = ["OpenFile"]


@dataclass(frozen=True, slots=True, eq=False)
class OpenFile:
    """
    A regular file that was opened, judged, and is to be served from this very descriptor.

    Whoever holds it closes it; one that is dropped (its caller has left meanwhile) closes itself.

    :param fd: open for reading; -1 once closed.
    :param facts: what ``fstat`` said of this descriptor when it was opened.
    :param name: the last segment of the virtual path, bytes.
    :param local: whether it lies on a disk of this machine; if not, whatever is done with the
        descriptor may take as long as a network pleases, closing included.
    """

    fd: int
    facts: FileFacts
    name: bytes
    local: bool

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        fd = self.fd
        if fd >= 0:
            # A number kept after closing could name somebody else's file.
            object.__setattr__(self, "fd", -1)
            os.close(fd)

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
