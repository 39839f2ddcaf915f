"""
Opens the files of a workspace by virtual path.  No other module opens a path from a client.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from zope.interface import implementer

from chatfiles.errors import (
    NOT_NOW,
    Forbidden,
    NotADirectory,
    NotARegularFile,
    ReadFailed,
    Unavailable,
    UnknownLength,
)
from chatfiles.model import FileFacts
from chatfiles.posix.filesystems import is_on_disk
from chatfiles.posix.openat2 import Mechanism
from chatfiles.rules.virtual_paths import ROOTS, VirtualPath
from chatfiles.workspace.files.credential_inodes import CredentialInodes
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.interface import IFileStore
from chatfiles.workspace.files.open_beneath import (
    file_not_found,
    is_a_directory,
    open_anything,
    open_for_listing,
    open_regular,
    refusal,
)
from chatfiles.workspace.files.open_directory import Found, OpenDirectory, look_at
from chatfiles.workspace.files.open_file import OpenFile
from chatfiles.workspace.files.path_aliases import PathAliases
from chatfiles.workspace.files.root import Root

__all__ = ["FileStore"]

#: Represents the credentials' directories among the roots whose directories are not known yet.
_CREDENTIALS = b""
#: Paths whose roots are remembered, after all rules allowed them; and the bytes of the longest.
_PATHS, _SHORT = 2048, 256


@implementer(IFileStore)
class FileStore:
    """
    The files beneath the roots.

    Hard links are served like any file, except links to the role's own credentials.

    :param roots: root (one of `ROOTS`) → directory, which may be relative to the current directory.
        A root that is not given has no files.
    :param deny: paths that are never served.
    :param credentials: paths of the role's credential files.  Their inodes are never served, and
        the deny rules for ``/configs`` apply to their directories too.
    :param mechanism: how paths are resolved (`chatfiles.posix.openat2`), for tests.
    :param find: whether to find the directories of the roots and credentials now.  This blocks.
        Otherwise, call `find_root` in a thread for each root, and `find_credentials` once; files of
        a root are served after it has been found.
    :raise ValueError: a root is not one of `ROOTS`.
    """

    def __init__(
        self,
        roots: Mapping[bytes, str | bytes],
        deny: DenyRules,
        credentials: Iterable[str | bytes] = (),
        *,
        mechanism: Mechanism | None = None,
        find: bool = True,
    ) -> None:
        for root in roots:
            if root not in ROOTS:
                raise ValueError(f"not a root: {root!r}")
        self._roots = {root: Root(root, os.fsencode(path)) for root, path in roots.items()}
        self._deny = deny
        self._credentials = CredentialInodes(credentials)
        self._credential_places: list[bytes] | None = None
        self._mechanism = mechanism
        self._lock = threading.Lock()
        self._update_places()
        if find:
            for each in self._roots.values():
                each.find()
            self.find_credentials()

    def find_root(self, root: bytes) -> None:
        """Find the directory of *root*, unless it is known.  Blocks."""
        if self._roots[root].real_path is None:
            self._roots[root].find()
            self._update_places()

    def find_credentials(self) -> None:
        """Find the directories of the credential files, and the files' inodes.  Blocks."""
        directories = self._credentials.directories
        self._credential_places = [os.path.realpath(directory) for directory in directories]
        self._update_places()
        self._credentials.refresh()

    def _update_places(self) -> None:
        with self._lock:
            found = {name: root.real_path for name, root in self._roots.items()}
            places = self._credential_places
            self._aliases = PathAliases(
                [(name, place) for name, place in found.items() if place is not None],
                [(b"/configs", place) for place in places or ()],
            )
            # Set this last: a thread that sees a root as known must also see its aliases.
            unknown = {name for name, place in found.items() if place is None}
            concerned = {name for name in unknown if self._deny.concern(name)}
            self._unknown = concerned | ({_CREDENTIALS} if places is None else set())
            self._known_root = lru_cache(_PATHS)(self._find_allowed_root)

    def open(self, path: VirtualPath) -> OpenFile:
        """See `IFileStore.open`.  A path in a root that is not configured is a missing file."""
        if path.root in self._roots:
            self.find_root(path.root)
        root = self._allowed_root(path)
        root_fd = self._open_root(root)
        try:
            file = self._open_regular(root_fd, path.segments)
            root.examine(root_fd, file.fd)
        finally:
            os.close(root_fd)
        return file

    def open_at_once(self, path: VirtualPath) -> OpenFile:
        """See `IFileStore.open_at_once`."""
        fd, facts = self.open_descriptor_at_once(path)
        return OpenFile(fd, facts, path.name, local=True)

    def open_descriptor_at_once(self, path: VirtualPath) -> tuple[int, FileFacts]:
        """See `IFileStore.open_descriptor_at_once`."""
        fd, facts = self._allowed_root(path).open_file_at_once(path.segments)
        try:
            if self._credentials.include_at_once(facts):
                raise file_not_found()
        except BaseException:
            os.close(fd)
            raise
        return fd, FileFacts.of(facts)

    def open_directory(self, path: VirtualPath) -> OpenDirectory:
        """See `IFileStore.open_directory`."""
        root_fd = self._open_root(self._visible_root(path))
        try:
            return self._open_directory(root_fd, path.segments, path)
        finally:
            os.close(root_fd)

    def look(self, path: VirtualPath) -> Found:
        """See `IFileStore.look`."""
        handle = self._open_root(self._visible_root(path))
        if path.segments:
            root_fd = handle
            try:
                handle = open_anything(root_fd, path.segments, mechanism=self._mechanism)
            finally:
                os.close(root_fd)
        return look_at(handle, path.name, self._credentials.include)

    def roots(self) -> Sequence[bytes]:
        """See `IFileStore.roots`."""
        return [root for root in ROOTS if root in self._roots and not self.is_hidden(root, root)]

    def is_available(self, root: bytes) -> bool:
        """See `IFileStore.is_available`."""
        self.find_root(root)
        try:
            fd = self._roots[root].open(self._mechanism)
            try:
                os.fstat(fd)  # the file system itself has to respond
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno in NOT_NOW:
                raise refusal(error) from error
            return False
        return True

    # -- for `Targets`

    def open_root_of(self, path: VirtualPath) -> int:
        """
        Open the root of a path that a client wants to change.  Blocks.

        :return: a descriptor of its directory, to be closed after use.
        :raise NotFound: the root is not configured, or a rule denies the path.
        :raise chatfiles.errors.ChatfilesError: the root cannot be opened.
        """
        if path.root in self._roots:
            self.find_root(path.root)
        return self._open_root(self._root_unless(self._deny.denies, path))

    def may_deny_below(self, path: VirtualPath) -> bool:
        """
        :return: whether a rule may deny something below *path* because of where it is.  A rule that
            begins with ``/**/`` applies everywhere.
        """
        names = (path.raw, *self._aliases.of(path.root, path.raw))
        below = self._aliases.lead_below(path.root, path.raw)
        return below or any(map(self._deny.concern_below, names))

    def require_no_credential(self, facts: os.stat_result) -> None:
        """
        :param facts: of something that a client wants to change.
        :raise NotFound: it is one of the role's own credentials.
        """
        try:
            if self._credentials.include(facts):
                raise file_not_found()
        except OSError as error:
            raise refusal(error) from error

    # -- for `OpenDirectory`

    def is_hidden(self, root: bytes, raw: bytes) -> bool:
        """See `chatfiles.workspace.files.open_directory.StoreAccess`, also for the next methods."""
        return self._deny.hides(raw) or any(map(self._deny.hides, self._aliases.of(root, raw)))

    def may_hide_below(self, path: VirtualPath) -> bool:
        """See `is_hidden`."""
        names = (path.raw, *self._aliases.of(path.root, path.raw))
        below = self._aliases.lead_below(path.root, path.raw)
        return below or any(map(self._deny.concern, names))

    def is_credential(self, facts: os.stat_result) -> bool:
        """See `is_hidden`."""
        return self._credentials.include_recent(facts)

    def open_in(self, directory_fd: int, path: VirtualPath) -> OpenFile:
        """See `is_hidden`."""
        names = (path.raw, *self._aliases.of(path.root, path.raw))
        if any(map(self._deny.denies, names)):
            raise file_not_found()
        return self._open_regular(directory_fd, path.segments[-1:])

    def open_directory_in(self, directory_fd: int, path: VirtualPath) -> OpenDirectory:
        """See `is_hidden`."""
        if self.is_hidden(path.root, path.raw):
            raise file_not_found()
        return self._open_directory(directory_fd, path.segments[-1:], path)

    def _open_regular(self, directory_fd: int, segments: Sequence[bytes]) -> OpenFile:
        fd, facts = open_regular(directory_fd, segments, mechanism=self._mechanism)
        file = OpenFile(fd, FileFacts.of(facts), segments[-1], is_on_disk(fd))
        if not facts.st_size:
            _require_empty(file)
        return _unless(self._credentials.include, file, facts)

    def _open_directory(
        self, directory_fd: int, segments: Sequence[bytes], path: VirtualPath
    ) -> OpenDirectory:
        try:
            fd = open_for_listing(directory_fd, segments, mechanism=self._mechanism)
        except NotADirectory:
            self._require_no_credential(directory_fd, segments)
            raise
        return OpenDirectory(fd, path, self)

    def _require_no_credential(self, directory_fd: int, segments: Sequence[bytes]) -> None:
        """:raise NotFound: a credential lies there, so the client must not learn that it exists."""
        try:
            handle = open_anything(directory_fd, segments, mechanism=self._mechanism)
        except NotARegularFile:
            return  # a symlink is on the way
        try:
            if self._credentials.include(os.fstat(handle)):
                raise file_not_found()
        except OSError as error:
            raise refusal(error) from error
        finally:
            os.close(handle)

    # -- which root a path is in

    def _allowed_root(self, path: VirtualPath) -> Root:
        """As `_find_allowed_root`; what was found for a short path is remembered."""
        find = self._known_root if len(path.raw) <= _SHORT else self._find_allowed_root
        return find(path)

    def _find_allowed_root(self, path: VirtualPath) -> Root:
        """
        :return: the root of the path, if no rule denies the path.
        :raise Unavailable: a directory is not known yet, so the path may lead to a hidden file.
        """
        root = self._root_unless(self._deny.denies, path)
        if not path.segments:
            raise is_a_directory()
        return root

    def _visible_root(self, path: VirtualPath) -> Root:
        """As `_find_allowed_root`, for a path that is listed.  Blocks."""
        if path.root in self._roots:
            self.find_root(path.root)
        return self._root_unless(self._deny.hides, path)

    def _root_unless(self, is_hidden: Callable[[bytes], bool], path: VirtualPath) -> Root:
        root = self._roots.get(path.root)
        if root is None or is_hidden(path.raw):
            raise file_not_found()
        if self._unknown - {path.root}:
            raise Unavailable("another root does not respond — retry later", retry_after=30)
        if any(map(is_hidden, self._aliases.of(path.root, path.raw))):
            raise file_not_found()
        return root

    def open_root(self, root: bytes) -> int:
        """
        :param root: one of `ROOTS`.
        :return: a descriptor of its directory, to be closed after use.
        :raise NotFound: the root is not configured.
        :raise ReadFailed: its directory is missing.
        """
        if root not in self._roots:
            raise file_not_found()
        self.find_root(root)
        return self._open_root(self._roots[root])

    def why_missing(self, root: bytes) -> str:
        """
        Check the directory of a root.  Blocks.

        :param root: one of the configured roots.
        :return: why the directory cannot be opened although it should exist; otherwise empty.
        """
        place = self._roots[root]
        if not place.expected or os.path.isdir(place.path):
            return ""
        try:
            os.close(os.open(place.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            return os.strerror(error.errno or 0)
        return ""  # it has just appeared

    def close(self) -> None:
        """Release what the store keeps open.  Opened files stay open.  Idempotent."""
        self._credentials.close()

    def _open_root(self, root: Root) -> int:
        try:
            return root.open(self._mechanism)
        except OSError as error:
            if error.errno == errno.ENOENT and not root.expected:
                raise file_not_found() from error
            refused = refusal(error)
            # The operator configured the root, so a missing directory is not the client's 404.
            ours = isinstance(refused, (Forbidden, Unavailable))
            failed = refused if ours else ReadFailed()
            failed.place = root.path.decode("utf-8", "backslashreplace")
            raise failed from error


def _require_empty(file: OpenFile) -> None:
    """
    Some files of procfs and of FUSE have content, and announce that they have none.

    :raise UnknownLength: this is such a file.
    :raise ReadFailed: an I/O error.
    """
    try:
        if not os.pread(file.fd, 1, 0) or os.fstat(file.fd).st_size:
            return
    except OSError as error:
        file.close()
        raise ReadFailed from error
    file.close()
    raise UnknownLength


def _unless(
    include: Callable[[os.stat_result], bool], file: OpenFile, facts: os.stat_result
) -> OpenFile:
    """
    :param include: returns whether the facts belong to one of the role's own secrets.
    :return: the file.
    :raise chatfiles.errors.NotFound: it is such a secret.
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
