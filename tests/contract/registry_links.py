"""
The contract of what signed links need: their keys, the tokens that made them, their revocation.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from twisted.internet.defer import gatherResults

from chatfiles.model import LinkClock
from chatfiles.rules.link_keys import LINGERS, SIGNS, LinkKey, new_link_key
from tests.contract.registry_case import FIRST, SECOND, UNKNOWN, RegistryCase, begun

DAY = 24 * 3600


class LinksContract(RegistryCase):
    """Keys of links, tokens by their id, and revocation."""

    def candidate(self) -> LinkKey:
        return new_link_key(self.moment)

    async def ensure(self) -> LinkKey:
        return await self.registry.ensure_link_key(self.candidate())

    async def key(self, key_id: str) -> LinkKey:
        (found,) = [each for each in await self.registry.link_keys() if each.id == key_id]
        return found

    async def not_before(self) -> int:
        found = await self.registry.workspace(FIRST)
        assert found is not None
        return found.links_not_before

    def assert_until(self, key: LinkKey, signs: datetime, verifies: datetime) -> None:
        self.assertEqual((key.signs_until, key.verifies_until), (signs, verifies))

    async def test_first_key(self):
        """The first key is stored as it was given, and read unchanged."""
        self.assertEqual(list(await self.registry.link_keys()), [])
        candidate = self.candidate()
        self.assertEqual(await self.registry.ensure_link_key(candidate), candidate)
        self.assertEqual(list(await self.registry.link_keys()), [candidate])
        self.assertEqual(list(await self.registry.fresh_link_keys()), [candidate])
        self.assertEqual(len(candidate.key), 32)
        self.assertRegex(candidate.id, r"\A[0-9a-f]{8}\Z")
        self.assert_until(candidate, self.moment + SIGNS, self.moment + SIGNS + LINGERS)
        self.assertNotIn(repr(candidate.key)[2:-1], repr(candidate))

    async def test_a_key_that_signs_is_kept(self):
        """A key signs for 30 days; then there is a second, and the first still verifies."""
        first = await self.ensure()
        self.pass_time(30 * DAY - 1)
        self.assertEqual(await self.ensure(), first)
        self.pass_time()
        second = await self.ensure()
        self.assertNotEqual(second.id, first.id)
        self.assertEqual(list(await self.registry.link_keys()), [first, second])
        self.assertTrue(first.verifies(self.moment + timedelta(days=7, seconds=-1)))
        self.assertFalse(first.verifies(self.moment + timedelta(days=7)))

    async def test_first_key_twice_at_once(self):
        """Concurrent calls return the same key."""
        keys = await gatherResults([begun(self.ensure()) for _ in range(5)])
        self.assertEqual(len({key.id for key in keys}), 1)
        self.assertEqual(len(await self.registry.link_keys()), 1)

    async def test_rotate(self):
        """
        A rotation ends the signing of the other keys, which verify as long as the longest link.
        """
        first = await self.ensure()
        self.pass_time(DAY)
        second = self.candidate()
        await self.registry.rotate_link_keys(second)
        self.assertEqual(await self.ensure(), second)
        self.assert_until(await self.key(first.id), self.moment, self.moment + LINGERS)
        rotated = self.moment
        self.pass_time(DAY)
        await self.registry.rotate_link_keys(self.candidate())
        self.assert_until(await self.key(first.id), rotated, rotated + LINGERS)

    async def test_rotate_at_first(self):
        """The first rotation makes the first key."""
        first = self.candidate()
        await self.registry.rotate_link_keys(first)
        self.assertEqual(list(await self.registry.link_keys()), [first])

    async def test_revoke_key(self):
        """
        A revoked key neither signs nor verifies, by no clock, and the next link gets another.
        """
        first = await self.ensure()
        self.pass_time(DAY)
        for _ in range(2):
            self.assertIs(await self.registry.revoke_link_key(first.id), True)
            self.assert_until(await self.key(first.id), first.created_at, first.created_at)
            self.pass_time()
        self.assertNotEqual((await self.ensure()).id, first.id)

    async def test_revoke_key_that_no_longer_signs(self):
        """A revocation ends a key that only verifies, and no other."""
        first = await self.ensure()
        self.pass_time(31 * DAY)
        second = await self.ensure()
        await self.registry.revoke_link_key(first.id)
        self.assert_until(await self.key(first.id), first.created_at, first.created_at)
        self.assertEqual(await self.key(second.id), second)

    async def test_revoke_key_that_has_ended(self):
        """A key that has ended by this clock is ended for those that are behind it, too."""
        first = await self.ensure()
        self.pass_time(40 * DAY)
        await self.registry.revoke_link_key(first.id)
        self.pass_time(-39 * DAY)
        self.assert_until(await self.key(first.id), first.created_at, first.created_at)

    async def test_rotate_after_revoke(self):
        """A rotation by a clock that is behind does not make a revoked key valid again."""
        first = await self.ensure()
        self.pass_time(DAY)
        await self.registry.revoke_link_key(first.id)
        self.pass_time(-10)
        await self.registry.rotate_link_keys(self.candidate())
        self.assertFalse((await self.key(first.id)).verifies(self.moment))

    async def test_rotate_never_prolongs(self):
        """A rotation does not let a key verify longer than before."""
        until = self.moment + timedelta(days=1)
        first = replace(self.candidate(), verifies_until=until)
        await self.registry.ensure_link_key(first)
        await self.registry.rotate_link_keys(self.candidate())
        self.assert_until(await self.key(first.id), self.moment, until)

    async def test_revoke_unknown_key(self):
        """A key that does not exist cannot be revoked."""
        await self.ensure()
        self.assertIs(await self.registry.revoke_link_key("00000000"), False)
        self.assertIs(await self.registry.revoke_link_key(""), False)

    async def test_keys_are_told(self):
        """Subscribers are notified of each change of the keys, and of nothing else."""
        told = self.told()
        first = await self.ensure()
        self.assertIn(None, told)
        await self.settle()
        told.clear()
        await self.ensure()
        await self.registry.revoke_link_key("00000000")
        await self.settle()
        self.assertNotIn(None, told)
        await self.registry.rotate_link_keys(self.candidate())
        self.assertIn(None, told)
        told.clear()
        await self.registry.revoke_link_key(first.id)
        self.assertIn(None, told)

    async def test_token_by_id(self):
        """A live token is found by its id; one that was revoked or never existed is not."""
        await self.create()
        await self.create(SECOND)
        token, other = await self.mint("a"), await self.mint("b", SECOND)
        self.assertEqual(await self.registry.token_by_id(token.id), token)
        self.assertEqual(await self.registry.token_by_id(other.id), other)
        self.assertIsNone(await self.registry.token_by_id(UNKNOWN))
        await self.registry.revoke_token(FIRST, token.id)
        await self.registry.remove_workspace(SECOND)
        self.assertIsNone(await self.registry.token_by_id(token.id))
        self.assertIsNone(await self.registry.token_by_id(other.id))

    async def clock(self) -> LinkClock:
        found = await self.registry.link_clock(FIRST)
        assert found is not None
        return found

    async def test_link_clock(self):
        """A new link is issued now, by the clock that all nodes share."""
        await self.create()
        before = self.shared_seconds()
        clock = await self.clock()
        self.assertEqual((clock.issued, clock.not_before), (clock.now, 0))
        self.assertTrue(before <= clock.now <= self.shared_seconds(), clock)

    async def test_revoke_links(self):
        """
        Links of this second are revoked, too, each call revokes a second more, and a link that is
        made afterwards is not revoked.
        """
        await self.create()
        self.assertEqual(await self.not_before(), 0)
        issued = (await self.clock()).issued
        for _ in range(3):
            before = self.shared_seconds()
            self.assertIs(await self.registry.revoke_links(FIRST), True)
            revoked = await self.not_before()
            self.assertGreaterEqual(revoked, max(before, issued) + 1)
            self.assertLessEqual(revoked, max(self.shared_seconds(), issued) + 1)
            clock = await self.clock()
            self.assertEqual(clock.not_before, revoked)
            issued = clock.issued
            self.assertGreaterEqual(issued, revoked)

    async def test_revoke_links_later(self):
        """A revocation is never one of the past."""
        await self.create()
        await self.registry.revoke_links(FIRST)
        self.pass_time(DAY)
        before = self.shared_seconds()
        await self.registry.revoke_links(FIRST)
        self.assertGreater(await self.not_before(), before)

    async def test_revoke_links_of_nobody(self):
        """A missing or removed workspace has no links, and another's remain."""
        await self.create()
        await self.create(SECOND)
        await self.registry.remove_workspace(SECOND)
        self.assertIs(await self.registry.revoke_links(UNKNOWN), False)
        self.assertIs(await self.registry.revoke_links(SECOND), False)
        self.assertIsNone(await self.registry.link_clock(UNKNOWN))
        self.assertIsNone(await self.registry.link_clock(SECOND))
        self.assertEqual(await self.not_before(), 0)
