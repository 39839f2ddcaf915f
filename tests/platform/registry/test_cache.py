"""
The cache over a registry: when it returns cached values, and when it must not.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.lru import LRUCache
from chatfiles.rules.link_keys import LinkKey, new_link_key
from chatfiles.testing import MemoryRegistry
from tests.contract.registry_case import FIRST, SECOND, UNKNOWN, begun
from tests.platform.registry.cache_case import A, B, CacheTestCase


class RememberingTests(CacheTestCase):
    """Values that are cached."""

    def test_hit(self) -> None:
        """A second lookup of the same workspace or token does not call the registry."""
        workspace = self.now(self.cache.workspace(FIRST))
        token = self.now(self.cache.token(A))
        self.assert_asked("workspace", "token")
        self.assertIs(self.now(self.cache.workspace(FIRST)), workspace)
        self.assertIs(self.now(self.cache.token(A)), token)
        self.assertIs(self.cache.cached_workspace(FIRST), workspace)
        self.assertIs(self.cache.cached_token(A), token)
        self.assert_asked()

    def test_peek_at_nothing(self) -> None:
        """A peek returns ``None`` for what is not cached, and does not call the registry."""
        self.assertIsNone(self.cache.cached_workspace(FIRST))
        self.assertIsNone(self.cache.cached_token(A))
        self.assert_asked()

    def test_absence_is_not_remembered(self) -> None:
        """The absence of a workspace or token is not cached, so that it is found once it exists."""
        self.assertIsNone(self.now(self.cache.workspace(UNKNOWN)))
        self.assertIsNone(self.now(self.cache.token(b"")))
        self.assertIsNone(self.now(self.cache.workspace(UNKNOWN)))
        self.assertIsNone(self.now(self.cache.token(b"")))
        self.assert_asked("workspace", "token", "workspace", "token")

    def test_failure_is_not_remembered(self) -> None:
        """A failure is not cached: an outage ends for the cache when it ends for the registry."""
        self.inner.failing = True
        self.failureResultOf(begun(self.cache.workspace(FIRST)), RegistryUnavailable)
        self.failureResultOf(begun(self.cache.token(A)), RegistryUnavailable)
        self.inner.failing = False
        self.assertEqual(self.url(), "http://old")
        self.assertIsNotNone(self.now(self.cache.token(A)))

    def test_outage(self) -> None:
        """During an outage no cached value is used, so that no revoked token stays valid."""
        self.url()
        self.now(self.cache.token(A))
        self.inner.failing = True
        self.failureResultOf(begun(self.cache.workspace(FIRST)), RegistryUnavailable)
        self.failureResultOf(begun(self.cache.token(A)), RegistryUnavailable)

    def test_last_use_does_not_empty(self) -> None:
        """Recording uses and heartbeats drops nothing from the cache."""
        token = self.now(self.cache.token(A))
        self.now(self.cache.workspace(FIRST))
        self.now(self.cache.touch_tokens({token.id: token.created_at}))
        self.now(self.cache.touch_workspaces({FIRST: token.created_at}))
        self.inner.asked.clear()
        self.now(self.cache.token(A))
        self.now(self.cache.workspace(FIRST))
        self.assert_asked()


class LinkTests(CacheTestCase):
    """What the links of a warm node need."""

    def keys(self) -> list[LinkKey]:
        return list(self.now(self.cache.link_keys()))

    def ensure(self) -> LinkKey:
        key: LinkKey = self.now(self.inner.ensure_link_key(new_link_key(datetime.now(UTC))))
        self.inner.asked.clear()
        return key

    def test_keys(self) -> None:
        """Keys are read once, also if there are none, until they change."""
        self.assertEqual(self.keys(), [])
        self.assertEqual(self.keys(), [])
        self.assert_asked("link_keys")
        key = self.ensure()
        self.assertEqual(self.keys(), [key])
        self.assertEqual(self.keys(), [key])
        self.assert_asked("link_keys")

    def test_keys_outlive_changes_of_workspaces(self) -> None:
        """The change of one workspace does not drop the keys."""
        self.keys()
        self.register(FIRST, "http://new")
        self.inner.asked.clear()
        self.keys()
        self.assert_asked()

    def test_keys_during_an_outage(self) -> None:
        """During an outage no cached key is used, because it may have been revoked."""
        self.ensure()
        self.keys()
        self.inner.failing = True
        self.failureResultOf(begun(self.cache.link_keys()), RegistryUnavailable)
        self.inner.failing = False
        self.inner.asked.clear()
        self.keys()
        self.assert_asked("link_keys")

    def test_fresh_keys(self) -> None:
        """Fresh keys are always read, and replace those that are cached."""
        self.keys()
        key = new_link_key(datetime.now(UTC))
        self.inner._keys[key.id] = key  # not notified
        self.assertEqual(self.keys(), [])
        self.assertEqual(list(self.now(self.cache.fresh_link_keys())), [key])
        self.assertEqual(self.keys(), [key])
        self.assert_asked("link_keys", "fresh_link_keys")

    def test_keys_that_change_meanwhile(self) -> None:
        """Keys whose read began before a change are not cached."""
        reading = self.held(lambda _: self.cache.link_keys(), None)
        self.meanwhile(self.ensure)
        self.inner.release()
        self.assertEqual(list(self.successResultOf(reading)), [])
        self.assertEqual(len(self.keys()), 1)

    def test_token_by_id(self) -> None:
        """A token is read once by its id, until its workspace changes."""
        (token,) = self.now(self.inner.tokens(FIRST))
        self.inner.asked.clear()
        self.assertEqual(self.now(self.cache.token_by_id(token.id)), token)
        self.assertEqual(self.now(self.cache.token_by_id(token.id)), token)
        self.register(SECOND, "http://new")
        self.inner.asked.clear()
        self.now(self.cache.token_by_id(token.id))
        self.assert_asked()
        self.now(self.inner.revoke_token(FIRST, token.id))
        self.assertIsNone(self.now(self.cache.token_by_id(token.id)))
        self.assertIsNone(self.now(self.cache.token_by_id(token.id)))
        self.assert_asked("revoke_token", "token_by_id", "token_by_id")

    def test_token_that_is_revoked_meanwhile(self) -> None:
        """A token whose read began before it was revoked is not cached."""
        (token,) = self.now(self.inner.tokens(FIRST))
        self.inner.holding = True
        reading = begun(self.cache.token_by_id(token.id))
        self.inner.holding = False
        self.meanwhile(lambda: self.now(self.inner.revoke_token(FIRST, token.id)))
        self.inner.release()
        self.assertEqual(self.successResultOf(reading), token)
        self.assertIsNone(self.now(self.cache.token_by_id(token.id)))


class PairTests(CacheTestCase):
    """A token and a workspace that are both cached."""

    def warm(self) -> None:
        self.now(self.cache.workspace(FIRST))
        self.now(self.cache.token(A))
        self.inner.asked.clear()

    def test_pair(self) -> None:
        """Both are returned, without a call of the registry."""
        self.warm()
        pair = self.cache.cached_pair(A, FIRST)
        self.assertEqual(pair, (self.cache.cached_token(A), self.cache.cached_workspace(FIRST)))
        self.assertIsNotNone(pair)
        self.assert_asked()

    def test_one_of_them(self) -> None:
        """If one of them is not cached, there is none."""
        self.assertIsNone(self.cache.cached_pair(A, FIRST))
        self.warm()
        self.assertIsNone(self.cache.cached_pair(A, SECOND))
        self.assertIsNone(self.cache.cached_pair(B, FIRST))
        self.assertIsNone(self.cache.cached_pair(b"", UNKNOWN))

    def test_not_watching(self) -> None:
        """While changes cannot be seen, there is none: the token may have been revoked."""
        self.warm()
        self.patch(MemoryRegistry, "watching", False)
        self.assertIsNone(self.cache.cached_pair(A, FIRST))

    def test_revoked(self) -> None:
        """There is none after the token was revoked, or the workspace changed or was removed."""

        def revoke() -> None:
            (token,) = self.now(self.inner.tokens(FIRST))
            self.now(self.inner.revoke_token(FIRST, token.id))

        for change in (
            lambda: self.register(FIRST, "http://new"),
            revoke,
            lambda: self.now(self.inner.remove_workspace(FIRST)),
        ):
            self.warm()
            change()
            self.assertIsNone(self.cache.cached_pair(A, FIRST), change)


class ForgettingTests(CacheTestCase):
    """Cached values that are no longer current."""

    def test_change_of_one(self) -> None:
        """A change drops its workspace and the workspace's tokens, and no others."""
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
        """
        A notification that names no workspace, as of another process's change, drops everything.
        """
        self.url()
        self.now(self.cache.token(A))
        self.inner.failing = True
        self.inner.failing = False
        self.url()
        self.now(self.cache.token(A))
        self.assert_asked("workspace", "token", "workspace", "token")

    def test_revoked(self) -> None:
        """A revoked token, or a token of a removed workspace, is not found."""
        first, second = self.now(self.cache.token(A)), self.now(self.cache.token(B))
        self.now(self.cache.revoke_token(FIRST, first.id))
        self.now(self.cache.remove_workspace(second.workspace_id))
        self.assertIsNone(self.now(self.cache.token(A)))
        self.assertIsNone(self.now(self.cache.token(B)))

    def test_subscribers_come_after(self) -> None:
        """A subscriber that reads from the cache when it is notified gets the new value."""
        self.url()
        urls: list[str | None] = []
        unsubscribe = self.cache.subscribe(lambda _: urls.append(self.url()))
        self.register(FIRST, "http://new")
        unsubscribe()
        self.register(FIRST, "http://newer")
        self.assertEqual(urls, ["http://new"])

    def test_closed(self) -> None:
        """A closed cache fails every lookup, and has unsubscribed from its registry."""
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
    """How much is cached."""

    most = 2

    def test_least_recently_used_goes(self) -> None:
        """When the cache is full, the least recently used value is dropped."""
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
        """The LRU cache and its index by workspace agree with a plain model."""
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
