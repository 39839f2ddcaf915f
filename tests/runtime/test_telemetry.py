"""
What `--metrics-listen` needs.
"""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.metrics.server import require_library


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
