"""
An open file, which is served from its descriptor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.defer import Deferred

from chatfiles.errors import ReadFailed
from chatfiles.model import FileFacts
from chatfiles.streams.descriptor import Descriptor

__all__ = ["OpenFile"]


class OpenFile(Descriptor):
    """
    An open regular file.  It was checked through the descriptor from which it is served.

    As a context manager, it closes itself at the end.

    :param fd: its descriptor, open for reading.
    :param facts: the result of ``fstat`` when it was opened.
    :param name: the last segment of the virtual path, bytes.
    :param local: whether the file is on a disk of this machine.  If not, every call with the
        descriptor, also ``close``, may wait for the network.
    """

    __slots__ = ("facts", "local", "name")

    def __init__(self, fd: int, facts: FileFacts, name: bytes, local: bool) -> None:
        super().__init__(fd)
        self.facts = facts
        self.name = name
        self.local = local

    def require_empty(self) -> None:
        """
        Some files of procfs and of FUSE have content, and announce that they have none.  Blocks.

        :raise ReadFailed: this is such a file, so its length is not known; it is closed.
        """
        try:
            if not os.pread(self.fd, 1, 0) or os.fstat(self.fd).st_size:
                return
        except OSError as error:
            self.close()
            raise ReadFailed from error
        self.close()
        raise ReadFailed

    def release(self, run_in_thread: Callable[..., Deferred[Any]], owner: Hashable) -> None:
        """
        Close it without waiting.

        :param run_in_thread: calls a function in a thread, as `Threads.run
            <chatfiles.runtime.threads.Threads.run>`.
        :param owner: whose thread it uses, if the file is not on a disk of this machine.
        """
        if self.local:
            self.close()
        else:
            closing = run_in_thread(self.close, owner=owner, refusable=False)
            closing.addErrback(lambda _: None)

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
