"""
A SQLite database file, and the connections that one registry has to it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import quote

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.migrations import SchemaTooNew

__all__ = ["Connection", "DatabaseFile", "transaction"]

T = TypeVar("T")

#: Primary result codes after which the connection itself is as good as before.
_HARMLESS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
    }
)


class DatabaseFile:
    """
    Where the database is, and which inode that was when it was first opened.

    A file that is missing or another one by then is not opened again: SQLite would give the new
    file the old one's write-ahead log, and an empty database would look like "no such token".

    :param path: of the file; its directory exists.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._identity: tuple[int, int] | None = None

    def verify(self) -> None:
        """
        The first time, create the file if it is missing, for its owner alone (``-wal`` and
        ``-shm`` get the same mode from SQLite).

        :raise OSError: the file is not there, or is not the one that was there at first.
        """
        if self._identity is None:
            self._create()
        found = os.stat(self.path)
        identity = (found.st_dev, found.st_ino)
        if self._identity is None:
            self._identity = identity
        if identity != self._identity:
            raise FileNotFoundError(f"{self.path} has been replaced; restart to use the new file")

    def glance(self) -> object:
        """
        :return: what changes with every commit: where the write-ahead log ends, and when that was.
            Costs two microseconds, which the reactor's thread may spend.
        """
        try:
            found = os.stat(self.path + "-wal")
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def connect(self, busy_timeout: float) -> sqlite3.Connection:
        """:param busy_timeout: seconds to wait for other connections' locks."""
        return sqlite3.connect(
            f"file:{quote(os.fsencode(self.path))}?mode=rw",
            uri=True,
            timeout=busy_timeout,
            isolation_level=None,
        )

    def _create(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        # An existing file must not be opened here: to close it would drop SQLite's locks on it.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, flags, 0o600))


class Connection:
    """
    One connection, opened when it is needed, given up after an error that may have hurt it.

    Used in one thread only.

    :param file: shared by the registry's connections.
    :param busy_timeout: seconds to wait for a lock of another connection.
    :param query_only: refuse to write.
    :param prepare: brings the schema up to date.
    """

    def __init__(
        self,
        file: DatabaseFile,
        *,
        busy_timeout: float,
        query_only: bool,
        prepare: Callable[[sqlite3.Connection], None],
    ) -> None:
        self._file = file
        self._busy_timeout = busy_timeout
        self._query_only = query_only
        self._prepare = prepare
        self._connection: sqlite3.Connection | None = None
        self.opened = 0

    def use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        :return: what *work* returns.
        :raise RegistryUnavailable: caused by the error of the database or of its file.
        """
        try:
            self._file.verify()
        except OSError as error:
            raise RegistryUnavailable() from error
        try:
            return work(self._get())
        except (sqlite3.Error, SchemaTooNew) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _HARMLESS:
                self.close()
            raise RegistryUnavailable() from error

    def close(self) -> None:
        """Give the connection up; the next use opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # It has failed already, or has nothing left to do: what it says now changes nothing.
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _get(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._open()
            self.opened += 1
        return self._connection

    def _open(self) -> sqlite3.Connection:
        connection = self._file.connect(self._busy_timeout)
        try:
            # A row may hold bytes that are no UTF-8; sqlite3's own error would quote them.
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
            self._prepare(connection)
            connection.execute(f"PRAGMA query_only = {self._query_only:d}")
        except BaseException:
            connection.close()
            raise
        return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that has the database from its first statement; undone by any exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
