"""
The files that hold the role's own secrets.

Functions whose names end in ``at_once``, or with *at_once*, never block.  All others may block for
a short time: call them in a thread.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, TypeGuard

from twisted.logger import Logger

from chatfiles.errors import NOT_NOW, ChatfilesError, Unavailable
from chatfiles.posix.atomic_file import remove_file, replace_file, sweep_temporary_files
from chatfiles.posix.openat2 import WouldWait
from chatfiles.rules.bearer import is_token
from chatfiles.workspace.files.cached_directory import CachedDirectory
from chatfiles.workspace.files.open_beneath import reopen_regular

__all__ = ["MAX_SECRET", "SECRET_OWNER", "SecretFile", "is_secret"]

#: The owner of calls for a thread that concern the secrets (`chatfiles.runtime.threads`).
SECRET_OWNER: Final = "secret"  # noqa: S105
#: Longest secret, and longest file of a secret, in bytes.
MAX_SECRET: Final = 4096
#: Nanoseconds after a change in which the file is read at each use.
SETTLED_NS: Final = 1_000_000_000


def is_secret(value: object) -> TypeGuard[str]:
    """:return: whether *value* is a valid bearer token: a text of 1 to 4096 visible ASCII chars."""
    return is_token(value) and len(value) <= MAX_SECRET


class SecretFile:
    """
    A file that holds one secret: ``.platform_inbound_secret`` or ``.auth_token``.

    A change takes effect immediately: every use looks at the file, and reads it unless its size,
    its times and everything else that ``fstat`` returns are those of the last time.  A symlink is
    followed, because containers mount secrets that way.

    :param path: the file; it need not exist yet.
    :param now_ns: returns nanoseconds since the epoch.
    :param beside: a file in the same directory, beside which this one is usually missing; ``None``
        if a missing file is worth a line in the log.
    """

    _log = Logger()

    def __init__(
        self,
        path: str | bytes,
        now_ns: Callable[[], int] = time.time_ns,
        *,
        beside: SecretFile | None = None,
    ) -> None:
        self._now_ns = now_ns
        self.path = os.path.abspath(os.fsencode(path))
        directory, self._name = os.path.split(self.path)
        self._directory: CachedDirectory = (
            CachedDirectory(directory) if beside is None else beside._directory
        )
        self._may_miss = beside is not None
        self._reported: str | None = None
        self._found = False
        self._kept: tuple[_Version, str | None] | None = None

    def __repr__(self) -> str:
        return f"SecretFile({self.path!r})"

    @property
    def shown(self) -> str:
        """The path, for people."""
        return self.path.decode("utf-8", "backslashreplace")

    def read(self) -> str | None:
        """
        Read the secret.  Logs a warning if other users can read or write the file.

        :return: the secret, without white space around it; ``None`` if the file is missing,
            unreadable, empty, not a regular file, over 4096 bytes, or not visible ASCII.
        :raise Unavailable: 503: there are no free descriptors, or no memory.  This does not mean
            that the file is missing.
        """
        try:
            return self._checked(*self._content())
        except OSError as error:
            if error.errno in NOT_NOW:
                raise Unavailable(retry_after=1) from error
            if error.errno == errno.ENOENT and self._may_miss:
                self._report(None)
            elif error.errno == errno.ENOENT and not self._found:
                self._report("does not exist yet", log=self._log.info)
            else:
                self._report(f"cannot be read: {os.strerror(error.errno or 0)}")
            return None

    def read_at_once(self) -> str | None:
        """
        Like `read`, if the kernel has the file in memory.  Never blocks.

        :raise WouldWait: it is not in memory, or is not a regular file in a local directory.
        """
        try:
            handle = self._directory.open_beneath_at_once((self._name,))
            version = _version(os.fstat(handle))
            if self._kept is not None and self._kept[0] == version:
                os.close(handle)
                return self._kept[1]
            mode, content = _content_at_once(handle)
        except (OSError, ChatfilesError) as error:
            if self._may_miss and isinstance(error, FileNotFoundError):
                return None
            raise WouldWait from None  # `read` reports it
        secret = self._checked(mode, content)
        # Two changes within one tick of the kernel's clock have the same time.
        settled = self._now_ns() - version.changed > SETTLED_NS
        self._kept = (version, secret) if settled else None
        return secret

    def _checked(self, mode: int, content: bytes) -> str | None:
        """:return: the secret in a file with this mode and content; problems are logged."""
        self._found = True
        secret = content.strip().decode("ascii", "replace")
        if not stat.S_ISREG(mode):
            self._report("is not a regular file")
        elif len(content) > MAX_SECRET:
            self._report(f"is longer than {MAX_SECRET} bytes")
        elif not secret:
            self._report("is empty")
        elif not is_secret(secret):
            self._report("holds something else than one line of visible ASCII")
        else:
            shared = bool(mode & 0o077)
            self._report("may be read or written by other users: chmod 600 it" if shared else None)
            return secret
        return None

    def write(self, secret: str) -> bool:
        """
        Store a secret with mode 0600.  A reader sees either the old file or the complete new one.
        A missing directory is created with mode 0700.

        :return: whether the file has changed.
        :raise ValueError: *secret* is not valid (`is_secret`).
        :raise OSError: the secret could not be stored; the old file is unchanged.
        :raise Unavailable: see `read`.
        """
        if not is_secret(secret):
            raise ValueError("a secret is 1 to 4096 visible ASCII characters")
        if self.read() == secret:
            return False
        with suppress(FileExistsError):
            os.makedirs(os.path.dirname(self.path), 0o700)
        sweep_temporary_files(self.path)
        replace_file(self.path, secret.encode("ascii"))
        return True

    def remove(self) -> None:
        """
        Remove the file, if there is one.

        :raise OSError: it could not be removed.
        """
        with suppress(FileNotFoundError):
            remove_file(self.path)

    def _content(self) -> tuple[int, bytes]:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(self.path, flags)
        try:
            mode = os.fstat(fd).st_mode
            content = os.read(fd, MAX_SECRET + 1) if stat.S_ISREG(mode) else b""
            self._directory.examine_path(fd)
            return mode, content
        finally:
            os.close(fd)

    def _report(self, problem: str | None, *, log: Callable[..., None] | None = None) -> None:
        """Log a problem once.  It is logged again only after it has changed or ended."""
        if problem is not None and problem != self._reported:
            log = log or self._log.warn
            log("secret file {path} {problem}", path=self.shown, problem=problem)
        self._reported = problem


class _Version(NamedTuple):
    """What ``fstat`` returns for one version of a file; *changed* is its ctime in nanoseconds."""

    device: int
    inode: int
    mode: int
    size: int
    modified: int
    changed: int


def _version(facts: os.stat_result) -> _Version:
    return _Version(
        facts.st_dev,
        facts.st_ino,
        facts.st_mode,
        facts.st_size,
        facts.st_mtime_ns,
        facts.st_ctime_ns,
    )


def _content_at_once(handle: int) -> tuple[int, bytes]:
    """:return: the mode and the content of the file that *handle* names, which is closed."""
    fd, facts = reopen_regular(handle)
    try:
        content = bytearray(MAX_SECRET + 1)
        count = os.preadv(fd, [content], 0, os.RWF_NOWAIT)
        if count < min(facts.st_size, len(content)):
            raise WouldWait  # only a part of it is in memory
        return facts.st_mode, bytes(content[:count])
    finally:
        os.close(fd)
