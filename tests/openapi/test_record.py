"""
The record of a platform: what it lets pass.
"""

from __future__ import annotations

import json
import os

from twisted.trial.unittest import SynchronousTestCase

from tests.openapi.document import Seen
from tests.openapi.record import Record


class RecordTests(SynchronousTestCase):
    """A record, with lines as the process of a platform writes them."""

    def setUp(self) -> None:
        directory = self.mktemp()
        os.mkdir(directory)
        self.record = Record(directory)

    def note(self, *seen: Seen) -> None:
        """Write a line for each response."""
        with open(self.record.path, "a", encoding="ascii") as file:
            file.writelines(json.dumps(each) + "\n" for each in seen)

    def test_documented(self) -> None:
        """Responses that are documented pass."""
        self.note(Seen("GET", "/health", 200), Seen("GET", "/nothing", 404, "no_route"))
        self.record.check()
        self.assertEqual(len(self.record.seen()), 2)

    def test_not_documented(self) -> None:
        """One that is not fails once: the test that has caused it."""
        wrong = Seen("GET", "/health", 503, "unavailable")
        self.note(Seen("GET", "/health", 200), wrong)
        self.assertIn(repr(wrong), str(self.assertRaises(AssertionError, self.record.check)))
        self.record.check()

    def test_incomplete_line(self) -> None:
        """A line that is being written is read the next time."""
        with open(self.record.path, "a", encoding="ascii") as file:
            file.write('["GET", "/health"')
        self.record.check()
        with open(self.record.path, "a", encoding="ascii") as file:
            file.write(', 418, "internal_error"]\n["GET", "/health", 299, ""]\n')
        self.assertRaises(AssertionError, self.record.check)
