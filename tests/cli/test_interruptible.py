"""
Tests for `chatfiles.cli.interruptible`.
"""

from __future__ import annotations

import signal
import threading
from queue import Empty, SimpleQueue

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli.interruptible import next_item
from tests.support.patience import PATIENCE


class Signalled(Exception):
    """The handler of a signal was called."""


class NextItemTests(SynchronousTestCase):
    """`next_item`."""

    def setUp(self) -> None:
        self.queue: SimpleQueue[str] = SimpleQueue()

    def test_items(self) -> None:
        """Items come in their order, also those that are waited for."""
        self.queue.put("a")
        threading.Timer(0.01, self.queue.put, ["b"]).start()
        self.assertEqual([next_item(self.queue), next_item(self.queue, PATIENCE)], ["a", "b"])

    def test_none(self) -> None:
        """The wait for an item that does not come ends."""
        for seconds in (-1.0, 0.0, 0.01, 0.51):
            self.assertRaises(Empty, next_item, self.queue, seconds)

    def test_signal_of_another_thread(self) -> None:
        """A signal that does not interrupt the wait itself is handled all the same."""

        def handle(*_: object) -> None:
            raise Signalled

        def send() -> None:
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, handle))
        for seconds in (None, 2 * PATIENCE):
            threading.Timer(0.2, send).start()  # usually after the wait has begun
            end = threading.Timer(PATIENCE, self.queue.put, ["an item"])
            end.start()
            self.assertRaises(Signalled, next_item, self.queue, seconds)
            self.assertTrue(end.is_alive(), "the wait has only ended with the item")
            end.cancel()
