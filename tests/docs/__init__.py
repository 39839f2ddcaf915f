"""Tests of the manual and of the other prose of this checkout."""

from __future__ import annotations

import os
import sys

#: The top directory of the checkout.
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: The directory of the manual.
DOCS = os.path.join(ROOT, "docs")

# The extensions of docs/conf.py are plain modules of this directory.
sys.path.insert(0, os.path.join(DOCS, "_ext"))


def manual_pages() -> list[str]:
    """:return: every page of the manual, as a path below `DOCS` with slashes, sorted."""
    found = []
    for directory, names, files in os.walk(DOCS):
        names[:] = [name for name in names if not name.startswith("_")]
        found += [os.path.join(directory, name) for name in files if name.endswith(".rst")]
    return sorted(os.path.relpath(path, DOCS).replace(os.sep, "/") for path in found)


def read(*parts: str) -> str:
    """:return: the text of a file, by its path below `ROOT`."""
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as file:
        return file.read()
