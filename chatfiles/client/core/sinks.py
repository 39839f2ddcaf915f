"""
What receives the bytes of a file: memory, an iterator, a file of a name, or an open file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, Protocol

from chatfiles.client.core.errors import Changed
from chatfiles.client.core.steps import Emit, Response, Steps, local
from chatfiles.client.core.versions import Versions, is_strong
from chatfiles.client.local.part_file import PartFile

__all__ = ["MEMORY_LIMIT", "Buffer", "Destination", "Emitter", "NamedFile", "OpenFile"]

#: Maximum bytes that are read into memory.
MEMORY_LIMIT = 64 * 1024 * 1024


class Buffer:
    """
    Memory.

    :ivar data: the bytes.
    """

    def __init__(self) -> None:
        self.data = bytearray()

    def begin(self, versions: Versions, response: Response) -> Steps[None]:
        """:raise ValueError: more than `MEMORY_LIMIT` bytes are announced."""
        check_memory(versions.size)
        yield from ()

    def write(self, piece: bytes) -> Steps[None]:
        """:raise ValueError: more than `MEMORY_LIMIT` bytes have arrived."""
        self.data += piece
        check_memory(len(self.data))
        yield from ()

    def restart(self) -> Steps[None]:
        """See `Sink`."""
        self.data.clear()
        yield from ()


def check_memory(size: int | None) -> None:
    """:raise ValueError: *size* is more than `MEMORY_LIMIT`."""
    if size is not None and size > MEMORY_LIMIT:
        raise ValueError(
            f"more than {MEMORY_LIMIT} bytes are not read into memory; use stream or download"
        )


class Emitter:
    """
    The program, who iterates.

    :param chunk: maximum bytes of a piece.
    """

    def __init__(self, chunk: int) -> None:
        self._chunk = chunk

    def begin(self, versions: Versions, response: Response) -> Steps[None]:
        """See `Sink`."""
        yield from ()

    def write(self, piece: bytes) -> Steps[None]:
        """See `Sink`."""
        for begin in range(0, len(piece), self._chunk):
            yield Emit(piece[begin : begin + self._chunk])

    def restart(self) -> Steps[None]:
        """:raise Changed: the program has bytes that cannot be taken back."""
        yield from ()
        raise Changed("the file has changed, or the server cannot send the rest of it")


class Destination(Protocol):
    """A sink that keeps what it receives."""

    def begin(self, versions: Versions, response: Response) -> Steps[None]: ...
    def write(self, piece: bytes) -> Steps[None]: ...
    def restart(self) -> Steps[None]: ...

    def take(self) -> Steps[tuple[int, str | None]]:
        """:return: the bytes that an earlier call has left, and the validator of their version."""

    def sha256(self) -> str:
        """:return: the digest of all bytes, in hexadecimal digits."""

    def publish(self) -> Steps[None]:
        """Everything is there and right."""

    def reject(self) -> Steps[None]:
        """Everything is there, but wrong."""

    def close(self) -> None:
        """End, complete or not."""


class NamedFile:
    """
    A file that appears under its name when it is complete (`PartFile`).

    :param target: its path.
    """

    def __init__(self, target: str, *, hashes: bool) -> None:
        self._part = PartFile(target, hashes=hashes)
        self._is_ready = False

    def take(self) -> Steps[tuple[int, str | None]]:
        """See `Destination`."""
        size, etag = yield from local(self._part.take)
        return (size, etag) if size and is_strong(etag) else (0, None)

    def begin(self, versions: Versions, response: Response) -> Steps[None]:
        """See `Sink`."""
        continues = versions.received > 0
        if continues and not self._is_ready:
            yield from local(self._part.hash_taken)
        etag = versions.etag if is_strong(versions.etag) else None
        self._is_ready = True
        yield from local(partial(self._part.begin, etag, continues=continues))

    def write(self, piece: bytes) -> Steps[None]:
        """See `Sink`."""
        yield from local(partial(self._part.write, piece))

    def restart(self) -> Steps[None]:
        """See `Sink`: `begin` truncates the file."""
        yield from ()

    def sha256(self) -> str:
        """See `Destination`."""
        return self._part.sha256()

    def publish(self) -> Steps[None]:
        """See `Destination`."""
        yield from local(self._part.publish)

    def reject(self) -> Steps[None]:
        """See `Destination`."""
        yield from local(self._part.remove)

    def close(self) -> None:
        """See `Destination`."""
        self._part.close()


class OpenFile:
    """
    A binary file of the program, written from where it stands.

    :param file: open for writing.
    """

    def __init__(self, file: BinaryIO, *, hashes: bool) -> None:
        self._file = file
        self._start = file.tell() if _is_seekable(file) else None
        self._hashes = hashes
        self._digest = hashlib.sha256()

    def take(self) -> Steps[tuple[int, str | None]]:
        """See `Destination`: there is nothing."""
        yield from ()
        return 0, None

    def begin(self, versions: Versions, response: Response) -> Steps[None]:
        """See `Sink`."""
        yield from ()

    def write(self, piece: bytes) -> Steps[None]:
        """See `Sink`."""
        yield from local(partial(_write, self._file, piece))
        if self._hashes:
            self._digest.update(piece)

    def restart(self) -> Steps[None]:
        """:raise Changed: the file is not seekable."""
        if self._start is None:
            raise Changed("the file has changed, and what was written cannot be taken back")
        self._digest = hashlib.sha256()
        yield from local(self._rewind)

    def _rewind(self) -> None:
        assert self._start is not None
        self._file.seek(self._start)
        self._file.truncate()

    def sha256(self) -> str:
        """See `Destination`."""
        return self._digest.hexdigest()

    def publish(self) -> Steps[None]:
        """See `Destination`."""
        yield from local(self._file.flush)

    def reject(self) -> Steps[None]:
        """See `Destination`: the program has the bytes."""
        yield from ()

    def close(self) -> None:
        """See `Destination`: the program closes the file."""


def _is_seekable(file: BinaryIO) -> bool:
    seekable: Callable[[], bool] | None = getattr(file, "seekable", None)
    return seekable is not None and seekable()


def _write(file: BinaryIO, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        written = file.write(rest)
        rest = rest[len(rest) if written is None else written :]
