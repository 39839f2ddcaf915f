"""
Looking up the host name of the PostgreSQL server, without a server.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twisted.trial.unittest import TestCase

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.postgres import open_postgres
from chatfiles.rules.address_policy import IPAddress
from tests.contract.registry_case import begun
from tests.platform.registry.postgres.postgres_case import REACTOR
from tests.support.loopback import until
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from chatfiles.platform.registry.postgres.registry import PostgresRegistry

URL = "postgresql://db.example/chatfiles"


def not_found(name: str) -> Sequence[IPAddress]:
    """A name server that does not know *name*."""
    raise socket.gaierror(-2, "Name or service not known")


class LookupThreadTests(TestCase):
    """The threads that look up host names."""

    def setUp(self) -> None:
        self.before = set(threading.enumerate())

    def lookup_threads(self) -> list[threading.Thread]:
        """:return: the look-up threads of this test that are alive."""
        new = set(threading.enumerate()) - self.before
        return [thread for thread in new if "registry-lookup" in thread.name]

    def make(self, lookup: object = not_found) -> PostgresRegistry:
        registry = open_postgres(URL, reactor=REACTOR, now=lambda: datetime.now(UTC), lookup=lookup)
        self.addCleanup(lambda: begun(registry.close()))
        return registry

    async def fails(self, registry: PostgresRegistry) -> str:
        """:return: the cause of the `RegistryUnavailable` that `start` raises."""
        with self.assertRaises(RegistryUnavailable) as caught:
            await registry.start()
        return str(caught.exception.__cause__)

    async def test_closed(self) -> None:
        """`close` ends the look-up threads of a registry, which cannot be started again."""
        registry = self.make()
        self.assertIn("cannot be looked up", await self.fails(registry))
        self.assertNotEqual(self.lookup_threads(), [])
        await registry.close()
        await until(REACTOR, lambda: self.lookup_threads() == [])
        await registry.close()
        with self.assertRaises(RegistryUnavailable):
            await registry.start()
        await registry.close()
        self.assertEqual(self.lookup_threads(), [])

    async def test_closed_during_a_lookup(self) -> None:
        """`close` does not wait for a look-up that hangs; its thread ends with the look-up."""
        running, resume = threading.Event(), threading.Event()
        self.addCleanup(resume.set)

        def slow(name: str) -> Sequence[IPAddress]:
            running.set()
            resume.wait(PATIENCE)
            return not_found(name)

        registry = self.make(slow)
        started = begun(self.fails(registry))
        await until(REACTOR, running.is_set)
        await registry.close()
        await started
        self.assertNotEqual(self.lookup_threads(), [])
        resume.set()
        await until(REACTOR, lambda: self.lookup_threads() == [])

    async def test_no_thread_can_be_started(self) -> None:
        """
        If no thread can be started, a call fails with `RegistryUnavailable`; no error is logged.
        """

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        registry = self.make()
        self.patch(threading.Thread, "start", refuse)
        self.assertIn("no thread can be started", await self.fails(registry))
        registry._readers.open()
        with self.assertRaises(RegistryUnavailable):
            await registry.check()
        self.assertEqual(self.flushLoggedErrors(), [])
