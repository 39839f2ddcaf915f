"""
The admin token, which an operator can change while the platform runs (reference/authentication,
"Admin token").
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from twisted.logger import Logger

from chatfiles.model import token_hash

__all__ = ["ADMIN_TOKEN", "FILE_TOKEN", "INTERVAL", "AdminToken"]

#: The variable of an admin token that is fixed, and the one with which the first process passes the
#: content of the file to its workers: they may not be able to read it.
ADMIN_TOKEN, FILE_TOKEN = "CHATFILES_ADMIN_TOKEN", "CHATFILES_WORKER_ADMIN_TOKEN"

#: Seconds between two looks at the file.
INTERVAL = 1.0
#: Nanoseconds after a change in which another one could have the same time.
SETTLED_NS = 1_000_000_000


class AdminToken:
    """
    The admin token.

    :param text: the token at the start.
    :param path: its file, as text; ``None`` if the token is from the environment, and so is fixed.
    :param read: takes the path, and returns the token in the file, or ``None`` if there is no file;
        raises `OSError`, or `ValueError` for people.
    :param now_ns: returns nanoseconds since the epoch.
    :ivar text: the token.
    :ivar digest: its `token_hash`.
    :ivar path: *path*.
    :ivar log: says when the token was changed, and what is wrong with the file.
    """

    log = Logger()

    def __init__(
        self,
        text: str,
        path: str | None = None,
        read: Callable[[str], str | None] = lambda _: None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.text = text
        self.digest = token_hash(text)
        self.path = path
        self._read = read
        self._now_ns = now_ns
        self._version: tuple[int, ...] | None = None
        self._problem: str | None = None

    def look(self) -> None:
        """
        Take the token of the file, if the file has changed.  While the file is missing or wrong,
        the last token remains valid, and the log says so.  Blocks: call it in a thread.
        """
        if self.path is None:
            return
        try:
            version = _version(self.path)
            if version == self._version:
                return
            text = self._read(self.path)
        except (OSError, ValueError) as error:
            text, problem = None, _reason(error)
        else:
            problem = "it does not exist"
            # Two changes within one tick of the kernel's clock have the same time.
            is_settled = self._now_ns() - version[-1] > SETTLED_NS
            self._version = version if is_settled else None
        if text is None:
            self._report(f"{problem}; the last token remains valid")
            return
        self._problem = None
        if text != self.text:
            self.text, self.digest = text, token_hash(text)
            self.log.info("the admin token was changed in {path}", path=self.path)

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self.log.warn("admin token file {path}: {problem}", path=self.path, problem=problem)


def _version(path: str) -> tuple[int, ...]:
    """:return: what changes with the file; the last is its ctime in nanoseconds."""
    facts = os.stat(path)
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return os.strerror(error.errno or 0)
    return str(error)
