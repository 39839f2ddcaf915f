"""
Passes large amounts of bytes from one socket to another with ``splice``: the kernel moves them, and
few come into this process.
"""

from __future__ import annotations

from typing import Any, Final

from chatfiles.streams.pipe import Pipe, Pipes
from chatfiles.streams.transports import is_plain, unsent_here

__all__ = ["BulkMover"]

#: Bytes that are moved at once; what a full socket does not take of them has to be copied.
_STEP: Final = 128 * 1024
#: Bytes after which other connections have their turn.
_MOST: Final = 1024 * 1024


class BulkMover:
    """
    Moves bytes with one pipe, which is empty between two calls.

    :param pipes: opens it.
    """

    def __init__(self, pipes: Pipes | None = None) -> None:
        self._pipes = pipes or Pipes()
        self._pipe: Pipe | None = None

    def works(self, source: Any, target: Any) -> bool:
        """:return: whether bytes can be moved between these two transports."""
        if not (is_plain(source) and is_plain(target)):
            return False
        if self._pipe is None:
            self._pipe = self._pipes.open()
        return self._pipe is not None

    def move(self, source: Any, target: Any) -> None:
        """
        Move what has arrived, until there is no more, or the target takes no more.  If the source
        has ended or the target has failed, its transport will find that out itself.  If the source
        has failed, it is aborted: the kernel reports it once, and then as an end like any other.

        :param source: a transport, all of whose bytes were passed on up to now.
        :param target: another one.
        """
        pipe = self._pipe
        assert pipe is not None
        moved = 0
        try:
            while moved < _MOST and not unsent_here(target):
                moved += pipe.fill(source.getHandle(), _STEP) or _MOST
                pipe.drain(target.getHandle())
                if pipe.held:
                    target.write(pipe.take())
        except OSError as error:  # there is no more, or one of them has failed
            if pipe.held:
                target.write(pipe.take())
            elif isinstance(error, ConnectionError | TimeoutError):
                source.abortConnection()

    def close(self) -> None:
        """Close the pipe."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._pipes.close(pipe)
