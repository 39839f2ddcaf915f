"""
The programs of ``docs/howto/embed``, which are in ``examples/``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from examples.test_report_upload import ReportsTests
from examples.test_third_registry import ListingRegistryTests
from tests.docs import ROOT
from tests.live.rawhttp import fetch
from tests.support.patience import PATIENCE

__all__ = ["EmbeddedPlatformTests", "ListingRegistryTests", "ReportsTests"]

ADMIN = "admin-token-of-the-example"


class EmbeddedPlatformTests(SynchronousTestCase):
    """``examples/embed_platform.py``."""

    def test_served(self) -> None:
        """The platform is below /files, beside a resource of the program, and ends as it should."""
        directory = tempfile.TemporaryDirectory(prefix="chatfiles-embed-")
        self.addCleanup(directory.cleanup)
        with subprocess.Popen(
            [sys.executable, "examples/embed_platform.py", "0", directory.name],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": ROOT, "ADMIN_TOKEN": ADMIN},
            stdout=subprocess.PIPE,
            text=True,
        ) as program:
            self.addCleanup(program.kill)
            assert program.stdout is not None
            url = program.stdout.readline().strip()
            self.assertEqual(fetch(url, "/").body, b"files are below /files\n")
            self.assertEqual(fetch(url, "/health").status, 404)
            fields = {"Authorization": f"Bearer {ADMIN}"}
            body = json.dumps({"name": "one"}).encode()
            made = fetch(url, "/files/workspaces", fields, method="POST", body=body)
            self.assertEqual((made.status, made.json["name"]), (201, "one"))
            shown = fetch(url, "/files/openapi.json")
            self.assertEqual(shown.json["openapi"], "3.1.0")
            program.send_signal(signal.SIGTERM)
            program.wait(PATIENCE)
        self.assertEqual(program.returncode, 0)
