"""
Publishes files at the places that clients name: creates a file, or replaces one in one step.

What stands at the target, and the conditions of the request, are checked twice: before the body of
the request, and again when the complete file is published.  The role's own changes to a directory
wait for each other between that last look and the change.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Final, NamedTuple

from chatfiles.errors import PreconditionFailed
from chatfiles.model import FileFacts
from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.workspace.files.write_targets import Target
from chatfiles.workspace.publication.directory_locks import DirectoryLocks
from chatfiles.workspace.publication.own_versions import OwnVersions
from chatfiles.workspace.publication.unpublished_file import UnpublishedFile

__all__ = ["Published", "Publisher"]

#: The permission bits that a replaced file passes on: never setuid, setgid or sticky.
PERMISSIONS: Final = 0o777
#: Attempts, in case another process creates the file at the same moment.
_TRIES: Final = 8


class Published(NamedTuple):
    """
    A file that has its name.

    :param facts: of the file.
    :param etag: its strong entity tag.
    :param is_new: whether there was no file of this name.
    """

    facts: FileFacts
    etag: bytes
    is_new: bool


class Publisher:
    """
    :param now_ns: returns the time of day in nanoseconds.
    :param shared_fd: a file that all processes of the role have open; ``None`` for one process.
    """

    def __init__(self, now_ns: Callable[[], int], shared_fd: int | None = None) -> None:
        fd = os.memfd_create("chatfiles-writes") if shared_fd is None else shared_fd
        self._now_ns = now_ns
        self._versions = OwnVersions(fd)
        self.locks = DirectoryLocks(fd)

    def require(self, conditions: WriteConditions, facts: os.stat_result | None) -> None:
        """
        :param facts: of what the request would change; ``None`` if nothing is there.
        :raise PreconditionFailed: a condition does not hold.
        """
        known = None if facts is None else FileFacts.of(facts)
        if not self._versions.allow(conditions, known, self._now_ns()):
            raise PreconditionFailed

    def mode_for(self, mode: int | None, replaced: os.stat_result | None) -> int:
        """
        :param mode: that the client wants; ``None`` if it does not say.
        :param replaced: the facts of the file that is replaced.
        :return: the permission bits of the new file.
        """
        if mode is not None:
            return mode
        return usual_mode() if replaced is None else replaced.st_mode & PERMISSIONS

    def publish(
        self,
        target: Target,
        file: UnpublishedFile,
        conditions: WriteConditions,
        mode: int | None = None,
    ) -> Published:
        """
        Give a complete file the name of its target.  Blocks.

        :param target: a name in the directory of *file*.
        :param file: is complete.
        :param conditions: of the request.
        :param mode: see `mode_for`.
        :return: the file.
        :raise PreconditionFailed: a condition does not hold any more.
        :raise NotARegularFile: something else has the name now.
        :raise OSError: it could not be named.
        """
        with self.locks.of(target.directory_fd):
            is_new = self._name(target, file, conditions, mode)
            published = self.published(FileFacts.of(os.fstat(file.fd)), is_new)
        target.sync()
        target.keep_directories()
        return published

    def published(self, facts: FileFacts, is_new: bool) -> Published:
        """
        Remember a version that the role has written.

        :param facts: of the file.
        :return: the file.
        """
        return Published(facts, self._versions.remember(facts), is_new)

    def _name(
        self, target: Target, file: UnpublishedFile, conditions: WriteConditions, mode: int | None
    ) -> bool:
        """:return: whether there was no file of the target's name."""
        for _ in range(_TRIES):
            there = target.look_at_file()
            self.require(conditions, there)
            file.set_mode(self.mode_for(mode, there))
            try:
                if there is not None:
                    file.replace(target.name)
                    return False
                with suppress(FileExistsError):
                    file.publish(target.name)
                    return True
            except OSError:
                file.set_mode(stat.S_IRUSR | stat.S_IWUSR)  # it may be published later
                raise
        raise PreconditionFailed


@cache
def usual_mode() -> int:
    """:return: the permission bits of a new file: 0644 without those of the umask."""
    with suppress(OSError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return 0o644 & ~int(line.split()[1], 8)
    return stat.S_IRUSR | stat.S_IWUSR
