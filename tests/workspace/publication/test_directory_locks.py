"""
Tests for `chatfiles.workspace.publication.directory_locks`.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.publication.directory_locks import DirectoryLocks
from tests.workspace.uploads.uploads_case import in_child

#: The bytes of the shared file that are locked.
FIRST, COUNT = 1 << 52, 1 << 48


class DirectoryLocksTests(SynchronousTestCase):
    """Locks between threads and between processes."""

    def setUp(self) -> None:
        self.fd = os.memfd_create("test")
        self.addCleanup(os.close, self.fd)
        self.locks = DirectoryLocks(self.fd)
        self.directories = []
        for _ in range(3):
            path = self.mktemp()
            os.makedirs(path)
            self.directories.append(os.open(path, os.O_PATH))
            self.addCleanup(os.close, self.directories[-1])

    def is_free(self) -> bool:
        """:return: whether another process could have every lock now."""

        def take() -> None:
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, COUNT, FIRST)
            except OSError:
                os._exit(1)

        return in_child(take) == 0

    def test_processes(self) -> None:
        """A lock is held against other processes, and released."""
        self.assertTrue(self.is_free())
        with self.locks.of(self.directories[0]):
            self.assertFalse(self.is_free())
        self.assertTrue(self.is_free())

        def fail() -> None:
            with self.locks.of(self.directories[0]):
                raise OSError

        self.assertRaises(OSError, fail)
        self.assertTrue(self.is_free())

    def test_threads(self) -> None:
        """A thread waits while another one has the lock of the directory."""
        entered = threading.Event()

        def run() -> None:
            with self.locks.of(self.directories[0]):
                entered.set()

        thread = threading.Thread(target=run)
        with self.locks.of(self.directories[0]):
            thread.start()
            self.assertFalse(entered.wait(0.05))  # it never is, however long this takes
        thread.join()
        self.assertTrue(entered.is_set())

    def test_same_twice(self) -> None:
        """A move within a directory needs its lock once."""
        with self.locks.of(self.directories[0], os.dup(self.directories[0])):
            self.assertFalse(self.is_free())

    def test_threads_of_processes(self) -> None:
        """
        Threads of two processes wait for each other's locks; the kernel, which takes a process for
        one owner, sees a cycle there.
        """

        failed = threading.Event()

        def turn(locks: DirectoryLocks, number: int) -> None:
            try:
                for _ in range(500):
                    with locks.of(self.directories[number]):
                        time.sleep(0)
            except OSError:
                failed.set()

        def run() -> None:
            locks = DirectoryLocks(self.fd)  # those of a process
            threads = [threading.Thread(target=turn, args=(locks, n % 3)) for n in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        def run_and_tell() -> None:
            run()
            os._exit(failed.is_set())

        other = threading.Thread(target=run)
        other.start()
        self.assertEqual(in_child(run_and_tell), 0)
        other.join()
        self.assertFalse(failed.is_set())

    def test_order(self) -> None:
        """Two moves in opposite directions do not wait for each other."""
        one, other = self.directories[:2]

        def run(*between: int) -> None:
            for _ in range(500):
                with self.locks.of(*between):
                    pass

        threads = [
            threading.Thread(target=run, args=between) for between in ((one, other), (other, one))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
