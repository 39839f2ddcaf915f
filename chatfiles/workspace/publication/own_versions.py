"""
Remembers the versions of files that the role itself has written.

The entity tag of a file is weak for a second after it was written, because the next write could
have the same time (reference/downloads, "Headers").  A version that the role has written under its
own lock is known to be the only one, so its tag can be strong at once (reference/writes,
"Conditions").
"""

from __future__ import annotations

import os
from typing import Final

from chatfiles.model import FileFacts
from chatfiles.rules.conditional_requests import SETTLED_NS, WriteConditions, etag

__all__ = ["OwnVersions"]

#: Versions that are remembered, and bytes of each: a strong entity tag.  A version that is
#: forgotten too early only has a weak tag for the rest of its second.
_MOST: Final = 4096
_SIZE: Final = 34
#: Where they begin in the file.
_AT: Final = 4 << 20


class OwnVersions:
    """
    The latest versions, in a file that all processes of the role share.

    :param fd: the file, open for reading and writing.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def remember(self, facts: FileFacts) -> bytes:
        """
        :param facts: of a file that the role has written.
        :return: its strong entity tag.
        """
        tag = _strong(facts)
        os.pwrite(self._fd, tag, _place(tag))
        return tag

    def allow(self, conditions: WriteConditions, facts: FileFacts | None, now_ns: int) -> bool:
        """
        :param conditions: of a request.
        :param facts: of the file that it would change; ``None`` if there is none.
        :param now_ns: nanoseconds since the epoch.
        :return: whether the conditions hold.
        """
        if facts is not None and self._include(facts):
            now_ns = max(now_ns, facts.mtime_ns + SETTLED_NS)
        return conditions.allow(facts, now_ns)

    def _include(self, facts: FileFacts) -> bool:
        tag = _strong(facts)
        return os.pread(self._fd, _SIZE, _place(tag)) == tag


def _strong(facts: FileFacts) -> bytes:
    return etag(facts, facts.mtime_ns + SETTLED_NS)


def _place(tag: bytes) -> int:
    return _AT + int(tag[1:9], 16) % _MOST * _SIZE
