"""
The page on performance agrees with the code.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from bench.catalog import OTHERS, SCENARIOS
from tests.docs import read

_ROW = re.compile(r"^   \* - ``([a-z0-9/-]+)``$", re.MULTILINE)


class PageTests(SynchronousTestCase):
    """The tables of docs/performance."""

    def test_tables(self) -> None:
        """Every system and every scenario has a row, in the order of the command, and no other."""
        described, _, _ = read("docs", "performance", "index.rst").partition("\nFigures\n")
        rows = _ROW.findall(described)
        scenarios = [scenario.key for scenario in SCENARIOS]
        self.assertEqual(rows, ["chatfiles", *OTHERS, *scenarios])
