"""
What the cases of the registry's contract share: hooks, ids, helpers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from chatfiles.errors import RegistryUnavailable
from chatfiles.model import ALL_SCOPES, Token, Workspace, token_hash
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.rules.link_keys import new_link_key

T = TypeVar("T")

#: Ids in ascending order.
FIRST = UUID("0b6a2d3e-6a3f-4d64-9d0b-3b8a4b6e1f01")
SECOND = UUID("5c1f9f0e-93f4-4a52-8f3b-0a7d6f2b1c02")
THIRD = UUID("f3a9d8c7-1b2e-4f60-a1b2-c3d4e5f60703")
UNKNOWN = UUID("00000000-0000-4000-8000-000000000000")

#: Secrets that a registry must not show.
SECRET = "inbound-secret-that-nobody-may-see"
OTHER_SECRET = "another-secret-that-nobody-may-see"

if TYPE_CHECKING:
    Base = TestCase
else:
    Base = object


def begun(awaitable: Awaitable[T]) -> Deferred[T]:
    """:return: the result of a call that has been made and is not awaited yet."""

    async def wait() -> T:
        return await awaitable

    return Deferred.fromCoroutine(wait())


def add_workspace(
    registry: IWorkspaceRegistry, workspace_id: UUID = FIRST, **given: Any
) -> Awaitable[Workspace]:
    """Create a workspace and its token, with default values for what is not given."""
    values: dict[str, Any] = {
        "name": "one",
        "url": None,
        "delivery_mode": None,
        "secret": SECRET,
        "digest": token_hash(f"created with {workspace_id}"),
        "prefix": "created",
        "scopes": ALL_SCOPES,
        "token_name": None,
    }
    return registry.create_workspace(workspace_id, **values | given)


def every_call(registry: IWorkspaceRegistry) -> dict[str, Callable[[], Awaitable[Any]]]:
    """:return: a call of each method that may fail, by name."""
    return {
        "check": registry.check,
        "workspace": lambda: registry.workspace(FIRST),
        "fresh_workspace": lambda: registry.fresh_workspace(FIRST),
        "workspaces": lambda: registry.workspaces(limit=100),
        "create_workspace": lambda: add_workspace(registry, THIRD),
        "register": lambda: registry.register(
            FIRST, url=None, delivery_mode=None, create_name="new"
        ),
        "claim": lambda: registry.claim(
            SECOND,
            url=None,
            delivery_mode=None,
            create_name="new",
            digest=token_hash("claim"),
            prefix="claim",
            scopes=ALL_SCOPES,
            name=None,
        ),
        "rotate_secret": lambda: registry.rotate_secret(FIRST, SECRET, force=False),
        "promote_secret": lambda: registry.promote_secret(FIRST, SECRET),
        "ensure_secret": lambda: registry.ensure_secret(FIRST, SECRET),
        "touch_workspaces": lambda: registry.touch_workspaces({FIRST: datetime.now(UTC)}),
        "remove_workspace": lambda: registry.remove_workspace(FIRST),
        "token": lambda: registry.token(token_hash("token")),
        "create_token": lambda: registry.create_token(
            FIRST, digest=token_hash("new"), prefix="new", scopes=ALL_SCOPES, name=None
        ),
        "has_live_token": lambda: registry.has_live_token(FIRST),
        "tokens": lambda: registry.tokens(FIRST),
        "revoke_token": lambda: registry.revoke_token(FIRST, UNKNOWN),
        "link_clock": lambda: registry.link_clock(FIRST),
        "revoke_links": lambda: registry.revoke_links(FIRST),
        "token_by_id": lambda: registry.token_by_id(UNKNOWN),
        "link_keys": registry.link_keys,
        "fresh_link_keys": registry.fresh_link_keys,
        "ensure_link_key": lambda: registry.ensure_link_key(new_link_key(datetime.now(UTC))),
        "rotate_link_keys": lambda: registry.rotate_link_keys(new_link_key(datetime.now(UTC))),
        "revoke_link_key": lambda: registry.revoke_link_key("00000000"),
        "enter_node": lambda: registry.enter_node(UNKNOWN, None),
        "touch_node": lambda: registry.touch_node(UNKNOWN, None),
        "leave_node": lambda: registry.leave_node(UNKNOWN),
        "open_channel": lambda: registry.open_channel(FIRST, UNKNOWN),
        "close_channel": lambda: registry.close_channel(FIRST, UNKNOWN),
        "connected_workspaces": registry.connected_workspaces,
        "channel_places": lambda: registry.channel_places(FIRST),
        "fresh_channel_places": lambda: registry.fresh_channel_places(FIRST),
        "touch_tokens": lambda: registry.touch_tokens({UNKNOWN: datetime.now(UTC)}),
    }


class RegistryCase(Base):
    """
    Mixed into a `TestCase` that implements the hooks.

    :ivar registry: a registry that is started, and empty.
    :ivar moment: the time of its clock.
    """

    registry: IWorkspaceRegistry
    moment: datetime

    # Hooks

    def make_registry(self) -> IWorkspaceRegistry:
        """
        :return: a registry that is not started, on this test's storage, with `now` as its clock.
        """
        raise NotImplementedError

    async def cut_off(self) -> None:
        """Make the storage of `registry` unreachable, and return when it has noticed."""
        raise NotImplementedError

    async def reconnect(self) -> None:
        """Make the storage reachable again."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Return when subscribers have been notified of every change made so far."""

    def shared_seconds(self) -> int:
        """:return: the time of the clock that the nodes share, in unix seconds."""
        return int(self.moment.timestamp())

    # Helpers

    def now(self) -> datetime:
        return self.moment

    def pass_time(self, seconds: float = 1) -> None:
        self.moment += timedelta(seconds=seconds)

    async def setUp(self) -> None:  # type: ignore[override]
        self.moment = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
        self.registry = self.make_registry()
        self.addCleanup(lambda: begun(self.registry.close()))
        await self.registry.start()

    def add(self, workspace_id: UUID = FIRST, **given: Any) -> Awaitable[Workspace]:
        return add_workspace(self.registry, workspace_id, **given)

    async def create(self, workspace_id: UUID = FIRST, **given: Any) -> Workspace:
        """Create a workspace, and revoke its token."""
        workspace = await self.add(workspace_id, **given)
        (token,) = await self.registry.tokens(workspace_id)
        await self.registry.revoke_token(workspace_id, token.id)
        return workspace

    async def mint(self, text: str = "token", workspace_id: UUID = FIRST, **given: Any) -> Token:
        values = {"prefix": text[:8], "scopes": ALL_SCOPES, "name": None} | given
        token = await self.registry.create_token(workspace_id, digest=token_hash(text), **values)
        assert token is not None
        return token

    async def assert_unavailable(self, awaitable: Awaitable[object]) -> None:
        with self.assertRaises(RegistryUnavailable) as caught:
            await awaitable
        self.assertEqual(caught.exception.status, 503)
        self.assertEqual(caught.exception.text, RegistryUnavailable.text)
        self.assertIsNotNone(caught.exception.retry_after)
        self.assertNotIn(SECRET, repr((caught.exception, caught.exception.detail)))

    def try_token(self, text: str, **given: Any) -> Awaitable[Token | None]:
        return self.registry.create_token(
            FIRST, digest=token_hash(text), prefix=text, scopes=ALL_SCOPES, name=None, **given
        )

    async def last_used(self) -> list[datetime | None]:
        return [token.last_used_at for token in await self.registry.tokens(FIRST)]

    def told(self) -> list[UUID | None]:
        told: list[UUID | None] = []
        self.addCleanup(self.registry.subscribe(told.append))
        return told
