"""
The contract of a registry as a whole.
"""

from __future__ import annotations

from datetime import timedelta, timezone

from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from chatfiles.model import token_hash
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from tests.contract.registry_case import (
    FIRST,
    SECOND,
    SECRET,
    RegistryCase,
    begun,
    every_call,
)


class WholeContract(RegistryCase):
    """Start, close, outages, and what applies to every call."""

    async def test_provides_the_interface(self):
        """A registry provides `IWorkspaceRegistry`."""
        verifyObject(IWorkspaceRegistry, self.registry)

    async def test_check(self):
        """`check` succeeds for a registry that is reachable."""
        await self.registry.check()

    async def test_not_started(self):
        """Calls of a registry that is not started fail: it does not seem empty."""
        registry = self.make_registry()
        for call in every_call(registry).values():
            await self.assert_unavailable(call())
        await registry.close()

    async def test_closed(self):
        """After `close` every call fails with `RegistryUnavailable`, and so does `start`."""
        await self.create()
        await self.mint()
        await self.registry.workspace(FIRST)
        await self.registry.token(token_hash("token"))
        await self.registry.close()
        for call in every_call(self.registry).values():
            await self.assert_unavailable(call())
        await self.assert_unavailable(self.registry.start())

    async def test_close_is_idempotent(self):
        """`close` may be called again, also while it runs."""
        await gatherResults([begun(self.registry.close()), begun(self.registry.close())])
        await self.registry.close()

    async def test_close_finishes_what_is_running(self):
        """A call that was made before `close` is completed, and returns its result."""
        created, listed = begun(self.add()), begun(self.registry.workspaces(limit=100))
        await self.registry.close()
        self.assertEqual((await created).id, FIRST)
        await listed

    async def test_unreachable(self):
        """
        During an outage every call fails with `RegistryUnavailable`; the registry recovers by
        itself.
        """
        await self.create()
        await self.mint()
        await self.registry.workspace(FIRST)
        await self.registry.token(token_hash("token"))
        await self.cut_off()
        for call in every_call(self.registry).values():
            await self.assert_unavailable(call())
        await self.reconnect()
        self.assertIsNotNone(await self.registry.workspace(FIRST))
        self.assertIsNotNone(await self.registry.token(token_hash("token")))
        await self.registry.touch_workspaces({FIRST: self.moment})

    async def test_unreachable_changes_nothing(self):
        """A change that failed is not made later."""
        await self.create()
        token = await self.mint()
        await self.cut_off()
        for call in every_call(self.registry).values():
            await self.assert_unavailable(call())
        await self.reconnect()
        found = await self.registry.workspace(FIRST)
        assert found is not None
        self.assertEqual((found.status, found.inbound_secret), ("provisioning", SECRET))
        self.assertEqual([row.id for row in await self.registry.workspaces(limit=100)], [FIRST])
        self.assertEqual(await self.registry.tokens(FIRST), [token])

    async def test_moments_are_utc(self):
        """Timestamps are returned in UTC, and denote the moments that were given."""
        self.moment = self.moment.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
        await self.create()
        token = await self.mint()
        await self.registry.touch_tokens({token.id: self.moment})
        registered = await self.registry.register(
            FIRST, url=None, delivery_mode=None, create_name=None
        )
        row = await self.registry.workspace(FIRST)
        (listed,) = await self.registry.tokens(FIRST)
        await self.create(SECOND)
        await self.registry.touch_workspaces({SECOND: self.moment})
        beat = await self.registry.fresh_workspace(SECOND)
        assert registered is not None
        assert row is not None
        assert beat is not None
        moments = [token.created_at, listed.created_at, listed.last_used_at]
        moments += [each.last_heartbeat_at for each in (registered, row, beat)]
        for moment in moments:
            assert moment is not None
            self.assertEqual(moment, self.moment)
            self.assertEqual(moment.utcoffset(), timedelta(0))

    async def test_reads_see_writes(self):
        """A read after a change returns the new value."""
        await self.create()
        await self.mint()
        for n in range(5):
            url = f"http://{n}"
            await self.registry.register(FIRST, url=url, delivery_mode=None, create_name=None)
            found, fresh = await gatherResults(
                [
                    begun(self.registry.workspace(FIRST)),
                    begun(self.registry.fresh_workspace(FIRST)),
                ]
            )
            assert found is not None
            assert fresh is not None
            self.assertEqual((found.url, fresh.url), (url, url))

    async def test_secrets_are_not_shown(self):
        """Secrets and token hashes are not in a repr, which may be logged."""
        created = await self.create()
        token = await self.mint()
        shown = repr((created, token, self.registry))
        self.assertNotIn(SECRET, shown)
        self.assertNotIn(repr(token_hash("token"))[2:-1], shown)
