"""
An open directory, of which the names are listed and in which files are opened.

Everything in it is reached through its descriptor, so a path is resolved once.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from chatfiles.errors import NOT_NOW
from chatfiles.rules.entry_json import Kind, kind_of
from chatfiles.rules.name_folding import folded
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.streams.descriptor import Descriptor
from chatfiles.workspace.files.deny_rules import PARTIAL
from chatfiles.workspace.files.open_beneath import file_not_found, proc_path, refusal
from chatfiles.workspace.files.open_file import OpenFile
from chatfiles.workspace.files.reader import current_reader

__all__ = ["Found", "OpenDirectory", "look_at"]

_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})
_NAME = attrgetter("name")
#: How many names are read at once.
BATCH = 256
#: What can be read.  Anything else is never opened.
_READ = frozenset({Kind.FILE, Kind.DIRECTORY})


class Found(NamedTuple):
    """
    What lies at a name.

    :param name: the last segment of its path.
    :param facts: the result of ``lstat``; ``None`` if it could not be looked at.
    :param readable: whether the role may read it; true for what is never opened.
    :param error: why it could not be looked at or opened, as a text for clients; empty if it could.
    """

    name: bytes
    facts: os.stat_result | None
    readable: bool = True
    error: str = ""

    @property
    def kind(self) -> Kind:
        """What it is; `Kind.OTHER` if it could not be looked at."""
        return Kind.OTHER if self.facts is None else kind_of(self.facts.st_mode)


class StoreAccess(Protocol):
    """
    What a directory needs of the store, which decides what clients may see, and opens what they may
    read.
    """

    def is_hidden(self, root: bytes, raw: bytes) -> bool:
        """:return: whether a rule hides this virtual path, or another path of the same file."""

    def may_hide_below(self, path: VirtualPath) -> bool:
        """:return: whether `is_hidden` may be true of a path below this one."""

    def is_credential(self, facts: os.stat_result) -> bool:
        """
        :return: whether the facts are those of one of the role's own credentials.
        :raise OSError: this cannot be determined.
        """

    def open_in(self, directory_fd: int, path: VirtualPath) -> OpenFile:
        """Open the regular file at the last segment of *path*, as `IFileStore.open` does."""

    def open_directory_in(self, directory_fd: int, path: VirtualPath) -> OpenDirectory:
        """Open the directory at the last segment of *path*, as `IFileStore.open_directory` does."""


class OpenDirectory(Descriptor):
    """
    An open directory of a workspace.  Only the store, and this class, make one.

    Every method blocks, so it is used in threads: one at a time.  As a context manager, it closes
    itself at the end.

    :param fd: its descriptor, open for reading.
    :param path: its virtual path.
    :param store: where it was opened.
    """

    __slots__ = ("_may_hide", "_reader", "_store", "path")

    def __init__(self, fd: int, path: VirtualPath, store: StoreAccess) -> None:
        super().__init__(fd)
        self.path = path
        self._store = store
        self._may_hide = store.may_hide_below(path)
        self._reader = current_reader()

    def __enter__(self) -> OpenDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def names(self) -> Generator[bytes, None, None]:
        """As `batches`, but the generator yields one name at a time."""
        names = _each(self.batches())
        next(names)  # as below
        return names

    def batches(self) -> Generator[list[bytes], None, None]:
        """
        Read the names, in the order of the directory, without ``.`` and ``..``.

        :return: the names, up to `BATCH` at a time; some may be hidden, so `look` each one up.
            Close the generator before the directory, if it has not ended.
        :raise chatfiles.errors.ChatfilesError: they cannot be read.  The generator raises it, too.
        """
        path = proc_path(self.fd)  # gives bytes, and a position of its own
        try:
            scan: Any = os.scandir(self.fd if path is None else path)
        except OSError as error:
            raise refusal(error) from error
        each: Iterator[Any] = map(_NAME, scan)
        batches = _batches(scan, each if path is not None else map(os.fsencode, each))
        next(batches)  # from now on, closing the generator closes the scan
        return batches

    def look(self, name: bytes) -> Found | None:
        """
        Look at a name, without following a symlink.

        :param name: from `names`, or any other valid segment of a path.
        :return: what lies there; ``None`` if there is nothing, or it is hidden.
        :raise chatfiles.errors.Unavailable: 503, the process lacks resources.
        """
        if self.hides(name):
            return None
        try:
            facts = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            if stat.S_ISREG(facts.st_mode) and self._store.is_credential(facts):
                return None
        except OSError as error:
            return _not_found(name, error)
        readable = kind_of(facts.st_mode) not in _READ or self._reader.may_read(facts)
        return Found(name, facts, readable)

    def may_read(self, found: Found) -> bool:
        """
        :param found: what `look` has returned.
        :return: whether the role may read it: if its permission bits do not say so, because an
            access control list (``acl``) does.
        """
        if found.readable:
            return True
        # Old systems only guess what the effective ids may do.
        differ = (os.getuid(), os.getgid()) != (os.geteuid(), os.getegid())
        return os.access(found.name, os.R_OK, dir_fd=self.fd, effective_ids=differ)

    def hides(self, name: bytes) -> bool:
        """:return: whether a rule hides the name; `look` also hides inodes."""
        if not self._may_hide:
            return folded(name).startswith(PARTIAL)
        return self._store.is_hidden(self.path.root, self.path.raw + b"/" + name)

    def open_directory(self, name: bytes) -> OpenDirectory:
        """
        :param name: a valid segment of a path.
        :return: the directory of this name, to be closed after use.
        :raise chatfiles.errors.ChatfilesError: as `IFileStore.open_directory`.
        """
        return self._store.open_directory_in(self.fd, self.path.child(name))

    def open_file(self, name: bytes) -> OpenFile:
        """
        :param name: a valid segment of a path.
        :return: the regular file of this name, to be closed after use.
        :raise chatfiles.errors.ChatfilesError: as `IFileStore.open`.
        """
        return self._store.open_in(self.fd, self.path.child(name))


def _each(batches: Generator[list[bytes], None, None]) -> Generator[bytes, None, None]:
    with closing(batches):
        yield b""
        for batch in batches:
            yield from batch


def _batches(scan: Any, names: Iterator[bytes]) -> Generator[list[bytes], None, None]:
    """Take several names at once, so that the descriptor of a small directory is soon closed."""
    with scan:
        yield []
        while batch := _batch(names):
            if len(batch) < BATCH:
                scan.close()
            yield batch


def _batch(names: Iterator[bytes]) -> list[bytes]:
    """:return: the next names; fewer than `BATCH` at the end, or if the directory has vanished."""
    batch: list[bytes] = []
    try:
        batch.extend(islice(names, BATCH))  # keeps what came before an error
    except OSError as error:
        if error.errno not in _VANISHED:
            raise refusal(error) from error
    return batch


def look_at(handle: int, name: bytes, is_credential: Callable[[os.stat_result], bool]) -> Found:
    """
    Look at what a descriptor names, and at whether it can be opened.  Blocks.

    :param handle: an ``O_PATH`` descriptor, which is closed.
    :param name: its name.
    :param is_credential: returns whether facts are those of one of the role's own credentials.
    :return: what it is.
    :raise chatfiles.errors.NotFound: it is such a credential.
    :raise chatfiles.errors.ChatfilesError: the system could not tell.
    """
    try:
        facts = os.fstat(handle)
        if stat.S_ISREG(facts.st_mode) and is_credential(facts):
            raise file_not_found()
        return Found(name, facts, _can_be_opened(handle, facts))
    except OSError as error:
        raise refusal(error) from error
    finally:
        os.close(handle)


def _can_be_opened(handle: int, facts: os.stat_result) -> bool:
    if kind_of(facts.st_mode) not in _READ:
        return True
    path = proc_path(handle)
    if path is None:
        return current_reader().may_read(facts)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except PermissionError:
        return False
    return True


def _not_found(name: bytes, error: OSError) -> Found | None:
    """:return: what to say of a name that could not be looked at; ``None`` if it has vanished."""
    if error.errno in _VANISHED:
        return None
    if error.errno in NOT_NOW:
        raise refusal(error) from error
    return Found(name, None, error=refusal(error).text)
