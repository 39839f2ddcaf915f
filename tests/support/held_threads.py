"""
Threads whose calls wait until a test lets them run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from chatfiles.runtime.call_queue import Call, CallQueue, Limits

__all__ = ["HeldThreads"]


class HeldThreads:
    """
    In place of `Threads`.

    :ivar running: the calls that have begun, in order.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.running: list[Call[Any]] = []
        self.queue = CallQueue(self.running.append, clock, Limits(100))

    def run(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        owner: Hashable = None,
        refusable: bool = True,
        discard: Callable[[Any], object] | None = None,
    ) -> Deferred[Any]:
        """As `Threads.run`."""
        work = partial(function, *args)
        return self.queue.submit(work, owner=owner, refusable=refusable, discard=discard)

    def finish(self, index: int = 0) -> None:
        """Let one of the running calls return."""
        call = self.running.pop(index)
        try:
            result = call.work()
        except Exception:
            result = Failure()
        call.finish(result)

    def finish_all(self) -> None:
        """Let calls return until none is running."""
        while self.running:
            self.finish()
