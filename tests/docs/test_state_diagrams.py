"""Diagrams of state tables (docs/_ext/state_diagrams.py), tested with a small table."""

from __future__ import annotations

import os
from enum import Enum, auto
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.docs import build, extension

state_diagrams = extension("state_diagrams")


class State(Enum):
    """States of a door."""

    OPEN = auto()
    CLOSED = auto()
    LOCKED = auto()


#: Events that are plain text, one with a special character, and one that changes nothing.
TRANSITIONS = (
    (State.OPEN, "close", State.CLOSED),
    (State.CLOSED, "open", State.OPEN),
    (State.CLOSED, "lock & key", State.LOCKED),
    (State.CLOSED, "knock", State.CLOSED),
)


class DiagramTests(SynchronousTestCase):
    """From a table to its rows, states and drawing."""

    def setUp(self) -> None:
        found = state_diagrams.load(f"{__name__}.TRANSITIONS")
        self.assertIs(found, TRANSITIONS)
        self.rows = state_diagrams.rows_of(TRANSITIONS)

    def test_rows(self) -> None:
        """Every transition has a row, in which enum members are shown by their names."""
        self.assertEqual(self.rows[0], ("OPEN", "close", "CLOSED"))
        self.assertEqual(len(self.rows), len(TRANSITIONS))

    def test_mapping(self) -> None:
        """A table that is written as a mapping has the same rows."""
        mapping = {(state, event): following for state, event, following in TRANSITIONS}
        self.assertEqual(state_diagrams.rows_of(mapping), self.rows)

    def test_states(self) -> None:
        """A state from which no transition leads away is included."""
        self.assertEqual(state_diagrams.states_of(self.rows), ["OPEN", "CLOSED", "LOCKED"])

    def test_wrong_tables(self) -> None:
        """A table with an incomplete row, or with a transition twice, is refused."""
        for wrong in ([("a", "b")], [("a", "b", "c"), ("a", "b", "c")]):
            with self.assertRaises(ValueError):
                state_diagrams.rows_of(wrong)

    def test_drawing(self) -> None:
        """The drawing is well formed, and has every state and every event."""
        drawing = ElementTree.fromstring(state_diagrams.svg(self.rows))
        texts = [each.text for each in drawing.iter("{http://www.w3.org/2000/svg}text")]
        self.assertEqual(
            texts, ["OPEN", "CLOSED", "LOCKED", "close", "open", "lock & key", "knock"]
        )
        paths = list(drawing.iter("{http://www.w3.org/2000/svg}path"))
        self.assertEqual(len(paths), 2 * len(TRANSITIONS), "a line and a tip for each")


class DirectiveTests(SynchronousTestCase):
    """The directive, in a manual of its own."""

    def test_pages(self) -> None:
        """
        A page has the drawing and the table; for a table that does not exist there is a warning.
        """
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        for page, name in (("index", "TRANSITIONS"), ("gone", "GONE")):
            with open(os.path.join(directory, f"{page}.rst"), "w") as file:
                file.write(f":orphan:\n\nDoor\n====\n\n.. state-diagram:: {__name__}.{name}\n")
        out = os.path.join(directory, "out")
        options = ("-C", "-D", "extensions=state_diagrams")
        warnings = build(directory, out, "xml", options)
        self.assertIn(f"state-diagram {__name__}.GONE", warnings)
        self.assertNotIn("index.rst", warnings)
        parsed = ElementTree.parse(os.path.join(out, "index.xml"))
        (drawing,) = parsed.iter("raw")
        self.assertEqual(drawing.text, state_diagrams.svg(state_diagrams.rows_of(TRANSITIONS)))
        (table,) = parsed.iter("table")
        self.assertIn("generated", table.get("classes", ""), "test_rendering counts other tables")
        self.assertEqual(len(list(table.iter("row"))), 1 + len(TRANSITIONS))
