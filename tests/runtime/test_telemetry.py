"""
What `--metrics-listen` needs.
"""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.metrics.server import require_library
from chatfiles.runtime.role_service import Listener
from chatfiles.runtime.settings import SharedSettings
from chatfiles.runtime.telemetry import Telemetry
from tests.support.certificates import write_certificates


class LibraryTests(SynchronousTestCase):
    """The extra of metrics."""

    def test_installed(self) -> None:
        """With the library, nothing is said."""
        require_library()

    def test_missing(self) -> None:
        """Without it, one line says what to install."""
        name = "prometheus_client"
        self.addCleanup(sys.modules.__setitem__, name, sys.modules[name])
        sys.modules[name] = None  # type: ignore[assignment]
        with self.assertRaisesRegex(ValueError, r"^--metrics-listen needs .*chatfiles\[metrics\]"):
            require_library()


class CertificateTests(SynchronousTestCase):
    """The certificates of listeners."""

    def listener(self, description: str, not_after: float, *, refused: bool = False) -> Listener:
        """:return: a listener whose certificate is renewed."""
        certificates = SimpleNamespace(not_after=not_after, is_refused=refused)
        tls: Any = SimpleNamespace(certificates=certificates)
        return Listener(description, tls, tls)

    def shown(self, telemetry: Telemetry, name: str) -> dict[str, float]:
        """:return: the numbers of a family, by listeners."""
        meter = telemetry.meter
        assert meter is not None
        meter.update()
        children = meter._layout.children(name).items()
        return {listener: meter._numbers[at] for (listener,), at in children}

    def test_shown(self) -> None:
        """All listeners with TLS are shown: those for clients, other nodes, and metrics."""
        base = os.path.abspath(self.mktemp())
        os.mkdir(base)
        write_certificates(base)
        first, second, node, page = (f"chatfiles-tls:{port}" for port in (1, 1, 2, 3))
        second += ":interface=a"
        fixed = f"ssl:4:privateKey={base}/key.pem:certKey={base}/cert.pem"
        settings = SharedSettings(
            (first, second, fixed, "tcp:5"), 1, 1, 1, 1, 1, 1, metrics_listen=page
        )
        telemetry = Telemetry(
            Clock(),
            "platform",
            settings,
            (),
            None,
            self.listener(page, 30, refused=True),
            [self.listener(first, 11), self.listener(second, 10, refused=True)],
            {node: self.listener("chatfiles-tls:9", 20)},
        )
        ends = self.shown(telemetry, "chatfiles_certificate_not_after_seconds")
        self.assertGreater(ends.pop("ssl:4"), 1e9)
        self.assertEqual(ends, {first: 10, node: 20, page: 30})
        refused = self.shown(telemetry, "chatfiles_certificate_refused")
        self.assertEqual(refused, {first: 1, node: 0, page: 1})
