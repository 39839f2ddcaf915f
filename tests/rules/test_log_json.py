"""
Lines of JSON in logs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.log_json import MOST, json_line, log_time, short


class LineTests(SynchronousTestCase):
    """Values of any kind."""

    @given(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=5))
    def test_one_line(self, values: dict[str, object]) -> None:
        """The line is ASCII without control characters, and means the same."""
        line = json_line(values)
        self.assertTrue(line.isascii())
        self.assertTrue(line.isprintable())
        self.assertEqual(json.loads(line), values)

    def test_surrogates(self) -> None:
        """A text that is no Unicode, such as a name of bytes, is escaped."""
        self.assertEqual(json_line({"a": "\udcff\n"}), '{"a":"\\udcff\\n"}')


class TimeTests(SynchronousTestCase):
    """Times."""

    @given(st.floats(0, 4e9))
    def test_time(self, moment: float) -> None:
        """The time is in UTC, and cut to milliseconds."""
        parsed = datetime.strptime(log_time(moment), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        self.assertTrue(0 <= moment - parsed.timestamp() < 0.0011)


class ShortTests(SynchronousTestCase):
    """Long texts."""

    @given(st.text(max_size=20), st.integers(1, 200), st.booleans())
    def test_short(self, text: str, times: int, end: bool) -> None:
        """A text of at most `MOST` bytes stays; of another one, this much of it is kept."""
        given, kept = text * times, short(text * times, end=end)
        self.assertLessEqual(len(kept.encode("utf-8", "surrogatepass")), MOST)
        if len(given.encode("utf-8")) <= MOST:
            self.assertEqual(kept, given)
        else:
            self.assertTrue(given.endswith(kept) if end else given.startswith(kept))
            self.assertGreater(len(kept.encode("utf-8")), MOST - 4)
