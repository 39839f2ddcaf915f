"""
`bench.table`.
"""

from __future__ import annotations

from docutils.core import publish_doctree
from docutils.nodes import entry
from twisted.trial.unittest import SynchronousTestCase

from bench.results import as_json
from bench.table import table
from tests.bench.results import RESULT

ABOUT = {
    "commit": "1234567890",
    "date": "2026-11-30T08:00:00+00:00",
    "cpus": 2,
    "python": "3.11.7",
    "twisted": "26.10.0",
}


class TableTests(SynchronousTestCase):
    """Results in the manual."""

    def test_cells(self) -> None:
        """A row has the value, the CPU time and the ratios; the caption has commit and date."""
        lines = "\n".join(table({**ABOUT, "results": [as_json(RESULT)]}))
        found = publish_doctree(lines, settings_overrides={"report_level": 2, "halt_level": 2})
        self.assertIn("Commit 1234567890, 2026-11-30, 2 CPUs", found.astext())
        cells = [cell.astext() for cell in found.findall(entry)]
        self.assertEqual(cells[:4], ["scenario", "chatfiles", "CPU", "/ nginx"])
        self.assertEqual(cells[4:], ["small/1k", "20.0 requests/s", "2.00 µs/request", "0.375"])
