"""
The contract of a registry's tokens.
"""

from __future__ import annotations

from datetime import timedelta, timezone

from twisted.internet.defer import gatherResults

from chatfiles.errors import Conflict
from chatfiles.model import ALL_SCOPES, Scope, Token, token_hash
from tests.contract.registry_case import (
    FIRST,
    SECOND,
    UNKNOWN,
    RegistryCase,
    begun,
)


class TokensContract(RegistryCase):
    """Creating, finding, revoking and touching tokens."""

    async def test_create_token(self):
        """A token is found by its hash, with the scopes that it was given."""
        await self.create()
        self.pass_time()
        created = await self.mint(
            "abcdefgh-rest", scopes=frozenset({Scope.READ, Scope.AGENT}), name="för ci"
        )
        expected = Token(
            id=created.id,
            workspace_id=FIRST,
            prefix="abcdefgh",
            scopes=frozenset({Scope.READ, Scope.AGENT}),
            name="för ci",
            created_at=self.moment,
            last_used_at=None,
        )
        self.assertEqual(created, expected)
        self.assertEqual(await self.registry.token(token_hash("abcdefgh-rest")), expected)
        self.assertEqual(list(await self.registry.tokens(FIRST)), [expected])

    async def test_scopes(self):
        """Every set of scopes is stored as it is; no scopes do not become all."""
        await self.create()
        sets = [frozenset(), *(frozenset({scope}) for scope in Scope), ALL_SCOPES]
        for number, scopes in enumerate(sets):
            await self.mint(f"{number}", scopes=scopes)
            found = await self.registry.token(token_hash(f"{number}"))
            assert found is not None
            self.assertEqual(found.scopes, scopes)

    async def test_unknown_token(self):
        """A token that was never created is not found."""
        await self.create()
        await self.mint()
        for digest in (token_hash("other"), b"", token_hash("token")[:-1]):
            self.assertIsNone(await self.registry.token(digest))

    async def test_token_without_workspace(self):
        """No token is created for a workspace that is missing or removed."""
        await self.create(SECOND)
        await self.registry.remove_workspace(SECOND)
        for workspace_id in (UNKNOWN, SECOND):
            for only_first in (False, True):
                token = await self.registry.create_token(
                    workspace_id,
                    digest=token_hash("token"),
                    prefix="token",
                    scopes=ALL_SCOPES,
                    name=None,
                    only_first=only_first,
                )
                self.assertIsNone(token)
        self.assertIsNone(await self.registry.token(token_hash("token")))

    async def test_same_token_twice(self):
        """
        A token that exists already, even if revoked, cannot be created again in any workspace.
        """
        await self.create()
        await self.create(SECOND)
        first = await self.mint()
        with self.assertRaises(Conflict):
            await self.mint(workspace_id=SECOND)
        await self.registry.revoke_token(FIRST, first.id)
        with self.assertRaises(Conflict):
            await self.mint()
        self.assertIsNone(await self.registry.token(token_hash("token")))

    async def test_has_live_token(self):
        """
        `has_live_token` is true while a workspace has a token that is not revoked: then it may not
        register without one.
        """
        await self.create()
        await self.create(SECOND)
        self.assertIs(await self.registry.has_live_token(FIRST), False)
        token = await self.mint()
        self.assertIs(await self.registry.has_live_token(FIRST), True)
        self.assertIs(await self.registry.has_live_token(SECOND), False)
        self.assertIs(await self.registry.has_live_token(UNKNOWN), False)
        await self.registry.revoke_token(FIRST, token.id)
        self.assertIs(await self.registry.has_live_token(FIRST), False)

    async def test_only_first(self):
        """A "first" token is created only if the workspace has no live token."""
        await self.create()
        first = await self.try_token("a", only_first=True)
        assert first is not None
        self.assertIsNone(await self.try_token("b", only_first=True))
        self.assertIsNone(await self.registry.token(token_hash("b")))
        self.assertIsNotNone(await self.try_token("c"))
        self.assertIsNone(await self.try_token("d", only_first=True))
        for token in await self.registry.tokens(FIRST):
            await self.registry.revoke_token(FIRST, token.id)
        self.assertIsNotNone(await self.try_token("e", only_first=True))

    async def test_only_first_of_each_workspace(self):
        """A token of one workspace does not prevent the first token of another."""
        await self.create()
        await self.create(SECOND)
        self.assertIsNotNone(await self.mint("a", only_first=True))
        self.assertIsNotNone(await self.mint("b", SECOND, only_first=True))

    async def test_only_first_many_at_once(self):
        """One of several concurrent calls creates the first token."""
        await self.create()
        calls = [begun(self.try_token(f"{n}", only_first=True)) for n in range(5)]
        tokens = [token for token in await gatherResults(calls) if token is not None]
        self.assertEqual(len(tokens), 1)
        self.assertEqual(list(await self.registry.tokens(FIRST)), tokens)

    async def test_tokens_in_order(self):
        """
        Tokens are listed oldest first, without revoked ones and without those of other workspaces.
        """
        await self.create()
        await self.create(SECOND)
        expected = []
        for text in ("a", "b", "c"):
            expected.append(await self.mint(text))
            await self.mint(text * 2, SECOND)
            self.pass_time()
        same_moment = [await self.mint(text) for text in ("d", "e", "f", "g")]
        expected += sorted(same_moment, key=lambda token: token.id)
        await self.registry.revoke_token(FIRST, expected.pop(1).id)
        self.assertEqual(list(await self.registry.tokens(FIRST)), expected)
        self.assertEqual(list(await self.registry.tokens(UNKNOWN)), [])

    async def test_revoke(self):
        """A revoked token is not found; other tokens still are."""
        await self.create()
        revoked, kept = await self.mint("a"), await self.mint("b")
        await self.registry.token(token_hash("a"))
        self.assertIs(await self.registry.revoke_token(FIRST, revoked.id), True)
        self.assertIsNone(await self.registry.token(token_hash("a")))
        self.assertEqual(await self.registry.token(token_hash("b")), kept)
        self.assertEqual(list(await self.registry.tokens(FIRST)), [kept])

    async def test_revoke_nothing(self):
        """Revoking a token that is missing, or revoked already, returns ``False``."""
        await self.create()
        token = await self.mint()
        self.assertIs(await self.registry.revoke_token(FIRST, UNKNOWN), False)
        await self.registry.revoke_token(FIRST, token.id)
        self.assertIs(await self.registry.revoke_token(FIRST, token.id), False)

    async def test_revoke_of_another_workspace(self):
        """A token cannot be revoked through a workspace that it does not belong to."""
        await self.create()
        await self.create(SECOND)
        token = await self.mint()
        self.assertIs(await self.registry.revoke_token(SECOND, token.id), False)
        self.assertIs(await self.registry.revoke_token(UNKNOWN, token.id), False)
        self.assertEqual(await self.registry.token(token_hash("token")), token)

    async def test_touch(self):
        """The last uses of the tokens in a batch are recorded; other tokens do not change."""
        await self.create()
        a = await self.mint("a")
        self.pass_time()
        await self.mint("b")
        self.pass_time()
        c = await self.mint("c")
        later = self.moment + timedelta(seconds=5, microseconds=7)
        await self.registry.touch_tokens({a.id: self.moment, c.id: later, UNKNOWN: later})
        self.assertEqual(await self.last_used(), [self.moment, None, later])

    async def test_touch_never_sets_back(self):
        """
        A last use is never set back, even if batches of two processes arrive in the wrong order.
        """
        await self.create()
        token = await self.mint()
        east = timezone(timedelta(hours=5))
        latest = 0
        for microseconds in (10, 9, 10, 11, -(10**12)):
            latest = max(latest, microseconds)
            used = self.moment + timedelta(microseconds=microseconds)
            await self.registry.touch_tokens({token.id: used.astimezone(east)})
            expected = self.moment + timedelta(microseconds=latest)
            self.assertEqual(await self.last_used(), [expected])

    async def test_touch_none(self):
        """An empty batch is accepted."""
        await self.registry.touch_tokens({})

    async def test_touch_takes_the_batch_as_it_is(self):
        """Changes of the mapping after the call do not affect what is recorded."""
        await self.create()
        token = await self.mint()
        batch = {token.id: self.moment}
        call = begun(self.registry.touch_tokens(batch))
        batch.clear()
        await call
        self.assertEqual(await self.last_used(), [self.moment])
