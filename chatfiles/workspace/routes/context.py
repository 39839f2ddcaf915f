"""
What the workspace's routes share.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from twisted.internet.interfaces import IReactorTime

from chatfiles.rules.writable_prefixes import WritablePrefixes
from chatfiles.runtime.slots import Slots
from chatfiles.runtime.threads import Threads
from chatfiles.streams.in_flight import in_flight_limit
from chatfiles.workspace.archive.archives import Archives
from chatfiles.workspace.digests.digests import INLINE_BYTES, Digests
from chatfiles.workspace.files.interface import IFileStore
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.listing.known_names import KnownNames

__all__ = ["MOST_STREAMS", "WorkspaceContext"]

#: The most streams over several levels that a process sends at once.  Each has a descriptor open
#: for every level that it is in; trees are seldom over 12 levels, and a process often has 1024.
MOST_STREAMS: Final = 64


@dataclass(frozen=True, slots=True)
class WorkspaceContext:
    """
    The context of the workspace's routes.

    :param store: opens the files.
    :param secret: the inbound secrets, of which the platform must present one.
    :param threads: run calls that may block.
    :param clock: runs timers.
    :param idle_timeout: seconds without progress after which a transfer is aborted.
    :param now_ns: returns the time of day in nanoseconds, for validators.
    :param in_flight: see `chatfiles.streams.in_flight.in_flight_limit`.
    :param max_list_entries: the most entries of one stream of a listing.
    :param digest_inline_bytes: see `Digests`.
    :param archives: the rules for archives.
    :param prefixes: where clients may write.
    :param listings: one slot for each stream over several levels.
    :param known_names: keeps the names of large directories for the next pages.
    :ivar digests: computes and remembers the digests of files.
    """

    store: IFileStore
    secret: InboundSecrets
    threads: Threads
    clock: IReactorTime
    idle_timeout: float
    now_ns: Callable[[], int] = time.time_ns
    in_flight: int = field(default_factory=in_flight_limit)
    max_list_entries: int = 1_000_000
    digest_inline_bytes: int = INLINE_BYTES
    archives: Archives = field(default_factory=Archives)
    prefixes: WritablePrefixes = field(default_factory=WritablePrefixes)
    listings: Slots = field(default_factory=lambda: Slots(MOST_STREAMS))
    known_names: KnownNames = field(default_factory=KnownNames)
    digests: Digests = field(init=False, repr=False)

    def __post_init__(self) -> None:
        digests = Digests(self.threads, self.clock, self.digest_inline_bytes, self.now_ns)
        object.__setattr__(self, "digests", digests)
