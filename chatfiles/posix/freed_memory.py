"""
What the C library does with freed memory.
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

# <malloc.h> of glibc
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: Bytes at the end of the heap that are kept for later, and bytes of the smallest block outside the
#: heap.
_KEPT, _OUTSIDE = 8 << 20, 4 << 20


def keep_freed_memory() -> None:
    """
    Keep some megabytes of freed memory for the next transfers.  glibc would return the pieces of an
    upload to the kernel again and again, and the kernel would have to clear each page once more.
    Without glibc, this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _OUTSIDE)
