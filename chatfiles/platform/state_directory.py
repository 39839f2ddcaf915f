"""
What a platform keeps on disk: its state directory and its admin token.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress

from twisted.logger import Logger

from chatfiles.model import new_secret
from chatfiles.rules.bearer import is_token

__all__ = [
    "SELF",
    "Owner",
    "judge_state_directory",
    "known_admin_token",
    "make_state_directory",
    "new_admin_token",
    "sweep_admin_token",
]

#: The user and the group to whom something is given when it is made; -1 leaves it as it is.
Owner = tuple[int, int]
SELF: Owner = (-1, -1)
#: Characters that an admin token has at least: fewer could be guessed.
MIN_TOKEN_LENGTH = 16

_log = Logger()


def judge_state_directory(path: str) -> None:
    """
    See whether there is such a directory, or may be one.

    :raise OSError: there is something else, or it cannot be looked at.
    """
    with suppress(FileNotFoundError):
        os.stat(os.path.join(path, ""))


def make_state_directory(path: str, owner: Owner = SELF) -> None:
    """
    Create the directory, 0700, if it is not there.

    :raise OSError: it cannot be.
    """
    try:
        os.makedirs(path, mode=0o700)
    except OSError:  # which one, where it is there already, depends on the file system
        if not os.path.isdir(path):
            raise
    else:
        os.chown(path, *owner)


def known_admin_token(path: str, from_environment: str | None) -> str | None:
    """
    :param path: the token's file.
    :param from_environment: overrides the file.
    :return: the admin token, or ``None`` if there is none yet.
    :raise ValueError: it is empty, too short, or not printable ASCII without spaces; or *path* is
        neither free nor a regular file.
    :raise OSError: the file cannot be read.
    """
    if from_environment is not None:
        return _judged(from_environment, "CHATFILES_ADMIN_TOKEN")
    try:
        with open(path, encoding="utf-8", errors="replace", opener=_open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ValueError(f"{path} is not a regular file")
            token = _judged(file.read(), path)
    except FileNotFoundError:
        if os.path.islink(path):  # where it leads to, nothing is made
            raise ValueError(f"{path} is a link to a file that is not there") from None
        return None
    if mode & 0o077:
        _log.warn("admin token file {path} may be read or written by others", path=path)
    return token


def new_admin_token(
    path: str, owner: Owner = SELF, make_secret: Callable[[], str] = new_secret
) -> str:
    """
    Make the token's file, 0600.

    :return: a new admin token, or that of somebody who was faster.
    :raise ValueError: what that one wrote is no token.
    :raise OSError: the file cannot be made.
    """
    token = make_secret()
    if _create(path, token, owner):
        return token
    return known_admin_token(path, None) or new_admin_token(path, owner, make_secret)


def sweep_admin_token(path: str) -> None:
    """Remove what a process that was killed while it made the token's file has left."""
    directory, name = os.path.split(path)
    left = re.compile(re.escape(name) + r"\.[0-9a-f]{16}\.tmp")
    with suppress(OSError):
        for each in filter(left.fullmatch, os.listdir(directory)):
            os.unlink(os.path.join(directory, each))


def _open_at_once(path: str, flags: int) -> int:
    """A pipe would keep us waiting for somebody who writes into it."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _judged(text: str, source: str) -> str:
    token = text.strip()
    if len(token) < MIN_TOKEN_LENGTH or not is_token(token.replace(" ", "")):
        raise ValueError(f"{source} must hold at least {MIN_TOKEN_LENGTH} printable characters")
    if " " in token:
        raise ValueError(f"{source} must hold one token")
    return token


def _create(path: str, token: str, owner: Owner) -> bool:
    """:return: whether it was us who made the file: two may start at once."""
    temporary = f"{path}.{secrets.token_hex(8)}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            os.fchown(fd, *owner)
            file.write(token + "\n")
            file.flush()
            os.fsync(fd)
        os.link(temporary, path)
    except (FileExistsError, FileNotFoundError):  # it was faster, and may have swept ours
        return False
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return True
