"""
The keys of links in memory, for `chatfiles.testing.memory_registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred

from chatfiles.rules.link_keys import LINGERS, LinkKey, signing_key

__all__ = ["MemoryLinkKeys"]

T = TypeVar("T")


class MemoryLinkKeys:
    """
    The methods of `chatfiles.platform.registry.interface.IWorkspaceRegistry` about keys.  A
    subclass implements `_respond`.

    :param now: returns the current time, with its time zone.
    :param notify: called with ``None`` when the keys have changed.
    """

    def __init__(self, now: Callable[[], datetime], notify: Callable[[UUID | None], None]) -> None:
        self._now = now
        self._notify = notify
        self._keys: dict[str, LinkKey] = {}

    def link_keys(self) -> Deferred[Sequence[LinkKey]]:
        """See `IWorkspaceRegistry`."""
        return self._respond("link_keys", lambda: tuple(self._keys.values()))

    def fresh_link_keys(self) -> Deferred[Sequence[LinkKey]]:
        """See `IWorkspaceRegistry`."""
        return self._respond("fresh_link_keys", lambda: tuple(self._keys.values()))

    def ensure_link_key(self, candidate: LinkKey) -> Deferred[LinkKey]:
        """See `IWorkspaceRegistry`."""

        def change() -> LinkKey:
            found = signing_key(self._keys.values(), self._now())
            return self._put(candidate) if found is None else found

        return self._respond("ensure_link_key", change)

    def rotate_link_keys(self, successor: LinkKey) -> Deferred[None]:
        """See `IWorkspaceRegistry`."""

        def change() -> None:
            now = self._now()
            for key in self._keys.values():
                if key.signs(now):
                    until = min(key.verifies_until, now + LINGERS)
                    self._put(replace(key, signs_until=now, verifies_until=until))
            self._put(successor)

        return self._respond("rotate_link_keys", change)

    def revoke_link_key(self, key_id: str) -> Deferred[bool]:
        """See `IWorkspaceRegistry`."""

        def change() -> bool:
            key = self._keys.get(key_id)
            if key is not None and not key.is_revoked:
                created = key.created_at
                self._put(replace(key, signs_until=created, verifies_until=created))
            return key is not None

        return self._respond("revoke_link_key", change)

    def _put(self, key: LinkKey) -> LinkKey:
        self._keys[key.id] = key
        self._notify(None)
        return key

    def _respond(self, name: str, work: Callable[[], T]) -> Deferred[T]:
        """:return: the result of *work*; *name* is that of the call."""
        raise NotImplementedError
