"""
The cache over a registry: when it may answer by itself, and when it must not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.lru import LRUCache
from tests.contract.registry_case import FIRST, SECOND, UNKNOWN, begun
from tests.platform.registry.cache_case import A, B, CacheTestCase


class RememberingTests(CacheTestCase):
    """Answers that are given again."""

    def test_hit(self) -> None:
        """Each request asks the registry."""
        workspace = self.now(self.cache.workspace(FIRST))
        token = self.now(self.cache.token(A))
        self.assert_asked("workspace", "token")
        self.assertIs(self.now(self.cache.workspace(FIRST)), workspace)
        self.assertIs(self.now(self.cache.token(A)), token)
        self.assertIs(self.cache.cached_workspace(FIRST), workspace)
        self.assertIs(self.cache.cached_token(A), token)
        self.assert_asked()

    def test_peek_at_nothing(self) -> None:
        """A peek asks, or is wrong about what it does not know."""
        self.assertIsNone(self.cache.cached_workspace(FIRST))
        self.assertIsNone(self.cache.cached_token(A))
        self.assert_asked()

    def test_absence_is_not_remembered(self) -> None:
        """A workspace or token that was asked for too early is never found."""
        self.assertIsNone(self.now(self.cache.workspace(UNKNOWN)))
        self.assertIsNone(self.now(self.cache.token(b"")))
        self.assertIsNone(self.now(self.cache.workspace(UNKNOWN)))
        self.assertIsNone(self.now(self.cache.token(b"")))
        self.assert_asked("workspace", "token", "workspace", "token")

    def test_failure_is_not_remembered(self) -> None:
        """An outage lasts longer for the cache than for the registry."""
        self.inner.failing = True
        self.failureResultOf(begun(self.cache.workspace(FIRST)), RegistryUnavailable)
        self.failureResultOf(begun(self.cache.token(A)), RegistryUnavailable)
        self.inner.failing = False
        self.assertEqual(self.url(), "http://old")
        self.assertIsNotNone(self.now(self.cache.token(A)))

    def test_outage(self) -> None:
        """A token that is revoked during an outage goes on to open its workspace."""
        self.url()
        self.now(self.cache.token(A))
        self.inner.failing = True
        self.failureResultOf(begun(self.cache.workspace(FIRST)), RegistryUnavailable)
        self.failureResultOf(begun(self.cache.token(A)), RegistryUnavailable)

    def test_last_use_does_not_empty(self) -> None:
        """Recording uses and heartbeats makes everything be looked up again."""
        token = self.now(self.cache.token(A))
        self.now(self.cache.workspace(FIRST))
        self.now(self.cache.touch_tokens({token.id: token.created_at}))
        self.now(self.cache.touch_workspaces({FIRST: token.created_at}))
        self.inner.asked.clear()
        self.now(self.cache.token(A))
        self.now(self.cache.workspace(FIRST))
        self.assert_asked()


class ForgettingTests(CacheTestCase):
    """Answers that are no longer true."""

    def test_change_of_one(self) -> None:
        """A change is missed, or empties the cache of other workspaces."""
        for workspace_id, digest in ((FIRST, A), (SECOND, B)):
            self.now(self.cache.workspace(workspace_id))
            self.now(self.cache.token(digest))
        self.register(FIRST, "http://new")
        self.inner.asked.clear()
        self.assertIsNone(self.cache.cached_workspace(FIRST))
        self.assertIsNone(self.cache.cached_token(A))
        self.assertEqual(self.url(), "http://new")
        self.now(self.cache.token(A))
        self.assert_asked("workspace", "token")
        self.now(self.cache.workspace(SECOND))
        self.now(self.cache.token(B))
        self.assert_asked()

    def test_change_of_anything(self) -> None:
        """What another process may have changed is still believed."""
        self.url()
        self.now(self.cache.token(A))
        self.inner.failing = True
        self.inner.failing = False
        self.url()
        self.now(self.cache.token(A))
        self.assert_asked("workspace", "token", "workspace", "token")

    def test_revoked(self) -> None:
        """A revoked token, or one of a removed workspace, still opens it."""
        first, second = self.now(self.cache.token(A)), self.now(self.cache.token(B))
        self.now(self.cache.revoke_token(FIRST, first.id))
        self.now(self.cache.remove_workspace(second.workspace_id))
        self.assertIsNone(self.now(self.cache.token(A)))
        self.assertIsNone(self.now(self.cache.token(B)))

    def test_subscribers_come_after(self) -> None:
        """Who asks the cache on being told of a change is told what was before it."""
        self.url()
        urls: list[str | None] = []
        unsubscribe = self.cache.subscribe(lambda _: urls.append(self.url()))
        self.register(FIRST, "http://new")
        unsubscribe()
        self.register(FIRST, "http://newer")
        self.assertEqual(urls, ["http://new"])

    def test_closed(self) -> None:
        """A closed cache answers, or keeps its registry from being let go."""
        self.url()
        self.now(self.cache.token(A))
        late = self.held(self.cache.workspace, SECOND)
        closed = self.cache.close()
        self.now(closed)
        self.successResultOf(late)
        for workspace_id in (FIRST, SECOND):
            self.failureResultOf(begun(self.cache.workspace(workspace_id)), RegistryUnavailable)
        self.failureResultOf(begun(self.cache.token(A)), RegistryUnavailable)
        self.assertEqual(len(self.inner._subscribers), 0)


class BoundTests(CacheTestCase):
    """How much is remembered."""

    most = 2

    def test_least_recently_used_goes(self) -> None:
        """The memory grows without end, or loses what is used all the time."""
        self.add(UNKNOWN, b"c")
        for workspace_id in (FIRST, SECOND, FIRST, UNKNOWN):
            self.now(self.cache.workspace(workspace_id))
        for digest in (A, B, A, b"c"):
            self.now(self.cache.token(digest))
        known = [self.cache.cached_workspace(each) for each in (FIRST, SECOND, UNKNOWN)]
        self.assertEqual([each is not None for each in known], [True, False, True])
        tokens = [self.cache.cached_token(each) for each in (A, B, b"c")]
        self.assertEqual([each is not None for each in tokens], [True, False, True])

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 2)),
                st.tuples(st.just("get"), st.integers(0, 5), st.none()),
                st.tuples(st.just("drop"), st.integers(0, 5), st.none()),
                st.tuples(st.just("forget"), st.none(), st.one_of(st.none(), st.integers(0, 2))),
            )
        )
    )
    def test_like_a_plain_model(self, steps: Iterable[tuple[str, Any, Any]]) -> None:
        """A forgotten answer is still there by another way, or the bookkeeping grows."""
        remembered: LRUCache[int, str] = LRUCache(3)
        model: dict[int, int] = {}
        for step, key, owner in steps:
            if step == "put":
                remembered.put(key, f"{key} {owner}", UUID(int=owner))
                model.pop(key, None)
                model[key] = owner
                if len(model) > 3:
                    del model[next(iter(model))]
            elif step == "get":
                expected = f"{key} {model[key]}" if key in model else None
                self.assertEqual(remembered.get(key), expected)
                if key in model:
                    model[key] = model.pop(key)
            elif step == "drop":
                remembered.drop(key)
                model.pop(key, None)
            else:
                remembered.drop_workspace(None if owner is None else UUID(int=owner))
                model = {k: o for k, o in model.items() if owner not in (None, o)}
            self.assertEqual(list(remembered._values), list(model))
            owned = {k: o.int for o, keys in remembered._keys.items() for k in keys}
            self.assertEqual(owned, model)
            self.assertTrue(all(remembered._keys.values()))
