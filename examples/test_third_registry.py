"""
A registry of one's own against the contract: ``trial examples.test_third_registry``, in a checkout
of chatfiles.
"""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.testing import MemoryRegistry
from examples.third_registry import ListingRegistry
from tests.contract.registry import RegistryContract
from tests.contract.registry_case import FIRST, add_workspace


class ListingRegistryTests(RegistryContract, TestCase):
    """`ListingRegistry` is a registry."""

    def make_registry(self) -> IWorkspaceRegistry:
        self.memory = MemoryRegistry(now=self.now)
        self.listing = ListingRegistry(self.memory)
        registry: IWorkspaceRegistry = self.listing
        return registry

    async def cut_off(self) -> None:
        self.memory.failing = True

    async def reconnect(self) -> None:
        self.memory.failing = False

    async def test_removed(self) -> None:
        """What was removed is listed once."""
        await add_workspace(self.listing)
        await self.listing.remove_workspace(FIRST)
        await self.listing.remove_workspace(FIRST)
        self.assertEqual(self.listing.removed, [FIRST])
