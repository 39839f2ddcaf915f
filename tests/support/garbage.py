"""
Finds objects in reference cycles, which stay in memory until Python's collector finds them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import TestCase

__all__ = ["no_garbage"]


@contextmanager
def no_garbage(case: TestCase) -> Iterator[None]:
    """Check that what *case* does in the context leaves no objects of ours in reference cycles."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
    finally:
        gc.set_debug(0)
        gc.enable()
        found = {type(each) for each in gc.garbage}
        gc.garbage.clear()
    ours = [each for each in found if each.__module__.startswith("chatfiles")]
    case.assertEqual(ours, [])
