"""reference/downloads, "One version" on a running workspace, without a platform."""

from __future__ import annotations

from tests.live import ranges, transfers


class ContentTests(transfers.ContentCases):
    """The content that is sent."""

    hop = "direct"


class RangeTests(ranges.RangeCases):
    """Requests for ranges."""

    hop = "direct"


class PaceTests(transfers.PaceCases):
    """The pace at which a client reads."""

    hop = "direct"
