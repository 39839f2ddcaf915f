"""Tests of a program that uses a platform: ``trial examples.test_report_upload``."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from chatfiles.testing import FakePlatform, FakeWorkspace
from examples.report_upload import Reports


class ReportsTests(TestCase):
    """`Reports`, with a fake platform and a fake workspace."""

    async def setUp(self) -> None:  # type: ignore[override]
        self.workspace = FakeWorkspace(reactor, self.mktemp(), ["--writable=/workspace"])
        self.platform = FakePlatform(reactor)
        for role in (self.workspace, self.platform):
            await role.start()
            self.addCleanup(role.stop)
        known = await self.platform.add(self.workspace)
        self.reports = Reports(self.platform.url, str(known.id), known.token)

    async def test_stored(self) -> None:
        """A report that was stored can be read."""
        await self.reports.store("may.txt", "all is well")
        self.assertEqual(await self.reports.read("may.txt"), "all is well")

    async def test_missing(self) -> None:
        """A report that was not stored is missing."""
        with self.assertRaises(LookupError):
            await self.reports.read("june.txt")

    async def test_outage(self) -> None:
        """While the registry is down, nothing is stored, and the reason is reported."""
        self.platform.registry.failing = True
        with self.assertRaisesRegex(RuntimeError, "platform_unavailable"):
            await self.reports.store("may.txt", "all is well")
