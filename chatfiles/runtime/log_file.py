"""
The log file of ``twistd``, and the signals of log rotation.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from twisted.logger import Logger
from twisted.python.logfile import LogFile
from twisted.python.threadable import synchronize

__all__ = ["LogSignals", "ReopenableLogFile", "open_log_file"]

_log = Logger()


class ReopenableLogFile(LogFile):
    """A log file that another program may rename.  Any thread may write to it."""

    synchronized = ["reopen"]  # noqa: RUF012 - the base class synchronizes the other methods

    def reopen(self) -> None:
        """
        Open the file at the path again.

        :raise OSError: it cannot be opened; the old file is still in use.
        """
        # The base class closes the old file first, and would be left without any.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC
        os.close(os.open(self.path, flags, 0o666))
        super().reopen()


synchronize(ReopenableLogFile)


def open_log_file(twistd: Mapping[str, Any]) -> ReopenableLogFile | None:
    """
    :param twistd: the options of ``twistd`` itself.
    :return: the file in which ``twistd`` would write its log; ``None`` if the log goes elsewhere.
    :raise OSError: the file cannot be opened.
    """
    path = twistd.get("logfile") or ("" if twistd.get("nodaemon") else "twistd.log")
    if twistd.get("logger") or twistd.get("syslog") or path in ("", "-"):
        return None
    file: ReopenableLogFile = ReopenableLogFile.fromFullPath(path)
    return file


class LogSignals:
    """
    Makes a role continue after SIGHUP and SIGUSR1.  By default, either would end it.

    SIGHUP opens the log file again, which another program has renamed.  SIGUSR1 lets the log file
    rotate itself, as in every program of ``twistd``.

    :param reactor: acts on a signal; one that arrives before it runs has to wait.
    :param role: the name of the role in the log, such as "chatfiles platform".
    :param file: the log file; ``None`` if there is none.
    :param reload: called after SIGHUP, on the reactor thread (`chatfiles.runtime.reload.Reload`).
    """

    def __init__(
        self,
        reactor: Any,
        role: str,
        file: ReopenableLogFile | None,
        reload: Callable[[], object] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._role = role
        self._file = file
        self._reload = reload
        signal.signal(signal.SIGHUP, self._received)
        signal.signal(signal.SIGUSR1, self._received)

    def _received(self, number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._act, signal.Signals(number))

    def _act(self, number: signal.Signals) -> None:
        try:
            done = self._renew_file(number)
        except OSError as error:  # the old file is still in use
            done = f"cannot open {error.filename}: {error.strerror}; it continues"
        _log.info("{role} {done} after {signal}", role=self._role, done=done, signal=number.name)
        if number == signal.SIGHUP:
            self._reload()

    def _renew_file(self, number: signal.Signals) -> str:
        """:return: what was done; the log has it as a message."""
        if self._file is None:
            return "continues"
        if number == signal.SIGUSR1:
            self._file.rotate()
            return f"rotated {self._file.path}"
        self._file.reopen()
        return f"reopened {self._file.path}"
