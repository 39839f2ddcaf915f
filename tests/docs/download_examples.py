"""The examples of docs/howto/download.rst."""

from __future__ import annotations

import textwrap

from tests.docs import read

__all__ = ["resume_script"]


def resume_script() -> str:
    """:return: the shell script that resumes a download with curl."""
    before, _, _ = read("docs", "howto", "download.rst").partition("To fetch a file only if")
    return textwrap.dedent(before.rpartition("::\n\n")[2])
