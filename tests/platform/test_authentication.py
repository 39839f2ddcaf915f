"""
Tokens that are known already: which of them are admitted.
"""

from __future__ import annotations

from uuid import UUID

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.model import ALL_SCOPES, Scope, Token, token_hash
from chatfiles.platform.admin_token import AdminToken
from chatfiles.platform.authentication import Access, Authenticator
from chatfiles.platform.refused_credentials import RefusedCredentials
from chatfiles.testing import MemoryRegistry
from tests.contract.registry_case import FIRST, SECOND, UNKNOWN

ADMIN = "admin"
DIGEST = token_hash("token")


class AdmitsTokenTests(SynchronousTestCase):
    """`Authenticator.admits_token`."""

    def setUp(self) -> None:
        refused = RefusedCredentials(20, Clock().seconds)
        admin = AdminToken(ADMIN)
        self.authenticator = Authenticator(MemoryRegistry(), admin, lambda _: None, refused)

    def admits(
        self,
        scopes: frozenset[Scope] = ALL_SCOPES,
        access: Access = Access.READ,
        workspace_id: UUID = FIRST,
        digest: bytes = DIGEST,
    ) -> bool:
        token = Token(UNKNOWN, FIRST, "prefix", scopes)
        return self.authenticator.admits_token(digest, token, access, workspace_id)

    def test_admitted(self) -> None:
        """A token of the workspace with the scope is admitted."""
        for access, scopes in (
            (Access.READ, ALL_SCOPES),
            (Access.READ, frozenset({Scope.READ})),
            (Access.WRITE, frozenset({Scope.WRITE})),
            (Access.WORKSPACE, frozenset[Scope]()),
        ):
            self.assertTrue(self.admits(scopes, access), access)

    def test_not_admitted(self) -> None:
        """
        Another workspace, a missing scope and the admin token are left to `admit`.
        """
        self.assertFalse(self.admits(workspace_id=SECOND))
        self.assertFalse(self.admits(frozenset({Scope.WRITE})))
        self.assertFalse(self.admits(frozenset({Scope.READ}), Access.WRITE))
        self.assertFalse(self.admits(frozenset()))
        # The admin token is never a token of the registry, even if it was stored as one.
        self.assertFalse(self.admits(digest=token_hash(ADMIN)))
