"""
A Sphinx directive that draws a state table of the code.

::

    .. state-diagram:: chatfiles.http.server.transfer.TRANSITIONS

The argument names a sequence of triples ``(state, event, next state)``, or a mapping from state and
event to the next state.  States and events are enum members or strings.  The directive makes two
things of them: for HTML a drawing, in which each state is a column and each transition a row with
one arrow, and for every format a table.  Neither needs a layout program, so the drawing is the same
on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from html import escape
from importlib import import_module
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

__all__ = ["StateDiagram", "load", "rows_of", "setup", "states_of", "svg"]

Row = tuple[str, str, str]
Transitions = Iterable[Sequence[object]] | Mapping[tuple[object, object], object]

#: Pixels: of a column and a row, and from the top to the first row.
COLUMN, ROW, TOP = 118, 34, 44


def load(dotted: str) -> object:
    """
    :param dotted: a module's name, a dot, and the name of one of its attributes.
    :return: the attribute.
    :raise ImportError: there is no such module.
    :raise AttributeError: it has no such attribute.
    """
    module, _, name = dotted.rpartition(".")
    return getattr(import_module(module), name)


def rows_of(transitions: Transitions) -> list[Row]:
    """
    :param transitions: triples of state, event and next state, or a mapping from the first two to
        the third; enum members or strings.
    :return: the same as text.
    :raise ValueError: one of them is not a triple, or a transition stands there twice.
    """
    if isinstance(transitions, Mapping):
        transitions = [(*pair, following) for pair, following in transitions.items()]
    rows = []
    for transition in transitions:
        if len(transition) != 3:
            raise ValueError(f"not a transition: {transition!r}")
        state, event, following = map(_text, transition)
        rows.append((state, event, following))
    if len(set(rows)) < len(rows):
        raise ValueError("a transition stands there twice")
    return rows


def _text(value: object) -> str:
    return value.name if isinstance(value, Enum) else str(value)


def states_of(rows: Sequence[Row]) -> list[str]:
    """:return: every state once: first those with a way out, in the order of the table."""
    return list(dict.fromkeys([row[0] for row in rows] + [row[2] for row in rows]))


def svg(rows: Sequence[Row]) -> str:
    """:return: the drawing, as one element."""
    states = states_of(rows)
    at = {state: COLUMN * number + COLUMN // 2 for number, state in enumerate(states)}
    width, height = COLUMN * len(states), TOP + ROW * len(rows) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}"'
        f' width="{width}" style="max-width: 100%; font: 11px sans-serif">'
    ]
    parts += [_column(state, x, height) for state, x in at.items()]
    parts += [
        _arrow(at[state], at[following], TOP + ROW * number + 20, event)
        for number, (state, event, following) in enumerate(rows)
    ]
    return "".join([*parts, "</svg>"])


def _column(state: str, x: int, height: int) -> str:
    left, wide = x - COLUMN // 2 + 4, COLUMN - 8
    return (
        f'<rect x="{left}" y="4" width="{wide}" height="24" rx="5" fill="#eef" stroke="#447"/>'
        f'<text x="{x}" y="20" text-anchor="middle">{escape(state)}</text>'
        f'<line x1="{x}" y1="28" x2="{x}" y2="{height}" stroke="#ccd"/>'
    )


def _arrow(start: int, end: int, y: int, event: str) -> str:
    if start == end:
        end = start + COLUMN // 2 - 8
        path = f"M{start} {y - 6} H{end} V{y} H{start + 6}"
        tip = f"M{start + 1} {y} l7 -4 v8 z"
    else:
        sign = 1 if end > start else -1
        path = f"M{start} {y} H{end - 6 * sign}"
        tip = f"M{end - sign} {y} l{-7 * sign} -4 v8 z"
    middle = (start + end) // 2
    return (
        f'<path d="{path}" fill="none" stroke="#226"/><path d="{tip}" fill="#226"/>'
        f'<text x="{middle}" y="{y - 8}" text-anchor="middle" stroke="#fff" stroke-width="3"'
        f' paint-order="stroke" fill="#111">{escape(event)}</text>'
    )


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", "   :class: generated", ""]
    for row in [("state", "event", "next state"), *rows]:
        lines += [f"   {'* -' if not number else '  -'} {cell}" for number, cell in enumerate(row)]
    return lines


class StateDiagram(SphinxDirective):
    """``.. state-diagram:: module.NAME``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """:return: the drawing and the table."""
        try:
            rows = rows_of(load(self.arguments[0]))  # type: ignore[arg-type]
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise self.error(f"state-diagram {self.arguments[0]}: {error}") from error
        drawing = nodes.raw("", svg(rows), format="html")
        holder = nodes.container()
        self.state.nested_parse(StringList(_table(rows), "state-diagram"), 0, holder)
        return [drawing, *holder.children]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("state-diagram", StateDiagram)
    return {"parallel_read_safe": True}
