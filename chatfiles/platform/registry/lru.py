"""
A bounded cache of values that belong to workspaces.  It drops the least recently used value.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar
from uuid import UUID

__all__ = ["LRUCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LRUCache(Generic[K, V]):
    """
    Caches the most recently used values.  Each value belongs to one workspace.

    :param most: the maximum number of values.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, tuple[V, UUID]] = OrderedDict()
        self._keys: dict[UUID, set[K]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """:return: the value, which becomes the most recently used; ``None`` if there is none."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, workspace_id: UUID) -> None:
        """Cache *value* until it is dropped, or *most* other values have been used after it."""
        self.drop(key)
        self._values[key] = (value, workspace_id)
        self._keys.setdefault(workspace_id, set()).add(key)
        if len(self._values) > self._most:
            self.drop(next(iter(self._values)))

    def drop(self, key: K) -> None:
        """Drop one value, if there is one."""
        found = self._values.pop(key, None)
        if found is None:
            return
        keys = self._keys[found[1]]
        keys.remove(key)
        if not keys:
            del self._keys[found[1]]

    def drop_workspace(self, workspace_id: UUID | None) -> None:
        """Drop the values of a workspace, or all values for ``None``."""
        if workspace_id is None:
            self._values.clear()
            self._keys.clear()
            return
        for key in self._keys.pop(workspace_id, ()):
            del self._values[key]
