"""
The platform's files on disk: its state directory and its admin token.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress

from twisted.logger import Logger

from chatfiles.model import new_secret
from chatfiles.posix.atomic_file import SELF, Owner, create_file, sweep_temporary_files
from chatfiles.rules.bearer import is_token

__all__ = [
    "check_state_directory",
    "known_admin_token",
    "make_state_directory",
    "new_admin_token",
    "reread_admin_token",
    "sweep_admin_token",
]

#: Minimum length of an admin token in characters: a shorter one could be guessed.
MIN_TOKEN_LENGTH = 16

_log = Logger()


def check_state_directory(path: str) -> None:
    """
    Check that *path* is a directory or does not exist.

    :raise OSError: *path* is something else, or cannot be examined.
    """
    with suppress(FileNotFoundError):
        os.stat(os.path.join(path, ""))


def make_state_directory(path: str, owner: Owner = SELF) -> None:
    """
    Create the directory *path* with mode 0700, if it does not exist.

    :param owner: the new directory's owner.
    :raise OSError: it cannot be created.
    """
    try:
        os.makedirs(path, mode=0o700)
    except OSError:  # for a directory that exists, the kind of error depends on the file system
        if not os.path.isdir(path):
            raise
    else:
        os.chown(path, *owner)


def known_admin_token(path: str, from_environment: str | None) -> str | None:
    """
    Read the admin token.  Logs a warning if other users can read or write its file.

    :param path: the token's file.
    :param from_environment: the token from the environment, which overrides the file.
    :return: the token; ``None`` if there is none yet.
    :raise ValueError: the token is empty, too short, or not printable ASCII without spaces; or
        *path* exists and is not a regular file.
    :raise OSError: the file cannot be read.
    """
    if from_environment is not None:
        return _judged(from_environment, "CHATFILES_ADMIN_TOKEN")
    token, mode = _read(path)
    if mode & 0o077:
        _log.warn("admin token file {path} may be read or written by other users", path=path)
    return token


def reread_admin_token(path: str) -> str | None:
    """:return: as `known_admin_token`, which has warned already."""
    return _read(path)[0]


def _read(path: str) -> tuple[str | None, int]:
    """:return: the token in the file, and the mode of the file."""
    try:
        with open(path, encoding="utf-8", errors="replace", opener=_open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ValueError(f"{path} is not a regular file")
            return _judged(file.read(), path), mode
    except FileNotFoundError:
        if os.path.islink(path):  # the token is never created at a link's target
            raise ValueError(f"{path} is a link to a file that is not there") from None
        return None, 0


def new_admin_token(
    path: str, owner: Owner = SELF, make_secret: Callable[[], str] = new_secret
) -> str:
    """
    Create the token's file with mode 0600.  The log says where it is.

    :param path: the token's file.
    :param owner: the new file's owner.
    :param make_secret: returns a new token.
    :return: the new token, or the token of another process that created the file first.
    :raise ValueError: the other process wrote something that is not a token.
    :raise OSError: the file cannot be created.
    """
    token = make_secret()
    if create_file(os.fsencode(path), f"{token}\n".encode("ascii"), owner):
        _log.info("created an admin token in {path}; keep it secret", path=path)
        return token
    return known_admin_token(path, None) or new_admin_token(path, owner, make_secret)


def sweep_admin_token(path: str) -> None:
    """
    Remove temporary files of processes that were killed while they created the token's file.

    :param path: the token's file.
    """
    with suppress(OSError):
        sweep_temporary_files(os.fsencode(path))


def _open_at_once(path: str, flags: int) -> int:
    """Open *path* without waiting: to open a pipe would wait until a process writes into it."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _judged(text: str, source: str) -> str:
    token = text.strip()
    if len(token) < MIN_TOKEN_LENGTH or not is_token(token.replace(" ", "")):
        raise ValueError(f"{source} must hold at least {MIN_TOKEN_LENGTH} printable characters")
    if " " in token:
        raise ValueError(f"{source} must hold one token")
    return token
