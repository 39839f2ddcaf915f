"""
Who wants to know that a workspace has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from twisted.logger import Logger

__all__ = ["Subscribers"]

_log = Logger()

Changed = Callable[[UUID | None], None]


class Subscribers:
    """
    The subscriptions of one registry.  All of it runs on the reactor thread.

    :param turned: called when the first subscription begins and when the last one has ended.
    """

    def __init__(self, turned: Callable[[], None] = lambda: None) -> None:
        self._turned = turned
        self._subscriptions: dict[object, Changed] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(self, changed: Changed) -> Callable[[], None]:
        """
        :param changed: called with the id of what has changed, ``None`` for anything.
        :return: a callable that ends the subscription; calling it again does nothing.
        """
        key = object()
        self._subscriptions[key] = changed
        if len(self._subscriptions) == 1:
            self._turned()

        def unsubscribe() -> None:
            if self._subscriptions.pop(key, None) is not None and not self._subscriptions:
                self._turned()

        return unsubscribe

    def tell(self, workspace_id: UUID | None) -> None:
        """Tell every subscriber; one that fails is logged and does not keep it from the others."""
        for key, changed in list(self._subscriptions.items()):
            if key in self._subscriptions:
                with _log.failuresHandled("a subscriber to registry changes failed"):
                    changed(workspace_id)
