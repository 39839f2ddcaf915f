"""
A platform for tests, with a registry in memory and without a connection to any workspace.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.model import token_hash
from chatfiles.platform.admin_token import AdminToken
from chatfiles.platform.authentication import Authenticator
from chatfiles.platform.last_seen import LastSeenBuffer
from chatfiles.platform.refused_credentials import RefusedCredentials
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.routes.context import PlatformContext, UploadLimits
from chatfiles.platform.routes.route_table import platform_tree
from chatfiles.platform.signed_links import Links
from chatfiles.testing import MemoryRegistry
from tests.contract.registry_case import add_workspace, begun
from tests.support.memory_client import Caller, Received, get

ADMIN = "admin"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class MemoryPlatformCase(SynchronousTestCase):
    """
    :cvar registry_class: makes the registry.
    :ivar moment: the current time.
    :ivar registry: the registry in memory, without the platform's cache.
    """

    registry_class = MemoryRegistry

    def setUp(self) -> None:
        self.moment = START
        self.admin = AdminToken(ADMIN)
        self.registry = self.registry_class(now=lambda: self.moment)
        self.clock = Clock()
        cache = CachedRegistry(self.registry, self.clock)
        self.successResultOf(begun(cache.start()))
        self.heartbeats = LastSeenBuffer(
            "heartbeats", cache.touch_workspaces, self.clock, lambda: self.moment
        )
        self.heartbeats.startService()
        unused: Any = None
        authenticator = self.authenticator(cache)
        self.context = PlatformContext(
            registry=cache,
            authenticator=authenticator,
            heartbeats=self.heartbeats,
            resolver=unused,
            gateway=unused,
            links=Links(cache, authenticator, lambda: self.moment),
            check_url=unused,
            clock=self.clock,
            idle_timeout=60,
            limits=UploadLimits(1, 1),
            channels=unused,
            node=unused,
        )

    def authenticator(
        self,
        cache: CachedRegistry,
        used: Callable[[UUID], object] = lambda _: None,
        most_refusals: int = 0,
        **more: Any,
    ) -> Authenticator:
        """:return: what checks the credentials of clients, by default without a limit."""
        refused = RefusedCredentials(most_refusals, self.clock.seconds)
        return Authenticator(cache, self.admin, used, refused, **more)

    def add(self, workspace_id: UUID, secret: str = "secret", **given: Any) -> None:
        """Add a workspace whose token is its id."""
        digest = token_hash(str(workspace_id))
        adding = add_workspace(self.registry, workspace_id, secret=secret, digest=digest, **given)
        self.successResultOf(begun(adding))

    def ask(self, request: bytes) -> Received:
        """:return: the response, which must be complete at once."""
        return Caller(platform_tree(self.context)).send(request).answer()

    def get(self, target: str, token: str = ADMIN) -> Received:
        """:return: the response to the holder of *token*."""
        return self.ask(get(target.encode(), f"Authorization: Bearer {token}".encode()))
