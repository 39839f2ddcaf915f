"""
Roles in a process of one's own.
"""

from __future__ import annotations

import os

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from chatfiles.embedding import embedded_platform, embedded_workspace
from chatfiles.errors import RegistryUnavailable
from chatfiles.testing import MemoryRegistry


class EmbeddingTests(TestCase):
    """What a program learns when a role cannot be made or started.  See `tests.testing`, too."""

    async def test_unusable_database(self) -> None:
        """``begin`` raises what prevents the start, for people, and ends no process."""
        path = os.path.join(self.mktemp(), "no", "registry.db")
        platform = embedded_platform(reactor, [f"--database=sqlite:{path}"], admin_token="a")
        self.addCleanup(platform.stopService)
        with self.assertRaisesRegex(ValueError, "--database"):
            await platform.begin()

    async def test_unusable_registry(self) -> None:
        """So it does for a registry of the program, with the registry's own error."""
        registry = MemoryRegistry()
        registry.failing = True
        platform = embedded_platform(reactor, [], admin_token="a", registry=registry)
        self.addCleanup(platform.stopService)
        with self.assertRaises(RegistryUnavailable):
            await platform.begin()

    def test_options(self) -> None:
        """A wrong option is a `ValueError` that names it."""
        for options in (["--nothing"], ["--root=/nowhere=/tmp"], ["--state-dir=/x"]):
            with self.assertRaisesRegex(ValueError, options[0].partition("=")[0]):
                embedded_workspace(reactor, options)
