"""
The examples of docs/reference/links.rst, "Verify a link in another language".
"""

from __future__ import annotations

import re
import textwrap

from tests.docs import read

__all__ = ["example"]


def example(heading: str) -> str:
    """:return: the code below the line that ends with *heading*."""
    text = read("docs", "reference", "links.rst")
    (block,) = re.findall(rf"(?m)(?:^|\. ){heading}::\n\n((?:    .*\n|\n)+)", text)
    return textwrap.dedent(block)
