"""
An open file, which is served from its descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.defer import Deferred

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
