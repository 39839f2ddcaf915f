"""
reference/downloads, "One version" through both hops: what holds at the workspace holds for the
client.
"""

from __future__ import annotations

from tests.live import ranges, transfers


class ContentTests(transfers.ContentCases):
    """The content that is sent."""

    hop = "through"


class RangeTests(ranges.RangeCases):
    """Requests for ranges."""

    hop = "through"


class PaceTests(transfers.PaceCases):
    """The pace at which a client reads."""

    hop = "through"
