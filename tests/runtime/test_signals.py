"""
Signals that come to a role that has been told to stop already.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.signals import ONE_ORDER, StopSignals


class Reactor(Clock):
    """Has the two events that count, and calls from no other thread."""

    def __init__(self) -> None:
        super().__init__()
        self.triggers: list[Callable[[], None]] = []

    def callWhenRunning(self, function: Callable[[], None]) -> None:
        function()

    def addSystemEventTrigger(self, phase: str, event: str, function: Any) -> None:
        assert (phase, event) == ("before", "shutdown")
        self.triggers.append(function)

    def callFromThread(self, function: Callable[[], None]) -> None:
        function()

    def shut_down(self) -> None:
        """It has been stopped."""
        for trigger in self.triggers:
            trigger()


class SignalTests(SynchronousTestCase):
    def begin(self, sigint: Any = None) -> None:
        """
        :param sigint: what SIGINT does before, instead of the reactor's stop.
        """
        self.heard: list[object] = []
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
            signal.signal(number, lambda number, _: self.heard.append(number))
        if sigint is not None:
            signal.signal(signal.SIGINT, sigint)
        self.reactor = Reactor()
        StopSignals(self.reactor, lambda: self.heard.append("stop_now"))

    def send(self, *numbers: int) -> None:
        for number in numbers:
            signal.raise_signal(number)

    def test_sighup(self) -> None:
        """A terminal that closes would end the role."""
        self.begin()
        self.send(signal.SIGHUP)
        self.assertEqual(self.heard, [])

    def test_sigterm(self) -> None:
        """The reactor would be stopped twice; the second one may come before it stops."""
        self.begin()
        self.send(signal.SIGTERM, signal.SIGTERM)
        self.reactor.shut_down()
        self.reactor.advance(ONE_ORDER)
        self.send(signal.SIGTERM)
        self.assertEqual(self.heard, [signal.SIGTERM])

    def test_two_at_once(self) -> None:
        """A second signal may have come before the first one made anything ignored."""
        self.begin()
        handler: Any = signal.getsignal(signal.SIGINT)
        for _ in range(2):
            handler(signal.SIGINT, None)
        self.assertEqual(self.heard, [signal.SIGINT])

    def test_sigint(self) -> None:
        """Who is impatient would not be heard, or a Ctrl-C that comes twice be taken for that."""
        for first in (signal.SIGINT, signal.SIGTERM):
            self.begin()
            self.send(first, signal.SIGINT)
            self.reactor.shut_down()
            self.send(signal.SIGINT)
            self.assertEqual(self.heard, [first])
            self.reactor.advance(ONE_ORDER)
            self.send(signal.SIGINT, signal.SIGINT)
            self.assertEqual(self.heard, [first, "stop_now"])

    def test_stopped_otherwise(self) -> None:
        """One that cannot start, and stops by itself, would be stopped twice."""
        self.begin()
        self.reactor.shut_down()
        self.send(signal.SIGTERM, signal.SIGINT)
        self.assertEqual(self.heard, [])

    def test_ignored(self) -> None:
        """Ctrl-C in a terminal would end what was put into the background there."""
        self.begin(signal.SIG_IGN)
        self.send(signal.SIGINT)
        self.reactor.shut_down()
        self.reactor.advance(ONE_ORDER)
        self.send(signal.SIGINT)
        self.assertEqual(self.heard, [])
