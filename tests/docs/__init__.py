"""Tests of the manual and of the other prose of this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

#: The top directory of the checkout.
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: The directory of the manual.
DOCS = os.path.join(ROOT, "docs")

#: The directory of the extensions of docs/conf.py, which are plain modules.
EXTENSIONS = os.path.join(DOCS, "_ext")


def extension(name: str) -> Any:
    """:return: one of the extensions, imported."""
    if EXTENSIONS not in sys.path:
        sys.path.append(EXTENSIONS)
    return import_module(name)


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


def build(source: str, out: str, builder: str, options: Sequence[str] = ()) -> str:
    """
    Run Sphinx in a process of its own, because it leaves much global state behind.

    :param source: the directory of the pages.
    :param out: the directory of the result; created if it does not exist.
    :param builder: such as ``html`` or ``xml``.
    :return: its warnings.
    """
    command = [sys.executable, "-m", "sphinx", "-q", "-b", builder, *options, source, out]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((EXTENSIONS, ROOT))}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, check=False
    )
    return done.stderr
