"""
Sockets of systemd that have no names.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.systemd_endpoint import initial_environment, systemd_endpoint

PASSED = {"LISTEN_PID": "7", "LISTEN_FDS": "2"}


class UnnamedTests(SynchronousTestCase):
    """`systemd_endpoint`; sockets with names are in `tests.live.test_systemd`."""

    def test_passed(self) -> None:
        """The sockets are counted from descriptor 3."""
        for description, fd, family in (
            ("systemd:domain=INET:index=0", 3, socket.AF_INET),
            ("systemd:domain=INET6:index=1", 4, socket.AF_INET6),
            ("systemd:domain=UNIX:index=1", 4, socket.AF_UNIX),
        ):
            endpoint: Any = systemd_endpoint(None, description, PASSED, 7)
            self.assertIsInstance(endpoint, AdoptedStreamServerEndpoint)
            self.assertEqual((endpoint.fileno, endpoint.addressFamily), (fd, family))

    def test_not_passed(self) -> None:
        """Any other socket is refused, with a reason that an operator understands."""
        first = "systemd:domain=INET:index=0"
        for description, environment in (
            ("systemd:domain=INET:index=2", PASSED),
            ("systemd:domain=INET:name=x", PASSED),
            (first, {}),
            (first, {**PASSED, "LISTEN_PID": "8"}),
            (first, {**PASSED, "LISTEN_FDS": "-1"}),
            (first, {**PASSED, "LISTEN_FDNAMES": "a:b"}),  # Twisted has seen them
        ):
            with self.assertRaisesRegex(ValueError, "no such socket was passed"):
                systemd_endpoint(None, description, environment, 7)

    def test_environment(self) -> None:
        """Variables that were there when the process was started are found."""
        self.assertEqual(initial_environment()["PATH"], os.environ["PATH"])
