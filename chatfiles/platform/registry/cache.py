"""
A registry that caches workspaces, tokens and keys while they are known to be current.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from twisted.internet.defer import succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.components import proxyForInterface
from zope.interface import implementer

from chatfiles.model import ChannelPlaces, Token, Workspace
from chatfiles.platform.registry.coalesced_reads import CoalescedReads
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.registry.lru import LRUCache
from chatfiles.platform.registry.subscribers import Subscribers
from chatfiles.rules.link_keys import LinkKey

__all__ = ["CachedRegistry"]

#: Workspaces that are cached, and tokens that are cached.
MAX_ENTRIES = 100_000


@implementer(IWorkspaceRegistry)
class CachedRegistry(proxyForInterface(IWorkspaceRegistry, "_inner")):  # type: ignore[misc]
    """
    Responds to `workspace`, `token`, `token_by_id`, `channel_places` and `link_keys` from memory if
    it can; *inner* does everything else.

    When *inner* notifies of a change, the workspace and its tokens are dropped; if *inner* does not
    name the workspace, everything is dropped, and only then the keys.  A read that began before the
    change is not cached.  While *inner* is not `watching`, nothing is cached, and no cached value
    is used.  The absence of a workspace or token is never cached: clients that guess ids would fill
    the memory.

    :param inner: the registry that is read.
    :param clock: the reactor.
    :param most: how many workspaces, and how many tokens, are cached.
    :ivar looked_up: called for each look-up, with whether the value was in memory.
    """

    looked_up: Callable[[bool], object] = staticmethod(lambda _: None)

    def __init__(
        self, inner: IWorkspaceRegistry, clock: IReactorTime, *, most: int = MAX_ENTRIES
    ) -> None:
        super().__init__(inner)
        self._subscribers = Subscribers()
        self._workspaces: LRUCache[UUID, Workspace] = LRUCache(most)
        self._tokens: LRUCache[bytes, Token] = LRUCache(most)
        self._tokens_by_id: LRUCache[UUID, Token] = LRUCache(most)
        self._places: LRUCache[UUID, ChannelPlaces] = LRUCache(most)
        self._link_keys: Sequence[LinkKey] | None = None
        self._workspace_reads = CoalescedReads(self._learn_workspace, clock)
        self._token_reads = CoalescedReads(self._learn_token, clock)
        self._id_reads = CoalescedReads(self._learn_token_by_id, clock)
        self._key_reads = CoalescedReads(self._learn_link_keys, clock)
        self._place_reads = CoalescedReads(self._learn_places, clock)
        self._version = 0
        self._unsubscribe = inner.subscribe(self._changed)

    @property
    def version(self) -> int | None:
        """
        A number that changes whenever a cached value is dropped or replaced because it is outdated;
        ``None`` while no cached value may be used.
        """
        return self._version if self._inner.watching else None

    def cached_workspace(self, workspace_id: UUID) -> Workspace | None:
        """:return: the workspace; ``None`` if it is not cached, whether it exists or not."""
        return self._workspaces.get(workspace_id) if self._inner.watching else None

    def cached_token(self, digest: bytes) -> Token | None:
        """:return: the token; ``None`` if it is not cached, whether it exists or not."""
        return self._tokens.get(digest) if self._inner.watching else None

    def cached_pair(self, digest: bytes, workspace_id: UUID) -> tuple[Token, Workspace] | None:
        """:return: a token and a workspace; ``None`` if one of them is not cached."""
        if not self._inner.watching:
            return None
        token, workspace = self._tokens.get(digest), self._workspaces.get(workspace_id)
        return (token, workspace) if token is not None and workspace is not None else None

    def workspace(self, workspace_id: UUID) -> Awaitable[Workspace | None]:
        """See `IWorkspaceRegistry`."""
        cached = self.cached_workspace(workspace_id)
        self.looked_up(cached is not None)
        if cached is not None:
            return succeed(cached)
        return self._workspace_reads.read(workspace_id, lambda: self._inner.workspace(workspace_id))

    def fresh_workspace(self, workspace_id: UUID) -> Awaitable[Workspace | None]:
        """See `IWorkspaceRegistry`."""
        self.looked_up(False)
        return self._workspace_reads.read_fresh(
            workspace_id, lambda: self._inner.fresh_workspace(workspace_id)
        )

    def token(self, digest: bytes) -> Awaitable[Token | None]:
        """See `IWorkspaceRegistry`."""
        cached = self.cached_token(digest)
        self.looked_up(cached is not None)
        if cached is not None:
            return succeed(cached)
        return self._token_reads.read(digest, lambda: self._inner.token(digest))

    def token_by_id(self, token_id: UUID) -> Awaitable[Token | None]:
        """See `IWorkspaceRegistry`."""
        cached = self._tokens_by_id.get(token_id) if self._inner.watching else None
        self.looked_up(cached is not None)
        if cached is not None:
            return succeed(cached)
        return self._id_reads.read(token_id, lambda: self._inner.token_by_id(token_id))

    def channel_places(self, workspace_id: UUID) -> Awaitable[ChannelPlaces]:
        """See `IWorkspaceRegistry`."""
        cached = self._places.get(workspace_id) if self._inner.watching else None
        self.looked_up(cached is not None)
        if cached is not None:
            return succeed(cached)
        return self._place_reads.read(
            workspace_id, lambda: self._inner.channel_places(workspace_id)
        )

    def fresh_channel_places(self, workspace_id: UUID) -> Awaitable[ChannelPlaces]:
        """See `IWorkspaceRegistry`."""
        self.looked_up(False)
        return self._place_reads.read_fresh(
            workspace_id, lambda: self._inner.fresh_channel_places(workspace_id)
        )

    def link_keys(self) -> Awaitable[Sequence[LinkKey]]:
        """See `IWorkspaceRegistry`."""
        is_cached = self._link_keys is not None and self._inner.watching
        self.looked_up(is_cached)
        if self._link_keys is not None and is_cached:
            return succeed(self._link_keys)
        return self._key_reads.read(None, self._inner.link_keys)

    def fresh_link_keys(self) -> Awaitable[Sequence[LinkKey]]:
        """See `IWorkspaceRegistry`."""
        self.looked_up(False)
        return self._key_reads.read_fresh(None, self._inner.fresh_link_keys)

    def subscribe(self, changed: Callable[[UUID | None], None]) -> Callable[[], None]:
        """See `IWorkspaceRegistry`.  Outdated values are dropped before *changed* is called."""
        return self._subscribers.subscribe(changed)

    async def close(self) -> None:
        """See `IWorkspaceRegistry`."""
        await self._inner.close()
        self._unsubscribe()
        self._forget(None)

    def _changed(self, workspace_id: UUID | None) -> None:
        self._forget(workspace_id)
        self._subscribers.notify(workspace_id)

    def _forget(self, workspace_id: UUID | None) -> None:
        self._version += 1
        self._workspaces.drop_workspace(workspace_id)
        self._tokens.drop_workspace(workspace_id)
        self._tokens_by_id.drop_workspace(workspace_id)
        self._places.drop_workspace(workspace_id)
        # The workspace of a token is known only when the token has been read.
        self._token_reads.invalidate_all()
        self._id_reads.invalidate_all()
        if workspace_id is None:
            self._link_keys = None
            self._key_reads.invalidate_all()
            self._workspace_reads.invalidate_all()
            self._place_reads.invalidate_all()
        else:
            self._place_reads.invalidate(workspace_id)
            self._workspace_reads.invalidate(workspace_id)

    def _learn_workspace(self, workspace_id: UUID, found: Workspace | None) -> None:
        if self._workspaces.get(workspace_id) not in (None, found):
            self._version += 1
        self._workspaces.drop(workspace_id)
        if found is not None and self._inner.watching:
            self._workspaces.put(workspace_id, found, workspace_id)

    def _learn_token(self, digest: bytes, found: Token | None) -> None:
        if self._tokens.get(digest) not in (None, found):
            self._version += 1
        if found is not None and self._inner.watching:
            self._tokens.put(digest, found, found.workspace_id)

    def _learn_token_by_id(self, token_id: UUID, found: Token | None) -> None:
        if found is not None and self._inner.watching:
            self._tokens_by_id.put(token_id, found, found.workspace_id)

    def _learn_places(self, workspace_id: UUID, found: ChannelPlaces) -> None:
        if self._inner.watching:
            self._places.put(workspace_id, found, workspace_id)

    def _learn_link_keys(self, _: None, found: Sequence[LinkKey]) -> None:
        self._link_keys = found if self._inner.watching else None
