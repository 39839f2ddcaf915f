"""
What a platform keeps on disk: its state directory and its admin token.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable

from chatfiles.model import new_secret

__all__ = ["admin_token", "make_state_directory"]

#: Characters that an admin token has at least: fewer could be guessed.
MIN_TOKEN_LENGTH = 16


def make_state_directory(path: str) -> None:
    """
    Create the directory, 0700, if it is not there.

    :raise OSError: it cannot be.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)


def admin_token(
    path: str, from_environment: str | None, make_secret: Callable[[], str] = new_secret
) -> str:
    """
    :param path: the token's file; made, 0600, with a new token if it is not there.
    :param from_environment: overrides the file.
    :return: the admin token.
    :raise ValueError: it is empty, too short, or not printable ASCII without spaces.
    :raise OSError: the file can be neither read nor made.
    """
    if from_environment is not None:
        return _judged(from_environment, "CHATFILES_ADMIN_TOKEN")
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return _judged(file.read(), path)
    except FileNotFoundError:
        token = make_secret()
        return token if _create(path, token) else admin_token(path, None, make_secret)


def _judged(text: str, source: str) -> str:
    token = text.strip()
    if len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable():
        raise ValueError(f"{source} must hold at least {MIN_TOKEN_LENGTH} printable characters")
    if " " in token:
        raise ValueError(f"{source} must hold one token")
    return token


def _create(path: str, token: str) -> bool:
    """:return: whether it was us who made the file: two may start at once."""
    temporary = f"{path}.{secrets.token_hex(8)}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(token + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True
