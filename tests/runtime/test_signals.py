"""
Signals to a role that is already stopping.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.signals import ONE_ORDER, StopSignals


class Reactor(Clock):
    """A reactor with the two events that are used, and without other threads."""

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
        """Fire the events of the shutdown."""
        for trigger in self.triggers:
            trigger()


class SignalTests(SynchronousTestCase):
    def begin(self, sigint: Any = None) -> None:
        """
        :param sigint: the handler of SIGINT, instead of the reactor's stop.
        """
        self.heard: list[object] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
            signal.signal(number, lambda number, _: self.heard.append(number))
        if sigint is not None:
            signal.signal(signal.SIGINT, sigint)
        self.reactor = Reactor()
        StopSignals(self.reactor, lambda: self.heard.append("stop_now"))

    def send(self, *numbers: int) -> None:
        for number in numbers:
            signal.raise_signal(number)

    def test_sigterm(self) -> None:
        """The reactor is stopped once, even if a second SIGTERM arrives before it has stopped."""
        self.begin()
        self.send(signal.SIGTERM, signal.SIGTERM)
        self.reactor.shut_down()
        self.reactor.advance(ONE_ORDER)
        self.send(signal.SIGTERM)
        self.assertEqual(self.heard, [signal.SIGTERM])

    def test_two_at_once(self) -> None:
        """
        A second signal that arrives before further signals are ignored does not stop the reactor
        again.
        """
        self.begin()
        handler: Any = signal.getsignal(signal.SIGINT)
        for _ in range(2):
            handler(signal.SIGINT, None)
        self.assertEqual(self.heard, [signal.SIGINT])

    def test_sigint(self) -> None:
        """A second Ctrl-C stops the role at once; one within `ONE_ORDER` counts as the first."""
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
        """
        Signals do not stop a reactor that has been stopped otherwise, such as after a failed start.
        """
        self.begin()
        self.reactor.shut_down()
        self.send(signal.SIGTERM, signal.SIGINT)
        self.assertEqual(self.heard, [])

    def test_ignored(self) -> None:
        """SIGINT stays ignored if it was, as for a background process of a terminal."""
        self.begin(signal.SIG_IGN)
        self.send(signal.SIGINT)
        self.reactor.shut_down()
        self.reactor.advance(ONE_ORDER)
        self.send(signal.SIGINT)
        self.assertEqual(self.heard, [])
