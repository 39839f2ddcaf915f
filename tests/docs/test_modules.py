"""
The modules that the manual names exist.
"""

from __future__ import annotations

import os
import re

from twisted.trial.unittest import SynchronousTestCase

from tests.docs import ROOT, manual_pages, read

_PACKAGE = os.path.join(ROOT, "chatfiles")
_NAME = re.compile(r"``(?:chatfiles\.)?([a-z_]+(?:\.[a-z_]+)+)``")
_PATH = re.compile(r"`chatfiles/([a-z_./]+)`")


def is_there(path: str) -> bool:
    """:return: whether *path*, below the package and without ``.py``, is a module or package."""
    whole = os.path.join(_PACKAGE, path)
    return os.path.exists(whole) or os.path.exists(whole + ".py")


class ModuleTests(SynchronousTestCase):
    """Modules that the manual names."""

    def test_manual(self) -> None:
        """Every module that a page of the design names exists."""
        rooms = {each for each in os.listdir(_PACKAGE) if is_there(os.path.join(each, "__init__"))}
        wrong = set()
        for page in manual_pages():
            names = _NAME.findall(read("docs", page)) if page.startswith("design/") else ()
            for name in names:
                known = name.split(".")[0] in rooms
                # The last part may be a name inside a module.
                if known and not (is_there(name.replace(".", "/")) or is_there(_above(name))):
                    wrong.add(f"{page}: {name}")
        self.assertEqual(wrong, set())

    def test_contributing(self) -> None:
        """Every path that the page for contributors names exists."""
        wrong = {path for path in _PATH.findall(read("CONTRIBUTING.md")) if not is_there(path)}
        self.assertEqual(wrong, set())


def _above(name: str) -> str:
    module = name.rpartition(".")[0]
    path = module.replace(".", "/")
    return path + ".py" if "." in module or module in ("errors", "model") else path + "/none"
