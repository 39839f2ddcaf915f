"""
The cache over a registry, while reads are pending.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from chatfiles.errors import RegistryUnavailable
from chatfiles.model import Token, Workspace
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.runtime.call_queue import PER_TURN
from chatfiles.testing import MemoryRegistry
from tests.contract.registry_case import FIRST, SECOND, begun
from tests.platform.registry.cache_case import A, B, CacheTestCase


class RaceTests(CacheTestCase):
    """Reads that are pending when something changes."""

    def test_read_overtaken_by_a_change(self) -> None:
        """A value that was read before a change is not cached after it."""
        early = self.held(self.cache.workspace, FIRST)
        token = self.held(self.cache.token, A)
        self.change()
        self.inner.release()
        self.assertEqual(self.successResultOf(early).url, "http://old")
        self.successResultOf(token)
        self.assertIsNone(self.cache.cached_workspace(FIRST))
        self.assertIsNone(self.cache.cached_token(A))
        self.assertEqual(self.url(), "http://new")

    def test_token_overtaken_by_its_end(self) -> None:
        """A token that is looked up while it is revoked is not cached."""
        token = self.now(self.inner.token(A))
        early = self.held(self.cache.token, A)
        self.meanwhile(lambda: self.now(self.inner.revoke_token(FIRST, token.id)))
        self.inner.release()
        self.assertEqual(self.successResultOf(early), token)
        self.assertIsNone(self.now(self.cache.token(A)))

    def test_asked_after_a_change(self) -> None:
        """A lookup after a change does not share a read from before it."""
        early = self.held(self.cache.workspace, FIRST)
        self.change()
        late = self.held(self.cache.workspace, FIRST)
        self.inner.release()
        self.assertEqual(self.successResultOf(early).url, "http://old")
        self.assertEqual(self.successResultOf(late).url, "http://new")
        self.assertEqual(self.url(), "http://new")

    def test_answers_in_the_wrong_order(self) -> None:
        """The result of an older read does not replace that of a newer one."""
        early = self.held(self.cache.workspace, FIRST)
        self.change()
        late = self.held(self.cache.workspace, FIRST)
        self.inner._held.reverse()
        self.inner.release()
        self.assertEqual(self.successResultOf(early).url, "http://old")
        self.assertEqual(self.successResultOf(late).url, "http://new")
        self.assertEqual(self.url(), "http://new")

    def test_change_of_another_workspace(self) -> None:
        """A change of another workspace does not prevent caching, even in a busy registry."""
        early = self.held(self.cache.workspace, FIRST)
        self.change(SECOND)
        self.inner.release()
        self.successResultOf(early)
        self.assertIsNotNone(self.cache.cached_workspace(FIRST))

    def test_overtaken_by_anything(self) -> None:
        """A value that was read before another process's change is not cached after it."""
        early = self.held(self.cache.workspace, FIRST)
        token = self.held(self.cache.token, A)
        self.inner.failing = True
        self.inner.failing = False
        self.inner.release()
        self.successResultOf(early)
        self.successResultOf(token)
        self.assertIsNone(self.cache.cached_workspace(FIRST))
        self.assertIsNone(self.cache.cached_token(A))


class SharingTests(CacheTestCase):
    """Concurrent lookups of the same workspace or token."""

    def test_shared(self) -> None:
        """Concurrent lookups of one workspace or token read from the registry once."""
        self.inner.holding = True
        cache: Any = self.cache
        workspaces = [begun(cache.workspace(FIRST)) for _ in range(10)]
        tokens = [begun(cache.token(A)) for _ in range(10)]
        other = begun(cache.token(B))
        self.inner.release()
        self.assertEqual({self.successResultOf(each).id for each in workspaces}, {FIRST})
        self.assertEqual(len({self.successResultOf(each).id for each in tokens}), 1)
        self.assertEqual(self.successResultOf(other).workspace_id, SECOND)
        self.assert_asked("workspace", "token", "token")

    def test_many(self) -> None:
        """
        Results that many lookups wait for are delivered in batches, so that other work is not
        delayed.
        """
        self.inner.holding = True
        found: list[object] = []
        calls = [begun(self.cache.token(A)).addBoth(found.append) for _ in range(PER_TURN + 9)]
        calls.append(begun(self.cache.token(B)).addBoth(found.append))
        self.inner.release()
        self.assertEqual(len(found), PER_TURN)
        calls[-3].cancel()
        self.assertEqual(len(found), PER_TURN + 1)
        self.clock.advance(0)
        self.assertEqual(len(found), PER_TURN + 10)
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNotNone(self.cache.cached_token(A))

    def test_shared_failure(self) -> None:
        """All lookups that share a read receive its failure."""
        self.inner.holding = self.inner.failing = True
        calls = [begun(self.cache.workspace(FIRST)) for _ in range(3)]
        self.inner.release()
        for call in calls:
            self.failureResultOf(call, RegistryUnavailable)
        self.inner.failing = False
        self.url()

    def test_one_leaves(self) -> None:
        """A lookup that is cancelled does not cancel the others that share its read."""
        self.inner.holding = True
        calls = [self.deferred(self.cache.workspace(FIRST)) for _ in range(3)]
        calls[0].cancel()
        self.failureResultOf(calls[0], CancelledError)
        self.inner.release()
        for call in calls[1:]:
            self.assertEqual(self.successResultOf(call).id, FIRST)
        self.assertIsNotNone(self.cache.cached_workspace(FIRST))

    def test_all_leave(self) -> None:
        """
        A read is cancelled with the last lookup that waits for it, and the next lookup reads again.
        """
        asked: list[Deferred[Workspace | None]] = []
        ask = self.inner.workspace

        def never(workspace_id: UUID) -> Deferred[Workspace | None]:
            asked.append(Deferred(lambda _: withdrawn.append(workspace_id)))
            return asked[-1]

        withdrawn: list[UUID] = []
        self.patch(self.inner, "workspace", never)
        calls = [self.deferred(self.cache.workspace(FIRST)) for _ in range(3)]
        for call in calls:
            self.assertEqual(withdrawn, [])
            call.cancel()
            self.failureResultOf(call, CancelledError)
        self.assertEqual(withdrawn, [FIRST])
        self.assertEqual(len(asked), 1)
        self.patch(self.inner, "workspace", ask)
        self.assertEqual(self.url(), "http://old")

    def test_asked_while_the_last_leaves(self) -> None:
        """A lookup that begins while a read is being cancelled starts a new read."""
        asked: list[Deferred[Workspace | None]] = []
        again: list[Deferred[Any]] = []

        def never(workspace_id: UUID) -> Deferred[Workspace | None]:
            asked.append(Deferred(lambda _: again.append(begun(self.cache.workspace(FIRST)))))
            return asked[-1]

        self.patch(self.inner, "workspace", never)
        call = self.deferred(self.cache.workspace(FIRST))
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertEqual(len(asked), 2)
        self.assertNoResult(again[0])

    def test_one_makes_another_leave(self) -> None:
        """A callback that cancels another lookup of the same read does not affect the rest."""
        self.inner.holding = True
        calls = [self.deferred(self.cache.workspace(FIRST)) for _ in range(3)]

        def end_another(found: Workspace) -> Workspace:
            calls[1].cancel()
            return found

        calls[0].addCallback(end_another)
        self.inner.release()
        self.successResultOf(calls[0])
        self.failureResultOf(calls[1], CancelledError)
        self.successResultOf(calls[2])

    def test_one_asks_again(self) -> None:
        """A callback that looks up the same token gets the cached value."""
        self.inner.holding = True
        call = self.deferred(self.cache.token(A))
        call.addCallback(lambda found: self.cache.token(A))
        self.inner.release()
        self.assertEqual(self.successResultOf(call).workspace_id, FIRST)
        self.assert_asked("token")

    def test_coroutines(self) -> None:
        """A registry whose methods are coroutines can be cached."""
        cache: Any = CachedRegistry(CoroutineRegistry(self.inner), self.clock)
        self.assertEqual(self.now(cache.workspace(FIRST)).id, FIRST)
        self.assertEqual(self.now(cache.token(A)).workspace_id, FIRST)

    def deferred(self, awaitable: Awaitable[Any]) -> Deferred[Any]:
        assert isinstance(awaitable, Deferred)
        return awaitable


class FreshTests(CacheTestCase):
    """`fresh_workspace`."""

    def test_past_the_cache(self) -> None:
        """
        A fresh read does not use the cache: a workspace that has refused the platform may have a
        new secret.
        """
        self.url()
        self.unnoticed("http://new")
        self.assertEqual(self.url(), "http://old")
        self.assertEqual(self.now(self.cache.fresh_workspace(FIRST)).url, "http://new")
        self.assert_asked("workspace", "fresh_workspace")

    def test_is_learned(self) -> None:
        """The result of a fresh read is cached, and used by the next lookup."""
        self.url()
        self.unnoticed("http://new")
        self.now(self.cache.fresh_workspace(FIRST))
        self.assertEqual(self.url(), "http://new")
        self.assert_asked("workspace", "fresh_workspace")

    def test_absence_is_learned(self) -> None:
        """If a fresh read finds no workspace, the cached one is dropped."""
        self.url()
        del self.inner._rows[FIRST]
        self.assertIsNone(self.now(self.cache.fresh_workspace(FIRST)))
        self.assertIsNone(self.now(self.cache.workspace(FIRST)))

    def test_shares_no_older_question(self) -> None:
        """A fresh read does not share a read that began before it."""
        early = self.held(self.cache.workspace, FIRST)
        self.unnoticed("http://new")
        fresh = self.held(self.cache.fresh_workspace, FIRST)
        self.inner._held.reverse()
        self.inner.release()
        self.assertEqual(self.successResultOf(early).url, "http://old")
        self.assertEqual(self.successResultOf(fresh).url, "http://new")
        self.assertEqual(self.url(), "http://new")

    def unnoticed(self, url: str) -> None:
        """Change a workspace as another process does, before subscribers are notified."""
        row = self.inner._rows[FIRST]
        secret = row.workspace.inbound_secret
        row.workspace = Workspace(FIRST, "x", url, "online", None, secret)


@implementer(IWorkspaceRegistry)
class CoroutineRegistry:
    """A registry whose lookups are coroutines."""

    def __init__(self, inner: MemoryRegistry) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def workspace(self, workspace_id: UUID) -> Workspace | None:
        return await self._inner.workspace(workspace_id)

    async def token(self, digest: bytes) -> Token | None:
        return await self._inner.token(digest)
