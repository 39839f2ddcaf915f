"""
The shape of the package: which modules import which, and how long modules and functions are.

import-linter checks the layers (``.importlinter``); these tests check the rest.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from statistics import median

from twisted.trial.unittest import SynchronousTestCase

import chatfiles

TOP = os.path.dirname(os.path.abspath(chatfiles.__file__))
#: Lines of a module and, at the median, of a function's body.
MODULE_LINES, FUNCTION_LINES = 450, 8
ROLES = ("platform", "workspace")


@cache
def modules() -> dict[str, ast.Module]:
    """:return: the modules of the package, by their dotted names."""
    found = {}
    for directory, _, names in os.walk(TOP):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                with open(path, encoding="utf-8") as file:
                    tree = ast.parse(file.read())
                dotted = os.path.relpath(path, os.path.dirname(TOP))[:-3].replace(os.sep, ".")
                found[dotted.removesuffix(".__init__")] = tree
    return found


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported, and those only for type checkers."""
    for statement in body:
        yield statement
        for inner in ("body", "orelse", "finalbody", "handlers"):
            if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from statements(getattr(statement, inner, []))


def imports(name: str) -> set[str]:
    """:return: the modules of the package that a module imports, including those only for types."""
    found = set()
    for statement in statements(modules()[name].body):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            base = statement.module or ""
            members = {f"{base}.{alias.name}" for alias in statement.names}
            # Names that are no modules come from the package itself.
            found |= (members & modules().keys()) or {base}
    return found & modules().keys() - {name}


def circles() -> list[set[str]]:
    """:return: each set of modules that all import each other, directly or not (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in imports(name):
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            circle = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            if len(circle) > 1:
                found.append(circle)

    for each in sorted(modules()):
        if each not in index:
            visit(each)
    return found


class ImportTests(SynchronousTestCase):
    """Which modules import which, for types too."""

    def test_no_circle(self) -> None:
        """
        No modules import each other in a circle, so each can be read, tested and moved by itself.
        """
        self.assertEqual(circles(), [])

    def test_roles(self) -> None:
        """No role depends on the other, not even for types."""
        for name in modules():
            role = name.split(".")[1] if "." in name else ""
            if role in ROLES:
                (other,) = set(ROLES) - {role}
                foreign = {each for each in imports(name) if each.split(".")[1] == other}
                self.assertEqual(foreign, set(), name)

    def test_it_sees(self) -> None:
        """
        The functions above do find modules and imports, so that the tests above check something.
        """
        self.assertGreater(len(modules()), 100)
        tree = imports("chatfiles.platform.routes.route_table")
        self.assertIn("chatfiles.http.server.router", tree)
        self.assertIn("chatfiles.platform.error_texts", tree)
        self.assertNotIn("chatfiles.platform", tree)


class LengthTests(SynchronousTestCase):
    """How much a reader has to keep in mind."""

    def test_modules(self) -> None:
        """No module is too long to be read in one go."""
        for name, tree in modules().items():
            last = max((statement.end_lineno or 0 for statement in tree.body), default=0)
            self.assertLessEqual(last, MODULE_LINES, name)

    def test_functions(self) -> None:
        """Functions are short enough to be understood at a glance."""
        lengths = [
            (node.end_lineno or 0) - node.body[_has_docstring(node)].lineno + 1
            for tree in modules().values()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and len(node.body) > _has_docstring(node)
        ]
        self.assertLessEqual(median(lengths), FUNCTION_LINES)


def _has_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return ast.get_docstring(node) is not None
