"""
Checks the credentials of requests.  The platform checks them nowhere else.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypedDict
from uuid import UUID

from chatfiles.errors import Forbidden
from chatfiles.http.server.observers import Actor
from chatfiles.http.server.request import Request
from chatfiles.model import Scope, Token, parse_uuid, token_hash, token_prefix
from chatfiles.platform import error_texts
from chatfiles.platform.admin_token import AdminToken
from chatfiles.platform.refused_credentials import RefusedCredentials
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.transfer_limits import ADMIN_ID
from chatfiles.rules.bearer import bearer

__all__ = ["Access", "Authenticator", "Client", "actor_of", "token_columns"]

#: The holder of the admin token, for the logs.
ADMIN = Actor("admin")
#: Digits of the admin token's hash that its id has.
ADMIN_DIGITS = 8


class Access(Enum):
    """Who may use a route.  The admin token opens every one of them, except those of `CHANNEL`."""

    #: No credential is read.
    ANYONE = auto()
    #: Any token of the workspace in the path.
    WORKSPACE = auto()
    #: A token of the workspace in the path, with the scope ``read``.
    READ = auto()
    #: A token of the workspace in the path, with the scope ``write``.
    WRITE = auto()
    #: A token of the workspace in the path, with the scope ``read`` or ``write``.  The body says
    #: which is needed, so the handler reads the body and then calls `Authenticator.for_link`.
    LINK = auto()
    #: Any live token; the response is about this token.
    ANY_TOKEN = auto()
    #: Any live token.  The body names the workspace, so the handler reads the body and then calls
    #: `Authenticator.for_agent`.
    AGENT = auto()
    #: As `AGENT`.  If registration is open, a request without a credential is accepted, too.
    REGISTER = auto()
    #: A live token with the scope ``agent``, of whichever workspace.  The admin token is that of no
    #: workspace.  The handler calls `Authenticator.for_channel`.
    CHANNEL = auto()
    #: The admin token only.
    ADMIN = auto()


#: The scopes of which a token of the workspace in the path must have one; empty if it needs none.
_SCOPES: dict[Access, tuple[Scope, ...]] = {
    Access.WORKSPACE: (),
    Access.READ: (Scope.READ,),
    Access.WRITE: (Scope.WRITE,),
    Access.LINK: (Scope.READ, Scope.WRITE),
}


@dataclass(frozen=True, slots=True)
class Client:
    """
    The holder of a valid credential.

    :param token: the auth token; ``None`` for the admin.
    """

    token: Token | None

    @property
    def is_admin(self) -> bool:
        """Whether the admin token was presented."""
        return self.token is None

    def owns(self, workspace_id: UUID | None) -> bool:
        """:return: whether the credential is valid for that workspace; ``None`` is none."""
        return self.token is None or self.token.workspace_id == workspace_id

    def allows(self, *scopes: Scope) -> bool:
        """:return: whether the credential has one of *scopes*, or none is needed."""
        return self.token is None or not scopes or not self.token.scopes.isdisjoint(scopes)


class Authenticator:
    """
    Checks the credentials of requests.

    :param registry: stores the auth tokens.
    :param admin: the token that is valid for every workspace and route.
    :param used: called with the id of every auth token that was accepted.
    :param refused: limits the wrong credentials of each client.
    :param open_registration: whether a workspace without a live token may register without a
        credential.
    :ivar used: *used*.
    :ivar refused: *refused*.
    """

    def __init__(
        self,
        registry: IWorkspaceRegistry,
        admin: AdminToken,
        used: Callable[[UUID], object],
        refused: RefusedCredentials,
        *,
        open_registration: bool = False,
    ) -> None:
        self._registry = registry
        self._admin_token = admin
        self.used = used
        self.refused = refused
        self._open_registration = open_registration

    async def admit(
        self, request: Request, access: Access, workspace_id: UUID | None = None
    ) -> None:
        """
        Check that the client may use a route.  This is the first check of a request: the id, the
        query and the body are validated later.

        :param access: the access that the table of routes gives for the route.
        :param workspace_id: the id in the path; ``None`` if it is not a UUID, or there is none.
        :raise chatfiles.errors.Unauthorized: there is no valid credential, or it belongs to another
            workspace.
        :raise Forbidden: the credential is valid but does not allow this.
        :raise RegistryUnavailable: the credential cannot be checked now.
        """
        if access in _SCOPES:
            await self._for_workspace(request, workspace_id, *_SCOPES[access])
        elif access is Access.ADMIN:
            await self._admin(request)
        elif access is Access.CHANNEL:
            await self.for_channel(request)
        elif access is Access.REGISTER and self._open_registration:
            await self.client(request)
        elif access is not Access.ANYONE:
            await self._authenticate(request)

    def admits_token(self, digest: bytes, token: Token, access: Access, workspace_id: UUID) -> bool:
        """
        Check what `admit` checks, for a token that is known already.

        :param digest: the `token_hash` of the bearer token of the request.
        :param token: the live token with this hash.
        :return: whether the token is admitted.  If so, call `used`; the result is the same for all
            requests.  If not, `admit` decides, and knows the error.
        """
        if hmac.compare_digest(digest, self._admin_token.digest):
            return False
        client = Client(token)
        return client.owns(workspace_id) and client.allows(*_SCOPES[access])

    async def client(self, request: Request) -> Client | None:
        """
        Find the holder of the request's credential.

        :return: the holder; ``None`` if there is no credential.
        :raise chatfiles.errors.Unauthorized: the credential is not valid.
        :raise chatfiles.errors.TooManyRequests: 429, it is not known, and the client has presented
            too many that are not valid.
        :raise RegistryUnavailable: the credential cannot be checked now.
        """
        presented = bearer(request.requestHeaders)
        if presented is None:
            if len(request.requestHeaders.getRawHeaders(b"authorization", [])) > 1:
                raise error_texts.invalid_token()
            return None
        digest = token_hash(presented)
        if hmac.compare_digest(digest, self._admin_token.digest):
            request.actor = ADMIN
            return Client(None)
        token = await self._token(request, digest)
        request.actor = actor_of(token)
        return Client(token)

    async def _token(self, request: Request, digest: bytes) -> Token:
        token = await self.refused.look_up(
            request.client_address, lambda: self._registry.token(digest), digest
        )
        if token is None:
            raise error_texts.invalid_token()
        self.used(token.id)
        return token

    async def for_agent(self, request: Request, workspace_id: UUID) -> Client:
        """
        Check that the client may act as the agent of a workspace.

        :return: the client.
        :raise chatfiles.errors.Unauthorized: there is no valid credential of that workspace.
        :raise Forbidden: the token lacks the scope ``agent``.
        :raise RegistryUnavailable: the credential cannot be checked now.
        """
        return await self._for_workspace(request, workspace_id, Scope.AGENT)

    async def for_channel(self, request: Request) -> Token:
        """
        Check that the client may connect as a workspace.

        :return: its token, which says which workspace it is.
        :raise chatfiles.errors.Unauthorized: there is no valid credential.
        :raise Forbidden: it is the admin token, or lacks the scope ``agent``.
        :raise RegistryUnavailable: the credential cannot be checked now.
        """
        client = await self._authenticate(request)
        if client.token is None or not client.allows(Scope.AGENT):
            raise error_texts.out_of_scope()
        return client.token

    async def for_link(self, request: Request, workspace_id: UUID, scope: Scope) -> str:
        """
        Check that the client may make a link that needs *scope*.

        :return: the id of its token, to which the link is bound: see `is_live`.
        :raise chatfiles.errors.ChatfilesError: the client may not make it.
        """
        client = await self._for_workspace(request, workspace_id, scope)
        return self.token_id(client)

    def token_id(self, client: Client) -> str:
        """
        :return: the id of a client's token; for the admin token a text that changes with it
            (reference/links, "Signature").
        """
        if client.token is None:
            return ADMIN_ID + self._admin_token.digest.hex()[:ADMIN_DIGITS]
        return str(client.token.id)

    async def is_live(self, token_id: str, workspace_id: UUID, scope: Scope) -> bool:
        """
        Check that what was made with a token may still be used.

        :param token_id: a result of `token_id`.
        :return: whether the token is live, and has *scope* in the workspace.
        :raise RegistryUnavailable: this cannot be checked now.
        """
        if token_id == self.token_id(Client(None)):
            return True
        parsed = parse_uuid(token_id)
        token = None if parsed is None else await self._registry.token_by_id(parsed)
        if token is None:
            return False
        self.used(token.id)
        client = Client(token)
        return client.owns(workspace_id) and client.allows(scope)

    async def for_registration(self, request: Request, workspace_id: UUID) -> Client | None:
        """
        Check that the client may register a workspace.

        :return: the client; ``None`` if it has no credential and needs none.
        :raise chatfiles.errors.ChatfilesError: the client may not register it.
        """
        client = await self.client(request)
        if client is not None:
            return _checked(request, client, workspace_id, Scope.AGENT)
        # If the registry fails, a live token may still exist: the error propagates.
        if not self._open_registration or await self._registry.has_live_token(workspace_id):
            raise error_texts.missing_token()
        return None

    async def _authenticate(self, request: Request) -> Client:
        client = await self.client(request)
        if client is None:
            raise error_texts.missing_token()
        return client

    async def _admin(self, request: Request) -> None:
        if not (await self._authenticate(request)).is_admin:
            raise Forbidden("admin token required", code="admin_required")

    async def _for_workspace(
        self, request: Request, workspace_id: UUID | None, *scopes: Scope
    ) -> Client:
        return _checked(request, await self._authenticate(request), workspace_id, *scopes)


def _checked(request: Request, client: Client, workspace_id: UUID | None, *scopes: Scope) -> Client:
    """:return: *client*, if it may use that workspace and has one of *scopes*."""
    if not client.owns(workspace_id):
        request.actor = None
        raise error_texts.invalid_token()
    if not client.allows(*scopes):
        raise error_texts.out_of_scope()
    return client


def actor_of(token: Token) -> Actor:
    """:return: the holder of *token*, for the logs."""
    return Actor("token", str(token.id), token.prefix, token.name or "")


class TokenColumns(TypedDict):
    """What the registry stores of a token: the keyword arguments of its methods."""

    digest: bytes
    prefix: str
    scopes: frozenset[Scope]


def token_columns(token: str, scopes: frozenset[Scope]) -> TokenColumns:
    """
    :param token: a new token in plain text.
    :return: what the registry stores of it.
    """
    return {"digest": token_hash(token), "prefix": token_prefix(token), "scopes": scopes}
