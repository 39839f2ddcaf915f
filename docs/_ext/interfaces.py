"""
A Sphinx directive that documents an interface of zope.interface, which autodoc takes for a value.

::

    .. interface:: chatfiles.platform.registry.interface.IWorkspaceRegistry
"""

from __future__ import annotations

from importlib import import_module
from inspect import cleandoc
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from zope.interface.interface import InterfaceClass, Method

__all__ = ["InterfaceDirective", "lines_of", "setup"]


def lines_of(dotted: str) -> list[str]:
    """
    :param dotted: a module's name, a dot, and the name of an interface in it.
    :return: the lines of reStructuredText that document it and its members, in their order.
    :raise TypeError: it is not an interface.
    """
    module, _, name = dotted.rpartition(".")
    interface = getattr(import_module(module), name)
    if not isinstance(interface, InterfaceClass):
        raise TypeError(f"{dotted} is not an interface")
    lines = [
        f".. py:class:: {dotted}",
        "   :no-index-entry:",
        "",
        *_indented(interface.__doc__),
        "",
    ]
    for member in interface.names():
        lines += [f"   {line}".rstrip() for line in _member(interface[member])]
    return lines


def _member(member: Any) -> list[str]:
    if isinstance(member, Method):
        head = f".. py:method:: {member.getName()}{member.getSignatureString()}"
    else:
        head = f".. py:attribute:: {member.getName()}"
    return [head, "", *_indented(member.__doc__), ""]


def _indented(text: str | None) -> list[str]:
    return [f"   {line}".rstrip() for line in cleandoc(text or "").splitlines()]


class InterfaceDirective(SphinxDirective):
    """``.. interface:: module.IName``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """:return: what `lines_of` renders to."""
        try:
            lines = lines_of(self.arguments[0])
        except (ImportError, AttributeError, TypeError) as error:
            raise self.error(f"interface {self.arguments[0]}: {error}") from error
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, "interface"), 0, holder)
        return holder.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("interface", InterfaceDirective)
    return {"parallel_read_safe": True}
