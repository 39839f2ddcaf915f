"""
The ways in which a transfer ends.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ["OUTCOMES", "ClientLeft", "Outcome"]


class Outcome(StrEnum):
    """How a transfer ended.  The access log contains the value."""

    COMPLETE = "complete"
    CLIENT_LEFT = "client_left"
    CLIENT_STALLED = "client_stalled"
    EVICTED = "evicted"
    UPSTREAM_INTERRUPTED = "upstream_cut"
    UPSTREAM_STALLED = "upstream_stalled"
    FILE_CHANGED = "file_changed"
    FILE_STALLED = "file_stalled"
    SHUTDOWN = "shutdown"
    INTERNAL_ERROR = "internal_error"


#: All of them.
OUTCOMES: Final = frozenset(Outcome)


class ClientLeft(Exception):
    """The client closed the connection before the end of its transfer."""

    outcome = Outcome.CLIENT_LEFT
