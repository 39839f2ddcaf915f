"""
A registry that remembers what it was told, for as long as that is true.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from twisted.internet.defer import succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.components import proxyForInterface
from zope.interface import implementer

from chatfiles.model import Token, Workspace
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.registry.lru import LRUCache, Questions
from chatfiles.platform.registry.subscribers import Subscribers

__all__ = ["CachedRegistry"]

#: Workspaces, and tokens, that are remembered.
MOST = 100_000


@implementer(IWorkspaceRegistry)
class CachedRegistry(proxyForInterface(IWorkspaceRegistry, "_inner")):  # type: ignore[misc]
    """
    Answers `workspace` and `token` at once when it knows, and asks *inner* for all else.

    It forgets a workspace and its tokens when *inner* says that they have changed, and everything
    when *inner* cannot tell; what was asked before such a change is not remembered, nor is anything
    used or remembered while *inner* is not watching.  That there is no such workspace or token is
    never remembered: whoever guesses would fill the memory.

    :param inner: the registry that knows.
    :param clock: the reactor.
    :param most: how many workspaces, and how many tokens, are remembered.
    """

    def __init__(self, inner: IWorkspaceRegistry, clock: IReactorTime, *, most: int = MOST) -> None:
        super().__init__(inner)
        self._subscribers = Subscribers()
        self._workspaces: LRUCache[UUID, Workspace] = LRUCache(most)
        self._tokens: LRUCache[bytes, Token] = LRUCache(most)
        self._asked_workspaces = Questions(self._learn_workspace, clock)
        self._asked_tokens = Questions(self._learn_token, clock)
        self._unsubscribe = inner.subscribe(self._changed)

    def cached_workspace(self, workspace_id: UUID) -> Workspace | None:
        """:return: the workspace if it is remembered; ``None`` says nothing."""
        return self._workspaces.get(workspace_id) if self._inner.watching else None

    def cached_token(self, digest: bytes) -> Token | None:
        """:return: the token if it is remembered; ``None`` says nothing."""
        return self._tokens.get(digest) if self._inner.watching else None

    def workspace(self, workspace_id: UUID) -> Awaitable[Workspace | None]:
        known = self.cached_workspace(workspace_id)
        if known is not None:
            return succeed(known)
        return self._asked_workspaces.ask(workspace_id, lambda: self._inner.workspace(workspace_id))

    def fresh_workspace(self, workspace_id: UUID) -> Awaitable[Workspace | None]:
        return self._asked_workspaces.ask_anew(
            workspace_id, lambda: self._inner.fresh_workspace(workspace_id)
        )

    def token(self, digest: bytes) -> Awaitable[Token | None]:
        known = self.cached_token(digest)
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
        if found is not None and self._inner.watching:
            self._workspaces.put(workspace_id, found, workspace_id)

    def _learn_token(self, digest: bytes, found: Token | None) -> None:
        if found is not None and self._inner.watching:
            self._tokens.put(digest, found, found.workspace_id)
