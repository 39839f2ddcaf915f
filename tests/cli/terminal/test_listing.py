"""
``chatfiles ls`` on a terminal.
"""

from __future__ import annotations

from tests.cli.cli_stub import WORKSPACE, said
from tests.cli.commands.test_ls import LOCAL_TIME, end, lines, page
from tests.cli.listing.test_entry import described
from tests.cli.terminal.test_terminal import TerminalCase

ODD = b"b\x1b[2J\n\xff"


class ListingTests(TerminalCase):
    """A table, in which no name controls the terminal."""

    def ls(self, *words: str) -> str:
        """:return: what ``chatfiles ls`` writes to the terminal."""
        words = ("ls", "--token-file", "token", WORKSPACE, *words)
        status, written = self.run_on_terminal(*words)
        self.assertEqual(status, 0, written)
        return written

    def test_table(self) -> None:
        """Sizes, local times and names are in columns; control characters are escaped."""
        self.play(page(described(b"a", size=12), described(ODD), described("ä".encode())))
        self.assertEqual(
            self.ls("/workspace").splitlines(),
            [
                f"          12  {LOCAL_TIME}  a",
                f"           3  {LOCAL_TIME}  b\\x1b[2J\\n\\xff",
                f"           3  {LOCAL_TIME}  ä",
            ],
        )

    def test_tree(self) -> None:
        """So it is with ``-R``."""
        self.play(lines(described(ODD, ref="/workspace/d/b%1B%5B2J%0A%FF"), end(1)))
        self.assertIn("  d/b\\x1b[2J\\n\\xff\n", self.ls("-R", "/workspace"))

    def test_roots(self) -> None:
        """Without a path, the roots are a table, in which no path controls the terminal."""
        root = {"path": "/workspace\x1b", "available": True, "writable": ["/workspace/\x1b"]}
        self.play(said("200 OK", {"roots": [root]}))
        expected = "available    /workspace\\x1b\nwritable     /workspace/\\x1b\n"
        self.assertEqual(self.ls(), expected)

    def test_json(self) -> None:
        """``--json`` is ASCII."""
        self.play(page(described(ODD)))
        self.assertNotIn("\x1b", self.ls("--json", "/workspace"))
