"""
The contract of a registry's inbound secrets, and of removal.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from chatfiles.model import token_hash
from tests.contract.registry_case import (
    FIRST,
    OTHER_SECRET,
    SECOND,
    SECRET,
    UNKNOWN,
    RegistryCase,
    begun,
)


class SecretsContract(RegistryCase):
    """Inbound secrets, and removal."""

    async def test_ensure_secret(self):
        """A workspace without a secret (NULL or empty) gets one."""
        await self.registry.register(FIRST, url=None, delivery_mode=None, create_name="null")
        await self.create(SECOND, secret="")
        for workspace_id in (FIRST, SECOND):
            found = await self.registry.ensure_secret(workspace_id, OTHER_SECRET)
            self.assertEqual(found, OTHER_SECRET)
            row = await self.registry.workspace(workspace_id)
            assert row is not None
            self.assertEqual(row.inbound_secret, OTHER_SECRET)

    async def test_ensure_secret_keeps(self):
        """An existing secret is kept, because a workspace that has it refuses any other."""
        await self.create()
        self.assertEqual(await self.registry.ensure_secret(FIRST, OTHER_SECRET), SECRET)
        row = await self.registry.workspace(FIRST)
        assert row is not None
        self.assertEqual(row.inbound_secret, SECRET)

    async def test_ensure_secret_of_nobody(self):
        """A missing or removed workspace does not get a secret."""
        await self.create(SECOND, secret="")
        await self.registry.remove_workspace(SECOND)
        self.assertIsNone(await self.registry.ensure_secret(UNKNOWN, SECRET))
        self.assertIsNone(await self.registry.ensure_secret(SECOND, SECRET))

    async def test_ensure_secret_twice_at_once(self):
        """Concurrent calls for a workspace without a secret return the same one."""
        await self.create(secret="")
        candidates = [f"candidate {n}" for n in range(5)]
        calls = [begun(self.registry.ensure_secret(FIRST, each)) for each in candidates]
        answers = set(await gatherResults(calls))
        self.assertEqual(len(answers), 1)
        row = await self.registry.workspace(FIRST)
        assert row is not None
        self.assertEqual({row.inbound_secret}, answers)

    async def secrets(self):
        """:return: the inbound secret and the next one of the first workspace."""
        row = await self.registry.workspace(FIRST)
        assert row is not None
        return row.inbound_secret, row.next_secret

    async def test_rotate_secret(self):
        """A next secret is pending until it is promoted; a later one takes its place."""
        await self.create()
        self.assertEqual(await self.secrets(), (SECRET, None))
        for candidate in ("first", "second"):
            self.assertIs(await self.registry.rotate_secret(FIRST, candidate, force=False), True)
            self.assertEqual(await self.secrets(), (SECRET, candidate))
        row = await self.registry.promote_secret(FIRST, "first")
        assert row is not None
        self.assertEqual((row.inbound_secret, row.next_secret), (SECRET, "second"))
        for _ in range(2):
            row = await self.registry.promote_secret(FIRST, "second")
            assert row is not None
            self.assertEqual((row.inbound_secret, row.next_secret), ("second", None))
            self.assertEqual(await self.secrets(), ("second", None))

    async def test_force_secret(self):
        """A forced rotation takes effect at once, and ends one that is pending."""
        await self.create()
        await self.registry.rotate_secret(FIRST, "next", force=False)
        self.assertIs(await self.registry.rotate_secret(FIRST, "forced", force=True), True)
        self.assertEqual(await self.secrets(), ("forced", None))
        row = await self.registry.promote_secret(FIRST, "next")
        assert row is not None
        self.assertEqual(row.inbound_secret, "forced")

    async def test_rotate_secret_of_nobody(self):
        """A missing or removed workspace has no secrets."""
        await self.create(SECOND)
        await self.registry.remove_workspace(SECOND)
        for workspace_id in (UNKNOWN, SECOND):
            for force in (True, False):
                rotated = await self.registry.rotate_secret(workspace_id, "new", force=force)
                self.assertIs(rotated, False)
            self.assertIsNone(await self.registry.promote_secret(workspace_id, "new"))

    async def test_promoted_while_replaced(self):
        """A promotion and a rotation at the same time leave one of their two outcomes."""
        await self.create()
        await self.registry.rotate_secret(FIRST, "next", force=False)
        calls: list[Deferred[object]] = [
            begun(self.registry.promote_secret(FIRST, "next")),
            begun(self.registry.rotate_secret(FIRST, "later", force=False)),
        ]
        await gatherResults(calls)
        self.assertIn(await self.secrets(), ((SECRET, "later"), ("next", "later")))

    async def test_remove(self):
        """No call finds a removed workspace or its tokens."""
        await self.create()
        await self.create(SECOND)
        await self.mint("a")
        await self.mint("b")
        kept = await self.mint("c", SECOND)
        self.assertIs(await self.registry.remove_workspace(FIRST), True)
        self.assertIsNone(await self.registry.workspace(FIRST))
        self.assertIsNone(await self.registry.fresh_workspace(FIRST))
        self.assertIsNone(await self.registry.token(token_hash("a")))
        self.assertIsNone(await self.registry.token(token_hash("b")))
        self.assertEqual(list(await self.registry.tokens(FIRST)), [])
        self.assertIs(await self.registry.has_live_token(FIRST), False)
        self.assertEqual([row.id for row in await self.registry.workspaces(limit=100)], [SECOND])
        self.assertEqual(await self.registry.token(token_hash("c")), kept)

    async def test_remove_nothing(self):
        """Removing a workspace that is missing, or removed already, returns ``False``."""
        self.assertIs(await self.registry.remove_workspace(UNKNOWN), False)
        await self.create()
        await self.registry.remove_workspace(FIRST)
        self.assertIs(await self.registry.remove_workspace(FIRST), False)

    async def test_remove_while_a_token_is_made(self):
        """A token that is created while its workspace is removed is invalid."""
        await self.create()
        calls: list[Deferred[object]] = [
            begun(self.try_token("a")),
            begun(self.registry.remove_workspace(FIRST)),
            begun(self.try_token("b")),
        ]
        await gatherResults(calls)
        for text in ("a", "b"):
            self.assertIsNone(await self.registry.token(token_hash(text)))
        self.assertIs(await self.registry.has_live_token(FIRST), False)
