"""
reference/downloads, "One version" through both hops: what holds at the workspace holds for the
caller.
"""

from __future__ import annotations

from tests.live import ranges, transfers


class ContentTests(transfers.ContentCases):
    """What is sent."""

    hop = "through"


class RangeTests(ranges.RangeCases):
    """What is asked."""

    hop = "through"


class PaceTests(transfers.PaceCases):
    """How it is taken."""

    hop = "through"
