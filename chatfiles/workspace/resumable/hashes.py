"""
The SHA-256 of resumable uploads, as far as they have come.  It cannot be stored in a file.
"""

from __future__ import annotations

import hashlib
from threading import Lock
from typing import Any, Final

__all__ = ["RunningHashes"]

#: The most uploads whose hash is kept; the file of another one is read again when it is complete.
_MOST: Final = 256


class RunningHashes:
    """Remembers the latest hashes.  Safe to use from several threads."""

    def __init__(self) -> None:
        self._hashes: dict[str, tuple[int, Any]] = {}
        self._lock = Lock()

    def take(self, upload_id: str, offset: int) -> Any:
        """
        :param offset: the bytes of the upload.
        :return: the hash of these bytes, to be continued; ``None`` if it is not known.
        """
        with self._lock:
            known, found = self._hashes.pop(upload_id, (-1, None))
        if offset == 0:
            return hashlib.sha256()
        return found if known == offset else None

    def put(self, upload_id: str, offset: int, value: Any) -> None:
        """
        :param offset: the bytes of the upload.
        :param value: their hash.
        """
        with self._lock:
            self._hashes[upload_id] = offset, value
            while len(self._hashes) > _MOST:
                del self._hashes[next(iter(self._hashes))]
