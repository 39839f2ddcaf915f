"""
A file that was opened and checked, and is served from its descriptor.
"""

from __future__ import annotations

from chatfiles.model import FileFacts
from chatfiles.streams.descriptor import Descriptor

__all__ = ["OpenFile"]


class OpenFile(Descriptor):
    """
    A regular file that was opened and checked, to be served from this very descriptor.

    As a context manager it closes itself at the end.

    :param fd: its descriptor, open for reading.
    :param facts: what ``fstat`` said of this descriptor when it was opened.
    :param name: the last segment of the virtual path, bytes.
    :param local: whether the file is on a disk of this machine.  If not, every call with the
        descriptor, ``close`` included, may take as long as the network takes.
    """

    __slots__ = ("facts", "local", "name")

    def __init__(self, fd: int, facts: FileFacts, name: bytes, local: bool) -> None:
        super().__init__(fd)
        self.facts = facts
        self.name = name
        self.local = local

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
