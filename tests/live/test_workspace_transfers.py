"""reference/downloads, "One version" on a running workspace, asked by itself."""

from __future__ import annotations

from tests.live import ranges, transfers


class ContentTests(transfers.ContentCases):
    """What is sent."""

    hop = "direct"


class RangeTests(ranges.RangeCases):
    """What is asked."""

    hop = "direct"


class PaceTests(transfers.PaceCases):
    """How it is taken."""

    hop = "direct"
