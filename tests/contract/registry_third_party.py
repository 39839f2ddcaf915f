"""
The contract of a registry in the tables of a third party, which has constraints and columns of its
own.
"""

from __future__ import annotations

from collections.abc import Sequence

from chatfiles.errors import Conflict, ConstraintViolated
from chatfiles.model import token_hash
from tests.contract.registry_case import FIRST, SECOND, THIRD
from tests.contract.registry_claims import claim
from tests.contract.registry_stored import StoredRegistryContract

#: The column that distinguishes the workspace's own tokens from those of people.
KIND = "ALTER TABLE workspace_auth_tokens ADD COLUMN kind text NOT NULL DEFAULT 'instance'"


class ThirdPartyRegistryContract(StoredRegistryContract):
    """A registry in the tables of a third party."""

    async def read(self, statement: str) -> Sequence[Sequence[object]]:
        """:return: the rows of *statement*, as another program reads them."""
        raise NotImplementedError

    async def modes(self) -> list[object]:
        return [mode for (mode,) in await self.read("SELECT delivery_mode FROM workspaces")]

    async def kinds(self) -> list[object]:
        """:return: the kinds of the live tokens, oldest first."""
        rows = await self.read(
            "SELECT kind FROM workspace_auth_tokens WHERE revoked_at IS NULL ORDER BY created_at"
        )
        return [kind for (kind,) in rows]

    # The delivery mode

    async def test_delivery_mode_of_their_tables(self):
        """
        In a table of a third party the column is as theirs: ``push`` unless another mode is given,
        never NULL, and no other word.
        """
        await self.create(FIRST)
        await self.alter("ALTER TABLE workspaces DROP COLUMN delivery_mode")
        await self.alter("DELETE FROM chatfiles_schema")
        await self.registry.close()
        self.registry = await self.another()
        self.assertEqual(await self.modes(), ["push"])
        added = await self.add(SECOND)
        self.assertEqual(added.delivery_mode, "push")
        with self.assertRaises(ConstraintViolated):
            await self.add(THIRD, delivery_mode="pull")
        await self.add(THIRD, delivery_mode="poll")
        self.assertEqual(sorted(map(str, await self.modes())), ["poll", "push", "push"])

    async def test_delivery_mode_of_our_tables(self):
        """In a table that chatfiles has created the column has no constraint."""
        for each, mode in ((FIRST, None), (SECOND, "pull")):
            self.assertEqual((await self.add(each, delivery_mode=mode)).delivery_mode, mode)

    # Kinds of tokens

    async def test_kinds_of_new_tokens(self):
        """The workspace's own token is ``instance``, and those for people are ``api``."""
        await self.alter(KIND)
        await self.add(FIRST)
        self.pass_time()
        await self.mint("own", only_first=True)
        self.pass_time()
        await self.mint("for people")
        self.assertEqual(await self.kinds(), ["api", "instance", "api"])

    async def test_claim_beside_tokens_of_people(self):
        """A workspace that has only tokens for people can be claimed, once."""
        await self.alter(KIND)
        await self.add(FIRST)
        self.assertIs(await self.registry.has_live_token(FIRST), False)
        self.pass_time()
        self.assertIsNotNone(await claim(self.registry, "t"))
        self.assertEqual(await self.kinds(), ["api", "instance"])
        self.assertIs(await self.registry.has_live_token(FIRST), True)
        with self.assertRaises(Conflict):
            await claim(self.registry, "u")
        self.assertIsNotNone(await self.registry.token(token_hash(f"created with {FIRST}")))

    async def test_kinds_that_come_later(self):
        """
        The column may be added while a node runs: tokens from before are the workspace's own.
        """
        await self.add(FIRST)
        self.assertIs(await self.registry.has_live_token(FIRST), True)
        await self.alter(KIND)
        self.assertIs(await self.registry.has_live_token(FIRST), True)
        (token,) = await self.registry.tokens(FIRST)
        await self.registry.revoke_token(FIRST, token.id)
        await self.mint("for people")
        self.assertIs(await self.registry.has_live_token(FIRST), False)

    async def test_token_without_a_kind(self):
        """A token whose kind is NULL counts as the workspace's own: it is not claimed by others."""
        await self.alter("ALTER TABLE workspace_auth_tokens ADD COLUMN kind text")
        await self.insert("workspaces", id=FIRST)
        await self.insert_token()
        self.assertIs(await self.registry.has_live_token(FIRST), True)
        self.assertIsNone(await self.try_token("first", only_first=True))
