"""
Takes bytes from the source of an upload, and computes their digest.
"""

from __future__ import annotations

import hashlib
from functools import partial

from chatfiles.client.core.progress import Progress
from chatfiles.client.core.steps import Emit, Pull, Steps, local
from chatfiles.client.local.source import FileSource, Source

__all__ = ["BLOCK", "Supply"]

#: Maximum bytes of a piece.
BLOCK = 256 * 1024


class Supply:
    """
    The bytes of one file.

    :param source: has them.
    :param progress: is notified of those that are sent.
    :ivar size: how many there are; ``None`` if that is not known before the end.
    :ivar seekable: whether they can be taken again.
    :ivar complete: whether all have been sent, or are being sent.
    :ivar taken: how many have been taken.
    """

    def __init__(self, source: Source, progress: Progress) -> None:
        self._source = source
        self._progress = progress
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._rest = memoryview(b"")
        self.size = source.size
        self.seekable = source.size is not None
        self.complete = False
        self.taken = 0

    @property
    def sha256(self) -> str:
        """The digest of the bytes that were taken, in hexadecimal digits."""
        return self._digest.hexdigest()

    def take(self, limit: int = BLOCK) -> Steps[bytes]:
        """
        :return: at most *limit* bytes; none at the end.
        :raise OSError: the file cannot be read, or has become shorter.
        """
        if isinstance(self._source, FileSource):
            left = BLOCK if self.size is None else self.size - self.taken
            piece = yield from local(partial(self._source.read, min(limit, left)))
            if not piece and self.taken < (self.size or 0):
                raise OSError("the file became shorter while it was uploaded")
        else:
            piece = yield from self._next(limit)
        self.taken += len(piece)
        self._hash(piece)
        return piece

    def seek(self, offset: int) -> Steps[None]:
        """Take the bytes behind *offset* next; the file is `seekable`."""
        assert isinstance(self._source, FileSource)
        yield from local(partial(self._source.seek, offset))
        self.taken = offset

    def pieces(self) -> Steps[None]:
        """:return: the operation that emits all bytes that follow."""
        while piece := (yield from self.take()):
            self.complete = self.taken == self.size
            yield Emit(piece)
            self.report(self.taken)
        self.complete = True

    def report(self, sent: int) -> None:
        """The first *sent* bytes have been sent."""
        self._progress.at(sent, self.size)

    def _next(self, limit: int) -> Steps[bytes]:
        assert not isinstance(self._source, FileSource)
        while not self._rest:
            piece = yield Pull(self._source.iterator)
            if piece is None:
                return b""
            self._rest = memoryview(bytes(piece))
        piece, self._rest = bytes(self._rest[:limit]), self._rest[limit:]
        return piece

    def _hash(self, piece: bytes) -> None:
        """Take each byte once into the digest, also if it is taken again from the file."""
        new = self.taken - self._hashed
        if new > 0:
            self._digest.update(piece[len(piece) - new :])
            self._hashed = self.taken
