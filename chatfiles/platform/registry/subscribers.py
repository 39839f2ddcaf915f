"""
The subscribers of a registry, which are notified when a workspace has changed.
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
    The subscriptions of one registry.  Everything here runs on the reactor thread.

    :param toggled: called when the first subscription begins and when the last one has ended.
    """

    def __init__(self, toggled: Callable[[], None] = lambda: None) -> None:
        self._toggled = toggled
        self._subscriptions: dict[object, Changed] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(self, changed: Changed) -> Callable[[], None]:
        """
        :param changed: called with the id of a workspace that has changed, or with ``None`` when
            any may have changed.
        :return: a callable that ends the subscription; calling it again does nothing.
        """
        key = object()
        self._subscriptions[key] = changed
        if len(self._subscriptions) == 1:
            self._toggled()

        def unsubscribe() -> None:
            if self._subscriptions.pop(key, None) is not None and not self._subscriptions:
                self._toggled()

        return unsubscribe

    def notify(self, workspace_id: UUID | None) -> None:
        """
        Notify every subscriber.  If a subscriber raises, the error is logged, and the others are
        still notified.

        :param workspace_id: the workspace that has changed; ``None`` if any may have changed.
        """
        for key, changed in list(self._subscriptions.items()):
            if key in self._subscriptions:
                with _log.failuresHandled("a subscriber to registry changes failed"):
                    changed(workspace_id)
