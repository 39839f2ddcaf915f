"""
reference/downloads, "One version" through both hops: what holds at the workspace holds for the
client.
"""

from __future__ import annotations

from tests.live import ranges, transfers


class ContentTests(transfers.ContentCases):
    """The content that is sent."""

    hop = "through"

    def test_relayed_by_the_kernel(self) -> None:
        """
        While a large file is sent, the platform has a pipe; afterwards, however it ends, it has
        none.
        """
        self.make_sparse("spliced.bin", transfers.LARGE)
        before = self.pipes()
        for finish in (True, False):
            mark = self.pair.platform.mark()
            connection, answer = self.begin("/workspace/spliced.bin", request_id="spliced")
            answer.exactly(20 * transfers.MIB)
            self.assertEqual(self.pipes(), before + 2)
            if finish:
                answer.rest()
            connection.close()
            outcome = "complete" if finish else "client_left"
            size = transfers.LARGE if finish else r"\d+"
            self.pair.platform.logged(rf"spliced .* 200 {size} bytes .* {outcome}", since=mark)
            self.assertEqual(self.pipes(), before)

    def pipes(self) -> int:
        """:return: the number of the platform's descriptors that are pipes."""
        return sum(d.startswith("pipe:") for d in self.pair.platform.descriptors())


class RangeTests(ranges.RangeCases):
    """Requests for ranges."""

    hop = "through"


class PaceTests(transfers.PaceCases):
    """The pace at which a client reads."""

    hop = "through"
