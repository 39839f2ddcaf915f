"""The examples of docs/howto/folders.rst."""

from __future__ import annotations

import re
import textwrap

from tests.docs import read

__all__ = ["folder_script"]

_BLOCK = re.compile(r"::\n\n((?:    .*\n|\n)+)")


def folder_script() -> str:
    """:return: all examples of the page, in their order, as one shell script."""
    blocks = _BLOCK.findall(read("docs", "howto", "folders.rst"))
    return "\n".join(textwrap.dedent(block) for block in blocks)
