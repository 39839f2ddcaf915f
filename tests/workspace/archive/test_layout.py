"""
Tests for `chatfiles.workspace.archive.layout`.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.virtual_paths import check_form
from chatfiles.workspace.archive.layout import Layout, layout_of

#: Paths → the directory at the top, the path that it has, and the places.
CASES: Sequence[tuple[list[str], str, str | None, list[str]]] = [
    (["/workspace"], "workspace", None, ["workspace"]),
    (["/workspace/a/b"], "b", None, ["b"]),
    (["/workspace/a/b", "/workspace/a/b"], "b", None, ["b"]),
    (["/workspace/a/b/c", "/workspace/a", "/workspace/a/d"], "a", None, ["a"]),
    (["/workspace/b", "/workspace/a"], "workspace", "/workspace", ["workspace/a", "workspace/b"]),
    (["/home/x/y/1", "/home/x/z/2/3"], "x", "/home/x", ["x/y/1", "x/z/2/3"]),
    # below a, but not below it: its name only begins like that
    (["/home/a", "/home/a-b", "/home/a/c"], "home", "/home", ["home/a", "home/a-b"]),
    # by segments, not by bytes: "-" is before "/"
    (["/home/a-b", "/home/a/c"], "home", "/home", ["home/a/c", "home/a-b"]),
    (["/workspace/a", "/configs"], "files", None, ["files/configs", "files/workspace/a"]),
]

PATHS = st.lists(
    st.lists(st.sampled_from("ab"), max_size=4).map(lambda names: "/".join(["/home", *names])),
    min_size=1,
    max_size=6,
)


def layout(paths: Sequence[str]) -> Layout:
    """:return: the layout of these paths."""
    return layout_of([check_form([path.encode()]) for path in paths])


class LayoutTests(SynchronousTestCase):
    """Places of paths."""

    def test_table(self) -> None:
        """Each request has the layout of the table."""
        for paths, top, common, places in CASES:
            found = layout(paths)
            above = found.common.raw.decode() if found.common else None
            self.assertEqual((found.top.decode(), above), (top, common), paths)
            names = [b"/".join(placed.names).decode() for placed in found.placed]
            self.assertEqual(names, places)
            if found.common is not None:
                self.assertEqual(found.common, check_form([found.common.raw]))

    @given(PATHS)
    def test_any(self, paths: list[str]) -> None:
        """Every path is at or below one that has a place; no place is at or below another."""
        kept = [placed.path.raw.decode() + "/" for placed in layout(paths).placed]
        for path in paths:
            self.assertEqual(sum((path + "/").startswith(each) for each in kept), 1)
        for each in kept:
            self.assertEqual(sum(each.startswith(other) for other in kept), 1)

    @given(PATHS)
    def test_order(self, paths: list[str]) -> None:
        """Names are compared by their bytes, segment by segment, and begin with the top."""
        found = layout(paths)
        names = [placed.names for placed in found.placed]
        self.assertEqual(names, sorted(names))
        self.assertEqual({each[0] for each in names}, {found.top})
