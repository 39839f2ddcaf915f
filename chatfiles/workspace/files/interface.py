"""
The interface of a workspace's files.
"""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import Interface

from chatfiles.model import FileFacts
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.workspace.files.open_directory import Found, OpenDirectory
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

    def open_descriptor_at_once(path: VirtualPath) -> tuple[int, FileFacts]:
        """
        As `open_at_once`, with fewer objects, for the reactor thread alone.

        :return: a descriptor, to be closed after use, and the file's facts.
        """

    def open_directory(path: VirtualPath) -> OpenDirectory:
        """
        Open the directory that *path* names, which may be a root, to list it and to open what is in
        it.  No symlink is followed.  Blocks: call it in a thread.

        :raise chatfiles.errors.NotFound: it is missing, its parent is a file, or a deny rule or its
            inode hides it.
        :raise chatfiles.errors.NotADirectory: it is not a directory, or the path has a symlink.
        :raise chatfiles.errors.ChatfilesError: otherwise as `open`.
        """

    def look(path: VirtualPath) -> Found:
        """
        Look at what *path* names, which may be anything.  Only a file or directory is opened, to
        know whether it can be.  Blocks: call it in a thread.

        :raise chatfiles.errors.NotFound: it is missing, its parent is a file, or a deny rule or its
            inode hides it.
        :raise chatfiles.errors.NotARegularFile: the path has a symlink before its end.
        :raise chatfiles.errors.ChatfilesError: otherwise as `open`.
        """

    def roots() -> Sequence[bytes]:
        """:return: the roots that are configured and not hidden, in the order of `ROOTS`."""

    def is_available(root: bytes) -> bool:
        """
        Blocks: call it in a thread.

        :param root: one of `roots`.
        :return: whether its directory can be opened.
        :raise chatfiles.errors.Unavailable: there are no free descriptors, or no memory.
        """
