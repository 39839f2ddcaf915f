"""
The digests of the versions that were used last.
"""

from __future__ import annotations

from collections import OrderedDict

from chatfiles.model import FileFacts

__all__ = ["DigestCache"]


class DigestCache:
    """
    Keeps digests in memory, by version.

    :param most: the maximum number of digests.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._digests: OrderedDict[FileFacts, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._digests)

    def get(self, facts: FileFacts) -> bytes | None:
        """:return: the digest of this version, 32 bytes; ``None`` if it is not known."""
        digest = self._digests.get(facts)
        if digest is not None:
            self._digests.move_to_end(facts)
        return digest

    def put(self, facts: FileFacts, digest: bytes) -> None:
        """Keep the digest of a version until *most* other ones have been used after it."""
        self._digests[facts] = digest
        self._digests.move_to_end(facts)
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)
