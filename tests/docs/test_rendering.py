"""
The manual builds without a warning, and its tables are rendered as they are written.

In a simple table of reStructuredText, text in the first column begins a new row.  A row whose first
cell needs two lines becomes two rows, the second of which lacks the other cells, and Sphinx does
not warn.  So tables are written as list tables, and no cell is empty.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from functools import cache
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.docs import DOCS, build, manual_pages, read

_BORDER = re.compile(r" *=+(?: +=+)+ *")


def simple_tables(source: str) -> list[list[str]]:
    """:return: the lines between the borders of each simple table, without the header lines."""
    tables: list[list[str]] = []
    lines = source.splitlines()
    borders = [number for number, line in enumerate(lines) if _BORDER.fullmatch(line)]
    for first, second, third in zip(borders[::3], borders[1::3], borders[2::3], strict=True):
        assert second == first + 2, f"line {first + 1}: a header has one line"
        tables.append(lines[second + 1 : third])
    return tables


Table = ElementTree.Element


@cache
def built() -> tuple[str, str]:
    """:return: the directory of the manual as XML, and the warnings; built once."""
    out = os.path.abspath(tempfile.mkdtemp(prefix="chatfiles-docs-"))
    atexit.register(shutil.rmtree, out)
    return out, build(DOCS, out, "xml", ("-W", "--keep-going"))


def text_of(element: ElementTree.Element) -> str:
    """:return: the text of an element, without white space around it."""
    return "".join(element.itertext()).strip()


class BuildTests(SynchronousTestCase):
    """``sphinx-build -W docs docs/_build``."""

    def tables(self, page: str) -> list[Table]:
        """:return: the tables of a page as they are rendered."""
        path = os.path.join(built()[0], page.removesuffix(".rst") + ".xml")
        return list(ElementTree.parse(path).iter("table"))

    def test_builds(self) -> None:
        """
        The manual builds without a warning: every page is in a table of contents, every link has a
        target, and the markup is valid.
        """
        self.assertEqual(built()[1], "")

    def test_cells(self) -> None:
        """No row is split: no rendered row lacks a cell."""
        split = []
        for page in manual_pages():
            for table in self.tables(page):
                for row in table.iter("row"):
                    cells = [text_of(entry) for entry in row.iter("entry")]
                    if not all(cells):
                        split.append(f"{page}: {cells}")
        self.assertEqual(split, [])

    def test_shapes(self) -> None:
        """Each row of a table has as many cells as the table has columns."""
        for page in manual_pages():
            for table in self.tables(page):
                columns = len(list(table.iter("colspec")))
                self.assertGreater(columns, 1, page)
                for row in table.iter("row"):
                    self.assertEqual(len(row), columns, f"{page}: {text_of(row)}")

    def test_rows(self) -> None:
        """Each table has as many rows as in its source."""
        for page in manual_pages():
            written = written_rows(read("docs", page))
            rendered = [len(list(table.iter("row"))) for table in self.written(page)]
            self.assertEqual(rendered, written, page)

    def written(self, page: str) -> list[Table]:
        """:return: the tables of a page, without those that our extension generates."""
        return [
            table
            for table in self.tables(page)
            if "generated" not in table.get("classes", "").split()
        ]


def written_rows(source: str) -> list[int]:
    """
    :param source: a page of the manual.
    :return: for each table, in order, how many rows its source has, with its header.
    """
    rows = []
    lines = source.splitlines()
    for number, line in enumerate(lines):
        if re.fullmatch(r" *\.\. list-table::.*", line):
            rows.append(sum(1 for each in block_below(lines, number) if each.startswith("* - ")))
        elif re.fullmatch(r" *\.\. csv-table::.*", line):
            raise AssertionError(f"line {number + 1}: write a list-table")
    return rows


def block_below(lines: list[str], number: int) -> list[str]:
    """:return: the lines that belong to the directive at a line, without their indent."""
    indent = len(lines[number]) - len(lines[number].lstrip()) + 3
    block = []
    for line in lines[number + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) < indent:
            break
        block.append(line[indent:])
    return block


class SourceTests(SynchronousTestCase):
    """The form in which tables are written."""

    def test_simple_tables(self) -> None:
        """No table is written in the form in which a long row is split without a warning."""
        for page in manual_pages():
            self.assertEqual(simple_tables(read("docs", page)), [], f"{page}: use a list-table")

    def test_the_test(self) -> None:
        """Rows of list tables are counted, and simple tables are recognized."""
        source = (
            "Title\n=====\n\n"
            ".. list-table::\n   :header-rows: 1\n\n"
            "   * - a\n     - b\n   * - c\n       goes on\n     - * - not a row\n\n"
            "Text.\n\n* - no table\n"
        )
        self.assertEqual(written_rows(source), [2])
        simple = "===  ===\nx    y\n===  ===\none  two\nmore\n===  ===\n"
        self.assertEqual(simple_tables(simple), [["one  two", "more"]])
