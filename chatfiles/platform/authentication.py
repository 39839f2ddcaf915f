"""
Who is calling: the one place where the platform judges a credential (CONTRACT 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict
from uuid import UUID

from chatfiles.errors import Forbidden
from chatfiles.http.server.request import Request
from chatfiles.model import Scope, Token, token_hash, token_prefix
from chatfiles.platform import error_texts
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.rules.bearer import bearer, same_secret

__all__ = ["Authenticator", "Caller", "token_columns"]


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Somebody with a valid credential.

    :param token: the auth token; ``None`` for the admin.
    """

    token: Token | None

    @property
    def is_admin(self) -> bool:
        """Whether the admin token was presented."""
        return self.token is None

    def owns(self, workspace_id: UUID) -> bool:
        """:return: whether the credential opens that workspace."""
        return self.token is None or self.token.workspace_id == workspace_id

    def allows(self, scope: Scope) -> bool:
        """:return: whether the credential is good for that kind of operation."""
        return self.token is None or scope in self.token.scopes


class Authenticator:
    """
    Judges the credentials of requests.

    :param admin_token: opens every workspace and the admin routes.
    :param used: told the id of every token that was accepted.
    """

    def __init__(
        self, registry: IWorkspaceRegistry, admin_token: str, used: Callable[[UUID], object]
    ) -> None:
        self._registry = registry
        self._admin_token = admin_token
        self._used = used

    async def caller(self, request: Request) -> Caller | None:
        """
        :return: who presents the credential; ``None`` when there is none.
        :raise chatfiles.errors.Unauthorized: it is not valid.
        :raise RegistryUnavailable: nobody can tell.
        """
        presented = bearer(request.requestHeaders)
        if presented is None:
            if len(request.requestHeaders.getRawHeaders(b"authorization", [])) > 1:
                raise error_texts.invalid_token()
            return None
        if same_secret(presented, self._admin_token):
            return Caller(None)
        token = await self._registry.token(token_hash(presented))
        if token is None:
            raise error_texts.invalid_token()
        self._used(token.id)
        return Caller(token)

    async def authenticate(self, request: Request) -> Caller:
        """
        :return: who is calling.
        :raise chatfiles.errors.Unauthorized: there is no credential, or it is not valid.
        """
        caller = await self.caller(request)
        if caller is None:
            raise error_texts.missing_token()
        return caller

    async def admin(self, request: Request) -> None:
        """
        Let the admin pass.

        :raise chatfiles.errors.Unauthorized: no valid credential.
        :raise Forbidden: a workspace's token.
        """
        caller = await self.authenticate(request)
        if not caller.is_admin:
            raise Forbidden("admin token required", code="admin_required")

    async def for_workspace(
        self, request: Request, workspace_id: UUID | None, scope: Scope | None
    ) -> Caller:
        """
        Let the admin pass, and the owner of a token of that workspace.

        :param workspace_id: the id from the URL; ``None`` when it is not a UUID, which is told only
            to those who hold some valid token.
        :param scope: what the token has to allow; ``None`` for any token of the workspace.
        :raise chatfiles.errors.Unauthorized: no credential, or none of that workspace.
        :raise Forbidden: the token lacks the scope.
        """
        caller = await self.authenticate(request)
        if workspace_id is not None and not caller.owns(workspace_id):
            raise error_texts.invalid_token()
        if scope is not None and not caller.allows(scope):
            raise error_texts.out_of_scope()
        return caller


class TokenColumns(TypedDict):
    """What the registry keeps of a token, as its calls name it."""

    digest: bytes
    prefix: str
    scopes: frozenset[Scope]


def token_columns(token: str, scopes: frozenset[Scope]) -> TokenColumns:
    """:return: what the registry keeps of a new *token*."""
    return {"digest": token_hash(token), "prefix": token_prefix(token), "scopes": scopes}
