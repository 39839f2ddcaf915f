"""
The registry in memory, alone and behind the cache, against the contract.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.testing import MemoryRegistry
from tests.contract.registry import RegistryContract
from tests.contract.registry_case import FIRST


class MemoryRegistryTests(RegistryContract, TestCase):
    """`MemoryRegistry` behaves like the real registries."""

    memory: MemoryRegistry

    def make_registry(self) -> IWorkspaceRegistry:
        self.memory = MemoryRegistry(now=self.now)
        return self.memory

    async def cut_off(self) -> None:
        self.memory.failing = True

    async def reconnect(self) -> None:
        self.memory.failing = False


class CachedMemoryRegistryTests(MemoryRegistryTests):
    """A `MemoryRegistry` behind the cache behaves like the real registries."""

    def make_registry(self) -> IWorkspaceRegistry:
        return CachedRegistry(super().make_registry(), Clock())


class SwitchTests(SynchronousTestCase):
    """What only the `MemoryRegistry` has."""

    def setUp(self) -> None:
        self.registry = MemoryRegistry()
        self.successResultOf(self.registry.start())

    def test_hold(self) -> None:
        """A held call is executed at once, and only its result waits, as tests of races require."""
        self.registry.holding = True
        registered = self.registry.register(FIRST, url=None, delivery_mode=None, create_name="x")
        found = self.registry.workspace(FIRST)
        removed = self.registry.remove_workspace(FIRST)
        for answer in (registered, found, removed):
            self.assertNoResult(answer)
        self.registry.release()
        self.assertIsNotNone(self.successResultOf(registered))
        self.assertIsNotNone(self.successResultOf(found))
        self.assertIs(self.successResultOf(removed), True)
        self.assertIsNone(self.successResultOf(self.registry.workspace(FIRST)))

    def test_hold_and_cancel(self) -> None:
        """A held call that is cancelled does not affect the release of the rest."""
        self.registry.holding = True
        left, stayed = self.registry.check(), self.registry.check()
        left.cancel()
        self.failureResultOf(left, CancelledError)
        self.registry.release()
        self.successResultOf(stayed)

    def test_failing_start(self) -> None:
        """A registry whose start has failed is unavailable until it is started."""
        registry = MemoryRegistry()
        registry.failing = True
        self.failureResultOf(registry.start(), RegistryUnavailable)
        registry.failing = False
        self.failureResultOf(registry.check(), RegistryUnavailable)
        self.successResultOf(registry.start())
        self.successResultOf(registry.check())

    def test_asked(self) -> None:
        """Each call is recorded once, so that tests can count the calls."""
        self.successResultOf(self.registry.workspace(FIRST))
        self.successResultOf(self.registry.tokens(FIRST))
        self.assertEqual(self.registry.asked, ["start", "workspace", "tokens"])
