"""
Fakes for the tests of programs that embed chatfiles or use its API.

The tests of chatfiles use the same fakes.  No other part of the package imports this one.

:mod:`chatfiles.testing.memory_registry`
    `MemoryRegistry`, a registry in memory that can also fail or be slow.  It passes the same
    contract tests as the real registries.
:mod:`chatfiles.testing.fake_roles`
    `FakePlatform` and `FakeWorkspace`, both roles in the process of a test, on free ports.
:mod:`chatfiles.testing.broken_upstreams`
    `ScriptedServer`, an HTTP server that interrupts, stalls or breaks the rules of HTTP, as a test
    scripts it.
:mod:`chatfiles.testing.strategies`
    Hypothesis strategies for virtual paths, ``Range`` headers, file names and multipart forms.
    Import it by its own name; it needs ``hypothesis``.
"""

from __future__ import annotations

from chatfiles.testing.broken_upstreams import (
    ReceivedRequest,
    Script,
    ScriptedServer,
    ServerConnection,
    respond,
)
from chatfiles.testing.fake_roles import FakePlatform, FakeWorkspace, KnownWorkspace
from chatfiles.testing.memory_registry import MemoryRegistry

__all__ = [
    "FakePlatform",
    "FakeWorkspace",
    "KnownWorkspace",
    "MemoryRegistry",
    "ReceivedRequest",
    "Script",
    "ScriptedServer",
    "ServerConnection",
    "respond",
]
