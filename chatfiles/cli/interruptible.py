"""
Waits that a signal interrupts.
"""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from typing import TypeVar

__all__ = ["next_item"]

_Item = TypeVar("_Item")
#: Seconds after which a wait looks for signals.
_STEP = 0.5


def next_item(queue: SimpleQueue[_Item], seconds: float | None = None) -> _Item:
    """
    Wait for the next item of a queue, in the main thread.

    The wait of Python's queue does not notice a signal that has arrived just before it began, or
    that another thread has received.  Python calls the signal's handler when the wait has ended.

    :param seconds: how long to wait; ``None`` for ever.
    :raise Empty: none came in that time.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = _STEP if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return queue.get(timeout=min(left, _STEP))
        except Empty:
            if left < _STEP:
                raise
