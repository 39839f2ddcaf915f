"""The examples of docs/reference/links.rst: functions that verify links, in other languages."""

from __future__ import annotations

import re
import textwrap

from tests.docs import read

__all__ = ["example"]


def example(heading: str) -> str:
    """:return: the code below the line *heading*."""
    _, _, behind = read("docs", "reference", "links.rst").partition(f"\n{heading}::\n\n")
    (block,) = re.findall(r"\A((?:    .*\n|\n)+)", behind)
    return textwrap.dedent(block)
