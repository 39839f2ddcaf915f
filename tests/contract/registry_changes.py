"""
The contract of a registry's subscriptions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from twisted.internet.defer import Deferred

from chatfiles.errors import Conflict
from chatfiles.model import Workspace
from tests.contract.registry_case import (
    FIRST,
    OTHER_SECRET,
    SECOND,
    SECRET,
    UNKNOWN,
    RegistryCase,
    T,
    begun,
    every_call,
)


class ChangesContract(RegistryCase):
    """Which changes subscribers are notified of, and when."""

    async def test_changes_are_told(self):
        """Subscribers are notified of a change before the call that makes it returns."""
        told = self.told()

        async def expect(call: Callable[[], Awaitable[T]]) -> T:
            told.clear()
            result = await call()
            self.assertIn(FIRST, told)
            return result

        registry = self.registry
        await expect(every_call(registry)["register"])
        await expect(
            lambda: registry.register(FIRST, url="http://a", delivery_mode=None, create_name=None)
        )
        await expect(lambda: registry.ensure_secret(FIRST, SECRET))
        token = await expect(self.mint)
        await expect(lambda: registry.revoke_token(FIRST, token.id))
        await expect(lambda: registry.revoke_links(FIRST))
        await expect(lambda: registry.remove_workspace(FIRST))
        told.clear()
        await self.create(SECOND)
        self.assertIn(SECOND, told)

    async def test_nothing_is_told(self):
        """Calls that change nothing do not notify subscribers, so that caches are kept."""
        await self.create()
        await self.create(SECOND)
        token = await self.mint()
        await self.registry.remove_workspace(SECOND)
        await self.settle()
        told = self.told()
        for name in ("check", "workspace", "fresh_workspace", "workspaces", "token"):
            await every_call(self.registry)[name]()
        for name in ("has_live_token", "tokens", "revoke_token", "token_by_id", "link_keys"):
            await every_call(self.registry)[name]()
        await self.registry.ensure_secret(FIRST, OTHER_SECRET)
        await self.registry.touch_workspaces(dict.fromkeys((FIRST, SECOND), self.moment))
        await self.registry.touch_tokens({token.id: self.moment})
        await self.registry.register(SECOND, url=None, delivery_mode=None, create_name="x")
        await self.registry.register(UNKNOWN, url=None, delivery_mode=None, create_name=None)
        await self.registry.remove_workspace(SECOND)
        await self.registry.revoke_links(SECOND)
        await self.registry.revoke_token(SECOND, token.id)
        await self.try_token("other", only_first=True)
        with self.assertRaises(Conflict):
            await self.create()
        with self.assertRaises(Conflict):
            await self.mint()
        await self.settle()
        self.assertEqual(told, [])

    async def test_unsubscribe(self):
        """
        A subscriber is not notified after it unsubscribes; unsubscribing twice ends no other
        subscription.
        """
        ended: list[UUID | None] = []
        unsubscribe = self.registry.subscribe(ended.append)
        told = self.told()
        unsubscribe()
        unsubscribe()
        await self.create()
        await self.settle()
        self.assertEqual(ended, [])
        self.assertIn(FIRST, told)

    async def test_unsubscribe_while_told(self):
        """A subscriber that is unsubscribed during a notification does not receive it."""
        ended: list[UUID | None] = []
        ends: list[Callable[[], None]] = []
        first = self.registry.subscribe(lambda _: ends[0]())
        ends.append(self.registry.subscribe(ended.append))
        await self.create()
        first()
        self.assertEqual(ended, [])

    async def test_same_subscriber_twice(self):
        """Two subscriptions of one callable end separately."""
        told: list[UUID | None] = []
        unsubscribe = self.registry.subscribe(told.append)
        self.addCleanup(self.registry.subscribe(told.append))
        unsubscribe()
        await self.create()
        self.assertIn(FIRST, told)

    async def test_subscriber_that_fails(self):
        """
        A subscriber that fails breaks neither the change nor the notification of other subscribers.
        """

        def fails(_: UUID | None) -> None:
            raise ZeroDivisionError

        unsubscribe = self.registry.subscribe(fails)
        told = self.told()
        await self.create()
        unsubscribe()
        self.assertIn(FIRST, told)
        self.assertGreaterEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_subscriber_that_asks(self):
        """A subscriber that reads as soon as it is notified gets the new value."""
        await self.create()
        await self.settle()  # the first notification is that of the next change
        await self.registry.workspace(FIRST)
        asked: list[Deferred[Workspace | None]] = []
        self.addCleanup(
            self.registry.subscribe(lambda _: asked.append(begun(self.registry.workspace(FIRST))))
        )
        await self.registry.register(FIRST, url="http://new", delivery_mode=None, create_name=None)
        found = await asked[0]
        assert found is not None
        self.assertEqual(found.url, "http://new")
