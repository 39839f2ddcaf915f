"""
Appends lines to a file, in a thread: a disk that hangs must not block the reactor.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Sequence
from select import PIPE_BUF
from threading import Event, Thread
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

__all__ = ["AuditWriter", "open_log"]

#: Lines that may wait for the disk.
MOST_WAITING: Final = 10_000
#: Bytes of the lines that one ``write`` may have, if it has several.  A FIFO takes so much in one
#: piece, too (POSIX, ``write``), and a process that is killed can hardly leave a part of a line.
MOST_TOGETHER: Final = PIPE_BUF
#: Seconds between two attempts to write, once one has failed.
RETRY: Final = 1.0
#: Seconds that the last lines may take when the role ends.
CLOSE_TIMEOUT: Final = 5.0
# A FIFO without a reader would block: O_NONBLOCK.  Other processes append to the same file.
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

_log = Logger()


class AuditWriter:
    """
    Appends lines to a file.  Each ``write`` has one or more whole lines.

    :param path: of the file; created 0600 if it does not exist.
    :param reactor: provides ``IReactorTime`` and ``IReactorFromThreads``.
    """

    def __init__(self, path: str, reactor: Any) -> None:
        self._path = path
        self._reactor = reactor
        self._blocks: deque[bytes] = deque()  # of lines, each with its line end
        self._offset = 0  # in the first block: what is before it was written
        self._added = self._written = 0  # lines; each number is changed by one thread
        self._lost = 0
        self._fd = -1
        self._is_torn = False
        self._reopen = self._closing = False
        self._failed = self._not_opened = ""
        self._wake = Event()
        self._ended: Deferred[None] = Deferred()
        self._thread = Thread(target=self._run, name="chatfiles-audit", daemon=True)

    @property
    def failed(self) -> bool:
        """
        Whether the last attempt to write a line has failed, or to open the path after a rotation,
        or too many lines wait.
        """
        return bool(self._failed or self._not_opened) or self._waiting >= MOST_WAITING

    @property
    def _waiting(self) -> int:
        """How many lines wait."""
        return self._added - self._written

    # -- on the reactor thread

    def open(self) -> None:
        """
        Open the file, and start the thread.

        :raise OSError: the file cannot be opened.
        """
        self._fd = open_log(self._path)
        self._thread.start()

    def write(self, lines: Sequence[str]) -> None:
        """
        Append lines soon.  Those beyond `MOST_WAITING` are lost; the log then says how many were.

        :param lines: each ASCII without a line end.
        """
        free = max(0, MOST_WAITING - self._waiting)
        self._lost += len(lines[free:])
        if taken := lines[:free]:
            self._added += len(taken)
            self._blocks.append("\n".join([*taken, ""]).encode("ascii"))
            self._wake.set()

    def reopen(self) -> None:
        """Open the path again soon: another program has renamed the file."""
        self._reopen = True
        self._wake.set()

    def close(self) -> Deferred[None]:
        """
        Write the lines that wait, and end the thread.

        :return: fires when this is done, or takes too long.
        """
        if not self._thread.is_alive():
            return succeed(None)
        self._closing = True
        self._wake.set()
        self._ended.addTimeout(CLOSE_TIMEOUT, self._reactor)
        return self._ended.addErrback(self._hangs)

    def _hangs(self, _: object) -> None:
        _log.warn("audit log {path} does not respond; lines are lost", path=self._path)

    # -- on the thread of the log

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait(RETRY if self._failed or self._not_opened else None)
            self._wake.clear()
            # What the reactor thread sets later is for the next round, also in `_write_all`.
            is_last = self._closing
            if self._reopen or self._failed or self._not_opened:
                self._open_again()
            self._write_all()
        self._say_lost(self._lost + self._waiting)
        os.close(self._fd)
        self._reactor.callFromThread(self._end)

    def _end(self) -> None:
        if not self._ended.called:
            self._ended.callback(None)

    def _open_again(self) -> None:
        """
        Open the path.  If that fails, the old file stays in use; after a rotation it is the wrong
        one.
        """
        is_rotated, self._reopen = self._reopen or self._not_opened != "", False
        try:
            fd = open_log(self._path)
        except OSError as error:
            if is_rotated:
                self._fail_to_open(_why(error))
            return
        if not os.path.samestat(os.fstat(self._fd), os.fstat(fd)):
            self._is_torn = False
        os.close(self._fd)
        self._fd = fd
        if self._not_opened:
            _log.info("audit log {path} is opened again", path=self._path)
            self._not_opened = ""

    def _fail_to_open(self, why: str) -> None:
        before, self._not_opened = self._not_opened, why
        if why != before:
            _log.error("audit log {path} cannot be opened: {why}", path=self._path, why=why)

    def _write_all(self) -> None:
        try:
            while self._blocks:
                block = self._blocks[0]
                while self._offset < len(block):
                    self._write(block)
                self._offset = 0
                self._blocks.popleft()
        except OSError as error:
            self._fail(_why(error))
        else:
            self._recovered()

    def _write(self, block: bytes) -> None:
        """Write the next line of *block*, and those after it that can be written with it."""
        start = self._offset
        end = block.rfind(b"\n", start, start + MOST_TOGETHER) + 1 or block.index(b"\n", start) + 1
        part = b"\n" if self._is_torn else b""  # a part of an earlier line is in the file
        count = os.write(self._fd, part + block[start:end]) - len(part)
        whole = block.rfind(b"\n", start, start + count) + 1
        if whole:
            self._written += block.count(b"\n", start, whole)
            self._offset = whole
        self._is_torn = start + count > max(start, whole)
        if start + count < end:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _fail(self, why: str) -> None:
        before, self._failed = self._failed, why
        if why != before:
            _log.error("audit log {path} cannot be written: {why}", path=self._path, why=why)

    def _recovered(self) -> None:
        if self._failed:
            _log.info("audit log {path} is written again", path=self._path)
            self._failed = ""
        lost, self._lost = self._lost, 0
        self._say_lost(lost)

    def _say_lost(self, count: int) -> None:
        if count:
            _log.error("audit log {path} lost {count} lines", path=self._path, count=count)


def open_log(path: str) -> int:
    """
    :param path: of the audit log; created 0600 if it does not exist.
    :return: a descriptor to append to it.
    :raise OSError: it cannot be opened.
    """
    return os.open(path, _FLAGS, 0o600)


def _why(error: OSError) -> str:
    return os.strerror(error.errno or 0)
