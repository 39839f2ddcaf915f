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
        that reads a path goes through here.  Blocks: call it in a thread.

        :raise chatfiles.errors.NotFound: missing, below a file, or on the deny list.
        :raise chatfiles.errors.NotARegularFile: not a regular file.
        :raise chatfiles.errors.Forbidden: the role may not read it.
        :raise chatfiles.errors.ReadFailed: the root is gone, or an I/O error.
        :raise chatfiles.errors.Unavailable: out of descriptors or memory.
        """

    def open_at_once(path: VirtualPath) -> OpenFile:
        """
        Like `open`, with the same result, if the kernel has all that is needed in memory.  Never
        blocks.

        :raise chatfiles.posix.openat2.WouldWait: it is not in memory; use `open` in a thread.
        """
