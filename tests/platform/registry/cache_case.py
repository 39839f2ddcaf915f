"""
What the tests of the cache share.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.model import ALL_SCOPES, token_hash
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.testing import MemoryRegistry
from tests.contract.registry_case import FIRST, SECOND, begun

A, B = token_hash("a"), token_hash("b")


class CacheTestCase(SynchronousTestCase):
    """A cache over a registry in memory, with two workspaces that have one token each."""

    most = 100

    def setUp(self) -> None:
        self.inner = MemoryRegistry()
        self.clock = Clock()
        self.cache = CachedRegistry(self.inner, self.clock, most=self.most)
        self.now(self.cache.start())
        self.add(FIRST, A)
        self.add(SECOND, B)
        self.inner.asked.clear()

    def add(self, workspace_id: UUID, digest: bytes) -> None:
        self.register(workspace_id, "http://old", create_name="x")
        self.now(
            self.inner.create_token(
                workspace_id, digest=digest, prefix="", scopes=ALL_SCOPES, name=None
            )
        )

    def now(self, awaitable: Awaitable[Any]) -> Any:
        """:return: the result, which must be available already."""
        return self.successResultOf(begun(awaitable))

    def register(self, workspace_id: UUID, url: str, create_name: str | None = None) -> None:
        """Change a workspace without the cache."""
        self.now(
            self.inner.register(workspace_id, url=url, delivery_mode=None, create_name=create_name)
        )

    def url(self, workspace_id: UUID = FIRST) -> str | None:
        url: str | None = self.now(self.cache.workspace(workspace_id)).url
        return url

    def assert_asked(self, *names: str) -> None:
        """Assert which methods of the inner registry were called since the last assertion."""
        self.assertEqual(self.inner.asked, list(names))
        self.inner.asked.clear()

    def held(self, ask: Callable[..., Awaitable[Any]], about: object) -> Deferred[Any]:
        """
        :return: the result of a call; the inner registry has read it, but not delivered it yet.
        """
        self.inner.holding = True
        held = begun(ask(about))
        self.inner.holding = False
        self.assertNoResult(held)
        return held

    def meanwhile(self, change: Callable[[], object]) -> None:
        """Make a change while results are pending."""
        held, self.inner._held = self.inner._held, []
        change()
        self.inner._held = held

    def change(self, workspace_id: UUID = FIRST) -> None:
        """Change a workspace while results are pending."""
        self.meanwhile(lambda: self.register(workspace_id, "http://new"))
