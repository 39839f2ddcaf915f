"""
The contract of a workspace's first registration without a credential.
"""

from __future__ import annotations

from twisted.internet.defer import gatherResults

from chatfiles.errors import Conflict
from chatfiles.model import ALL_SCOPES, Workspace, token_hash
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from tests.contract.registry_case import FIRST, SECOND, SECRET, RegistryCase, begun


async def claim(
    registry: IWorkspaceRegistry, text: str, url: str | None = "http://a"
) -> Workspace | None:
    """:return: the first workspace, claimed with the token *text*."""
    return await registry.claim(
        FIRST,
        url=url,
        delivery_mode="push",
        create_name="new",
        digest=token_hash(text),
        prefix=text,
        scopes=ALL_SCOPES,
        name="first",
    )


async def try_claim(registry: IWorkspaceRegistry, text: str) -> Workspace | None:
    """:return: as `claim`, with a URL made from *text*; ``None`` if there is a live token."""
    try:
        return await claim(registry, text, f"http://{text}")
    except Conflict:
        return None


class ClaimsContract(RegistryCase):
    """Claims: a registration and a first token, both or neither."""

    async def test_claim_creates(self):
        """A claim creates an unknown workspace, and a token that opens it."""
        found = await claim(self.registry, "t")
        expected = Workspace(FIRST, "new", "http://a", "online", "push", None, self.moment)
        self.assertEqual(found, expected)
        self.assertEqual(await self.registry.workspace(FIRST), expected)
        token = await self.registry.token(token_hash("t"))
        assert token is not None
        self.assertEqual(
            (token.workspace_id, token.prefix, token.scopes, token.name, token.created_at),
            (FIRST, "t", ALL_SCOPES, "first", self.moment),
        )
        self.assertEqual(list(await self.registry.tokens(FIRST)), [token])

    async def test_claim_without_live_token(self):
        """A workspace whose tokens were all revoked can be claimed, and keeps its other values."""
        await self.create(url="http://old")
        token = await self.mint()
        await self.registry.revoke_token(FIRST, token.id)
        told = self.told()
        found = await claim(self.registry, "t", None)
        self.assertIn(FIRST, told)
        assert found is not None
        self.assertEqual((found.name, found.url), ("one", "http://old"))
        self.assertEqual((found.status, found.inbound_secret), ("online", SECRET))
        self.assertEqual(len(await self.registry.tokens(FIRST)), 1)

    async def test_claim_with_live_token(self):
        """A workspace with a live token cannot be claimed, and keeps its URL."""
        before = await self.create(url="http://old")
        token = await self.mint()
        with self.assertRaises(Conflict):
            await claim(self.registry, "t")
        self.assertEqual(await self.registry.fresh_workspace(FIRST), before)
        self.assertEqual(list(await self.registry.tokens(FIRST)), [token])
        self.assertIsNone(await self.registry.token(token_hash("t")))

    async def test_claim_with_known_token(self):
        """A claim fails if its token exists already, and creates no workspace."""
        await self.create(SECOND)
        token = await self.mint("t", SECOND)
        with self.assertRaises(Conflict):
            await claim(self.registry, "t")
        self.assertIsNone(await self.registry.fresh_workspace(FIRST))
        self.assertEqual(await self.registry.token(token_hash("t")), token)

    async def test_claim_removed(self):
        """A removed workspace cannot be claimed, and gets no token."""
        await self.create()
        await self.registry.remove_workspace(FIRST)
        self.assertIsNone(await claim(self.registry, "t"))
        self.assertIsNone(await self.registry.workspace(FIRST))
        self.assertIsNone(await self.registry.token(token_hash("t")))

    async def test_claim_many_at_once(self):
        """One of several concurrent claims succeeds, with both its token and its URL."""
        calls = [begun(try_claim(self.registry, f"t{n}")) for n in range(5)]
        (winner,) = [found for found in await gatherResults(calls) if found is not None]
        self.assertEqual(await self.registry.fresh_workspace(FIRST), winner)
        (token,) = await self.registry.tokens(FIRST)
        self.assertEqual(winner.url, f"http://{token.prefix}")
