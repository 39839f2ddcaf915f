"""
A registry that remembers what it was told, for as long as that is true.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from twisted.internet.defer import succeed
from zope.interface import implementer

from chatfiles.interfaces import IWorkspaceRegistry
from chatfiles.model import Scope, Token, Workspace
from chatfiles.platform.registry.changes import Subscribers
from chatfiles.platform.registry.remembered import Questions, Remembered

__all__ = ["CachedRegistry"]

#: Workspaces, and tokens, that are remembered.
MOST = 100_000


@implementer(IWorkspaceRegistry)
class CachedRegistry:
    """
    Answers `workspace` and `token` at once when it knows, and asks *inner* for all else.

    It forgets a workspace and its tokens when *inner* says that they have changed, and everything
    when *inner* cannot tell; what was asked before such a change is not remembered.  That there is
    no such workspace or token is never remembered: whoever guesses would fill the memory.

    :param inner: the registry that knows.
    :param most: how many workspaces, and how many tokens, are remembered.
    :param watching: whether *inner* would tell of a change now; nothing is remembered while it
        would not.  It tells ``None`` whenever this changes.
    """

    def __init__(
        self,
        inner: IWorkspaceRegistry,
        *,
        most: int = MOST,
        watching: Callable[[], bool] = lambda: True,
    ) -> None:
        self._inner = inner
        self._watching = watching
        self._subscribers = Subscribers()
        self._workspaces: Remembered[UUID, Workspace] = Remembered(most)
        self._tokens: Remembered[bytes, Token] = Remembered(most)
        self._asked_workspaces = Questions(self._learn_workspace)
        self._asked_tokens = Questions(self._learn_token)
        self._unsubscribe = inner.subscribe(self._changed)

    def cached_workspace(self, workspace_id: UUID) -> Workspace | None:
        """:return: the workspace if it is remembered; ``None`` says nothing."""
        return self._workspaces.get(workspace_id)

    def cached_token(self, digest: bytes) -> Token | None:
        """:return: the token if it is remembered; ``None`` says nothing."""
        return self._tokens.get(digest)

    def workspace(self, workspace_id: UUID) -> Awaitable[Workspace | None]:
        known = self._workspaces.get(workspace_id)
        if known is not None:
            return succeed(known)
        return self._asked_workspaces.ask(workspace_id, lambda: self._inner.workspace(workspace_id))

    def fresh_workspace(self, workspace_id: UUID) -> Awaitable[Workspace | None]:
        return self._asked_workspaces.ask_anew(
            workspace_id, lambda: self._inner.fresh_workspace(workspace_id)
        )

    def token(self, digest: bytes) -> Awaitable[Token | None]:
        known = self._tokens.get(digest)
        if known is not None:
            return succeed(known)
        return self._asked_tokens.ask(digest, lambda: self._inner.token(digest))

    def subscribe(self, changed: Callable[[UUID | None], None]) -> Callable[[], None]:
        """As the interface says; what has changed is forgotten before *changed* is called."""
        return self._subscribers.subscribe(changed)

    async def close(self) -> None:
        await self._inner.close()
        self._unsubscribe()
        self._forget(None)

    def _changed(self, workspace_id: UUID | None) -> None:
        self._forget(workspace_id)
        self._subscribers.tell(workspace_id)

    def _forget(self, workspace_id: UUID | None) -> None:
        self._workspaces.forget(workspace_id)
        self._tokens.forget(workspace_id)
        # Whose token is being asked for is known only when the answer is there.
        self._asked_tokens.disown_all()
        if workspace_id is None:
            self._asked_workspaces.disown_all()
        else:
            self._asked_workspaces.disown(workspace_id)

    def _learn_workspace(self, workspace_id: UUID, found: Workspace | None) -> None:
        self._workspaces.drop(workspace_id)
        if found is not None and self._watching():
            self._workspaces.put(workspace_id, found, workspace_id)

    def _learn_token(self, digest: bytes, found: Token | None) -> None:
        if found is not None and self._watching():
            self._tokens.put(digest, found, found.workspace_id)

    # The rest is asked of the inner registry, which tells what it changes.

    def start(self) -> Awaitable[None]:
        return self._inner.start()

    def check(self) -> Awaitable[None]:
        return self._inner.check()

    def workspaces(self) -> Awaitable[Sequence[Workspace]]:
        return self._inner.workspaces()

    def create_workspace(
        self,
        workspace_id: UUID,
        *,
        name: str,
        url: str | None,
        delivery_mode: str | None,
        secret: str,
    ) -> Awaitable[Workspace]:
        return self._inner.create_workspace(
            workspace_id, name=name, url=url, delivery_mode=delivery_mode, secret=secret
        )

    def register(
        self,
        workspace_id: UUID,
        *,
        url: str | None,
        delivery_mode: str | None,
        create_name: str | None,
    ) -> Awaitable[Workspace | None]:
        return self._inner.register(
            workspace_id, url=url, delivery_mode=delivery_mode, create_name=create_name
        )

    def ensure_secret(self, workspace_id: UUID, candidate: str) -> Awaitable[str | None]:
        return self._inner.ensure_secret(workspace_id, candidate)

    def heartbeat(self, workspace_id: UUID) -> Awaitable[Workspace | None]:
        return self._inner.heartbeat(workspace_id)

    def remove_workspace(self, workspace_id: UUID) -> Awaitable[bool]:
        return self._inner.remove_workspace(workspace_id)

    def create_token(
        self,
        workspace_id: UUID,
        *,
        digest: bytes,
        prefix: str,
        scopes: frozenset[Scope],
        name: str | None,
        only_first: bool = False,
    ) -> Awaitable[Token | None]:
        return self._inner.create_token(
            workspace_id,
            digest=digest,
            prefix=prefix,
            scopes=scopes,
            name=name,
            only_first=only_first,
        )

    def has_live_token(self, workspace_id: UUID) -> Awaitable[bool]:
        return self._inner.has_live_token(workspace_id)

    def tokens(self, workspace_id: UUID) -> Awaitable[Sequence[Token]]:
        return self._inner.tokens(workspace_id)

    def revoke_token(self, workspace_id: UUID, token_id: UUID) -> Awaitable[bool]:
        return self._inner.revoke_token(workspace_id, token_id)

    def touch_tokens(self, used: Mapping[UUID, datetime]) -> Awaitable[None]:
        return self._inner.touch_tokens(used)
