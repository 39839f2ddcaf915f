"""
The interface of a workspace's files.
"""

from __future__ import annotations

from zope.interface import Interface

from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.workspace.files.open_file import OpenFile

__all__ = ["IFileStore"]

# zope.interface methods have no self.
# ruff: noqa: N805


class IFileStore(Interface):
    """The files of a workspace, by virtual path."""

    def open(path: VirtualPath) -> OpenFile:
        """
        Open the regular file that *path* names, without following any symlink.  Every operation
        that reads a path uses this method.  Blocks: call it in a thread.

        :raise chatfiles.errors.NotFound: the file is missing, its parent is a file, or a deny rule
            matches the path.
        :raise chatfiles.errors.NotARegularFile: it is not a regular file.
        :raise chatfiles.errors.Forbidden: the role may not read it.
        :raise chatfiles.errors.ReadFailed: the root is missing, or there was an I/O error.
        :raise chatfiles.errors.Unavailable: there are no free descriptors, or no memory.
        """

    def open_at_once(path: VirtualPath) -> OpenFile:
        """
        Like `open`, with the same result, if the kernel has all it needs in memory.  Never blocks.

        :raise chatfiles.posix.openat2.WouldWait: the kernel does not; use `open` in a thread.
        """
