"""
A SQLite connection and the thread that it lives in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred

from chatfiles.platform.registry.outage_log import OutageLog
from chatfiles.platform.registry.sqlite.call_thread import CallThread, ReactorClock
from chatfiles.platform.registry.sqlite.file import Connection, DatabaseFile

__all__ = ["ConnectionThread"]

T = TypeVar("T")


class ConnectionThread:
    """
    What is called here is done in turn; another lane to the same file does not wait for it.

    :param name: what it is for; names the thread, and the registry in the log.
    :param timeout: seconds in which a call is answered.  A lock of another process is waited for a
        little less, so that the log can tell a lock from a slow disk.
    :param query_only: refuse to write.
    :param prepare: called with each new connection, in the thread.
    """

    def __init__(
        self,
        name: str,
        file: DatabaseFile,
        *,
        clock: ReactorClock,
        timeout: float,
        query_only: bool,
        prepare: Callable[[sqlite3.Connection], None],
    ) -> None:
        self._timeout = timeout
        self._connection = Connection(
            file, busy_timeout=timeout * 0.75, query_only=query_only, prepare=prepare
        )
        trouble = OutageLog(f"registry {file.path} ({name})")
        self._thread = CallThread(f"registry-{name}", clock=clock, outcome=trouble.outcome)

    @property
    def opened(self) -> int:
        """How many connections there have been; to be read in the thread."""
        return self._connection.opened

    def start(self) -> None:
        """Begin to take calls; does nothing the second time, or once closed."""
        self._thread.start()

    def call(
        self,
        what: str,
        work: Callable[[sqlite3.Connection], T],
        *,
        finished: Callable[[T], None] | None = None,
        timeout: float | None = None,
    ) -> Deferred[T]:
        """See `CallThread.call`; *work* is given the connection."""
        return self._thread.call(
            what,
            lambda: self._connection.use(work),
            timeout=self._timeout if timeout is None else timeout,
            finished=finished,
        )

    def close(self) -> Deferred[None]:
        """Finish what has been called and close the connection; idempotent, never fails."""
        return self._thread.close(self._connection.close, timeout=2 * self._timeout)
