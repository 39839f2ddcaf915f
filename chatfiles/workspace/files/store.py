"""
Opens the files of a workspace by virtual path.  Every path from a client is opened here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping

from zope.interface import implementer

from chatfiles.errors import Forbidden, NotARegularFile, ReadFailed, Unavailable
from chatfiles.model import FileFacts
from chatfiles.posix.filesystems import is_on_disk
from chatfiles.posix.openat2 import Mechanism, WouldWait, by_cache
from chatfiles.rules.virtual_paths import ROOTS, VirtualPath
from chatfiles.workspace.files.cached_directory import CachedDirectory
from chatfiles.workspace.files.credential_inodes import CredentialInodes
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.interface import IFileStore
from chatfiles.workspace.files.open_beneath import (
    file_not_found,
    open_directory,
    open_regular,
    refusal,
)
from chatfiles.workspace.files.open_file import OpenFile
from chatfiles.workspace.files.path_aliases import PathAliases

__all__ = ["FileStore"]


class _Root:
    """
    The directory of one root.  It is opened again for every file, because it may be replaced or
    appear later.

    If its path has a symlink when the role starts, the operator made it, and symlinks there are
    followed from then on.  Otherwise none is followed later: a user who can write beside a root
    must not be able to redirect it.

    :param root: its name.
    :ivar path: its directory, absolute.
    :ivar expected: whether the directory must exist: it existed before, or the operator configured
        it.  If it is missing then, requests fail with 500.  A root that is not expected, such as
        ``/plugins`` on a machine without plugins, has no files.
    """

    __slots__ = ("_near", "_plain", "expected", "path")

    def __init__(self, root: bytes, directory: bytes) -> None:
        self.path = os.path.abspath(directory)
        self._plain = os.path.realpath(self.path) == self.path
        self._near = CachedDirectory(self.path)
        self.expected = self.path != root or os.path.isdir(self.path)

    def open(self, mechanism: Mechanism | None) -> int:
        """:raise OSError: it is missing, or not a directory.  Blocks."""
        if self._plain:
            fd = open_directory(self.path, mechanism=mechanism)
        else:
            fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.expected = True
        return fd

    def learn(self, fd: int, file_fd: int) -> None:
        """
        Find out whether the next file may be opened from the kernel's cache.  Blocks; never fails.

        :param fd: the directory, open.
        :param file_fd: a regular file beneath it, open.
        """
        if self._plain:
            self._near.learn(fd, file_fd)

    def open_at_once(self) -> int:
        """
        :raise OSError: as `open`.
        :raise WouldWait: it cannot be opened from the kernel's cache.
        """
        return self._near.open_at_once()


@implementer(IFileStore)
class FileStore:
    """
    The files beneath the roots.

    Hard links are served like any file, except links to the role's own credentials.

    :param roots: root (one of `ROOTS`) → directory; a relative one counts from the current
        directory.  A root that is not given has no files.
    :param deny: paths that are never served.
    :param credentials: paths of the role's credential files.  Their inodes are never served, and
        the deny rules for ``/configs`` apply to their directories too.
    :param mechanism: how paths are resolved (`chatfiles.posix.openat2`), for tests.
    :raise ValueError: a root is not one of `ROOTS`.
    """

    def __init__(
        self,
        roots: Mapping[bytes, str | bytes],
        deny: DenyRules,
        credentials: Iterable[str | bytes] = (),
        *,
        mechanism: Mechanism | None = None,
    ) -> None:
        for root in roots:
            if root not in ROOTS:
                raise ValueError(f"not a root: {root!r}")
        self._roots = {root: _Root(root, os.fsencode(path)) for root, path in roots.items()}
        self._deny = deny
        kept = [os.path.abspath(os.fsencode(path)) for path in credentials]
        self._credentials = CredentialInodes(kept)
        self._aliases = PathAliases(
            [(name, os.path.realpath(root.path)) for name, root in self._roots.items()],
            [(b"/configs", os.path.realpath(os.path.dirname(path))) for path in kept],
        )
        self._mechanism = mechanism

    def open(self, path: VirtualPath) -> OpenFile:
        """See `IFileStore.open`; a root that is not configured is a missing file."""
        root = self._allowed_root(path)
        root_fd = self._open_root(root)
        try:
            fd, facts = open_regular(root_fd, path.segments, mechanism=self._mechanism)
            file = OpenFile(fd, FileFacts.of(facts), path.name, is_on_disk(fd))
            root.learn(root_fd, fd)
        finally:
            os.close(root_fd)
        return _unless(self._credentials.include, file, facts)

    def open_at_once(self, path: VirtualPath) -> OpenFile:
        """See `IFileStore.open_at_once`."""
        root = self._allowed_root(path)
        try:
            root_fd = root.open_at_once()
        except OSError:
            raise WouldWait from None  # `open` reports it
        try:
            fd, facts = open_regular(root_fd, path.segments, mechanism=by_cache)
        finally:
            os.close(root_fd)
        file = OpenFile(fd, FileFacts.of(facts), path.name, local=True)
        return _unless(self._credentials.include_at_once, file, facts)

    def _allowed_root(self, path: VirtualPath) -> _Root:
        """:return: the root of the path, if no rule hides the path."""
        root = self._roots.get(path.root)
        if root is None or self._deny.denies(path.raw):
            raise file_not_found()
        if any(map(self._deny.denies, self._aliases.of(path.root, path.raw))):
            raise file_not_found()
        if not path.segments:
            raise NotARegularFile()
        return root

    def open_root(self, root: bytes) -> int:
        """
        :param root: one of `ROOTS`.
        :return: a descriptor of its directory, which the caller closes.
        :raise NotFound: the root is not configured.
        :raise ReadFailed: its directory is missing.
        """
        if root not in self._roots:
            raise file_not_found()
        return self._open_root(self._roots[root])

    def missing(self) -> list[tuple[bytes, bytes]]:
        """:return: the roots whose directories should exist but do not, with those directories."""
        return [
            (name, root.path)
            for name, root in self._roots.items()
            if root.expected and not os.path.isdir(root.path)
        ]

    def close(self) -> None:
        """Release what the store keeps open.  Opened files stay open.  Idempotent."""
        self._credentials.close()

    def _open_root(self, root: _Root) -> int:
        try:
            return root.open(self._mechanism)
        except OSError as error:
            if error.errno == errno.ENOENT and not root.expected:
                raise file_not_found() from error
            refused = refusal(error)
            # The operator configured the root, so a missing directory is not the client's 404.
            ours = isinstance(refused, (Forbidden, Unavailable))
            raise (refused if ours else ReadFailed()) from error


def _unless(
    include: Callable[[os.stat_result], bool], file: OpenFile, facts: os.stat_result
) -> OpenFile:
    """
    :param include: whether these facts belong to one of the role's own secrets.
    :return: the file, unless it is such a secret.
    """
    try:
        if include(facts):
            raise file_not_found()
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise refusal(error) from error
        raise
    return file
