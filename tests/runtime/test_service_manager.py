"""
What systemd learns about a role.
"""

from __future__ import annotations

import os
import socket

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.service_manager import ServiceManager


class MessageTests(SynchronousTestCase):
    """The messages, and when they are sent."""

    def setUp(self) -> None:
        self.sent: list[bytes] = []
        self.clock = Clock()

    def manager(self, watchdog: float | None = None) -> ServiceManager:
        """:return: a manager whose monotonic clock stands still."""
        return ServiceManager(self.sent.append, self.clock, watchdog, lambda: 5_000_999)

    def test_life(self) -> None:
        """Each change is one message, in the words of ``sd_notify(3)``."""
        manager = self.manager()
        manager.ready("ready on http://h", lambda: succeed(None))
        manager.reloading()
        manager.reloaded()
        manager.stopping()
        self.assertEqual(
            self.sent,
            [
                b"READY=1\nSTATUS=ready on http://h",
                b"RELOADING=1\nMONOTONIC_USEC=5000",
                b"READY=1\nSTATUS=ready on http://h",
                b"STOPPING=1\nSTATUS=finishing the running transfers",
            ],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_watchdog(self) -> None:
        """Two signs of life are sent in each period, also while the role drains."""
        manager = self.manager(10.0)
        self.clock.advance(20)
        self.assertEqual(self.sent, [], "before it is ready")
        manager.ready("", lambda: succeed(None))
        manager.stopping()
        self.clock.pump([5.0] * 4)
        self.assertEqual(self.sent.count(b"WATCHDOG=1"), 5)

    def test_hangs(self) -> None:
        """While a part of the role hangs, or has failed, no sign of life is sent."""
        results: list[Deferred[None]] = [Deferred(), fail(ValueError()), succeed(None)]
        first = results[0]
        self.manager(10.0).ready("", lambda: results.pop(0) if results else succeed(None))
        self.clock.pump([5.0] * 4)
        self.assertEqual(self.sent.count(b"WATCHDOG=1"), 0)
        first.callback(None)
        self.assertEqual(self.sent.count(b"WATCHDOG=1"), 1)
        self.clock.advance(5)
        self.assertEqual(self.sent.count(b"WATCHDOG=1"), 1)
        self.clock.advance(5)
        self.assertEqual(self.sent.count(b"WATCHDOG=1"), 2)


class EnvironmentTests(SynchronousTestCase):
    """The manager that the environment names."""

    def receive(self, bound: str, named: str) -> bytes:
        """:return: what a socket receives when the role is ready."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(bound)
            receiver.settimeout(10)
            environment = {"NOTIFY_SOCKET": named, "OTHER": "kept"}
            manager = ServiceManager.of_environment(environment, 7, Clock())
            self.assertEqual(environment, {"OTHER": "kept"})
            manager.ready("s", lambda: succeed(None))
            return receiver.recv(1000)

    def test_socket(self) -> None:
        """The socket has a path, or an abstract name; its variable is removed."""
        directory = os.path.relpath(self.mktemp())
        os.mkdir(directory)
        path = os.path.join(directory, "s")
        link = f"/tmp/chatfiles-{os.getpid()}"
        os.symlink(os.path.abspath(directory), link)
        self.addCleanup(os.unlink, link)
        name = f"chatfiles-test-{os.getpid()}"
        for bound, named in ((path, f"{link}/s"), (f"\0{name}", f"@{name}")):
            self.assertEqual(self.receive(bound, named), b"READY=1\nSTATUS=s")

    def test_none(self) -> None:
        """Without a manager, or with one that has ended, nothing happens."""
        for given in (
            {},
            {"NOTIFY_SOCKET": ""},
            {"NOTIFY_SOCKET": "/none/s"},
            {"NOTIFY_SOCKET": "x"},
        ):
            manager = ServiceManager.of_environment(dict(given), 7, Clock())
            manager.ready("s", lambda: succeed(None))

    def test_watchdog(self) -> None:
        """The watchdog of another process is none."""
        for period, pid, expected in (
            ("20000000", "", 1),
            ("20000000", "7", 1),
            ("20000000", "8", 0),
            ("0", "", 0),
            ("x", "", 0),
            ("", "", 0),
        ):
            clock = Clock()
            environment = {"NOTIFY_SOCKET": "/none/s", "WATCHDOG_USEC": period, "WATCHDOG_PID": pid}
            manager = ServiceManager.of_environment(environment, 7, clock)
            manager.ready("s", lambda: succeed(None))
            calls = clock.getDelayedCalls()
            self.assertEqual(len(calls), expected, (period, pid))
            self.assertEqual([each.getTime() for each in calls], [10.0] * expected)
            self.assertEqual(environment, {})
