"""
Fakes for tests, of this package and of programs that use it: each is held by the same suite to
what the real thing does.
"""

from __future__ import annotations

from chatfiles.testing.memory_registry import MemoryRegistry

__all__ = ["MemoryRegistry"]
