"""
A SQLite database file, and the connections of one registry to it.
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

#: Primary result codes after which the connection can still be used.
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
    The path of a database, and its inode when it was first opened.

    If the file is missing or replaced later, it is not opened.  Otherwise SQLite would apply the
    write-ahead log of the old file to the new one, or an empty database would look like "no such
    token".

    :param path: the path of the file; its directory exists.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._identity: tuple[int, int] | None = None

    def verify(self) -> None:
        """
        Verify that the file is still the same.  The first time, create it if it is missing,
        readable by its owner only.  SQLite gives ``-wal`` and ``-shm`` the same mode.

        :raise OSError: the file is missing, or has been replaced.
        """
        if self._identity is None:
            self._create()
        found = os.stat(self.path)
        identity = (found.st_dev, found.st_ino)
        if self._identity is None:
            self._identity = identity
        if identity != self._identity:
            raise FileNotFoundError(f"{self.path} has been replaced; restart to use the new file")

    def verify_writable(self) -> None:
        """
        Verify that this process may write to the file.  SQLite would open one that it may only
        read, and fail at the first write.

        :raise OSError: it may not.
        """
        if not os.access(self.path, os.W_OK, effective_ids=True):
            raise PermissionError(f"{self.path} cannot be written")

    def log_state(self) -> object:
        """
        :return: the size and modification time of the write-ahead log, which every commit changes.
            Takes two microseconds, so that it may be called on the reactor thread.
        """
        try:
            found = os.stat(self.path + "-wal")
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def connect(self, busy_timeout: float) -> sqlite3.Connection:
        """
        :param busy_timeout: seconds to wait for a lock of another connection.
        :return: a new connection in autocommit mode.
        """
        return sqlite3.connect(
            f"file:{quote(os.fsencode(self.path))}?mode=rw",
            uri=True,
            timeout=busy_timeout,
            isolation_level=None,
        )

    def _create(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        # An existing file must not be opened here: closing it would release SQLite's locks on it.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, flags, 0o600))


class Connection:
    """
    One connection.  It is opened when it is first used, and replaced after an error that may have
    damaged it.  Use it in one thread only.

    :param file: shared by the connections of the registry.
    :param busy_timeout: seconds to wait for a lock of another connection.
    :param query_only: whether to refuse writes.
    :param prepare: called with each new connection; brings the schema up to date.
    :ivar opened: how many connections have been opened.
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
        Call *work* with the connection.

        :return: what *work* returns.
        :raise RegistryUnavailable: its cause is the error of the database or of its file.
        """
        try:
            self._file.verify()
            if not self._query_only:
                self._file.verify_writable()
        except OSError as error:
            raise RegistryUnavailable() from error
        try:
            return work(self._get())
        except (sqlite3.Error, SchemaTooNew) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _HARMLESS:
                self.close()
            raise RegistryUnavailable() from error

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # It has failed already, or has nothing left to do: an error does not matter.
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
            # A row may contain bytes that are not UTF-8; the error of sqlite3 would quote them.
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
    """A transaction that locks the database first, and is rolled back on any exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
