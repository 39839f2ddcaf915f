"""
The workspace's own metrics (reference/metrics, "Workspace").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chatfiles.runtime.metrics.families import Family, Kind, children
from chatfiles.runtime.metrics.meter import Meter
from chatfiles.workspace.digests.digests import Digests

__all__ = ["FAMILIES", "count_digests"]

_LOOKUPS: Final = "chatfiles_digest_cache_lookups_total"
FAMILIES: Final[Sequence[Family]] = (
    Family(
        _LOOKUPS,
        Kind.COUNTER,
        "Digests that requests wanted, by whether they were known.",
        ("result",),
        children(("hit", "miss")),
    ),
)


def count_digests(meter: Meter, digests: Digests) -> None:
    """Count whether *digests* knows what requests want."""
    hit, miss = (meter.counter(_LOOKUPS, result) for result in ("hit", "miss"))
    digests.looked_up = lambda is_known: hit() if is_known else miss()
