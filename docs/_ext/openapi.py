"""
Sphinx directives that render the OpenAPI document of the platform.

::

    .. openapi-routes::

    .. openapi-operations:: files

The first is a table of all routes; the second describes the operations that have a tag.  Both read
the JSON that the platform serves, so the manual has what the tests compare with the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

__all__ = ["Group", "groups", "operation_lines", "routes_lines", "setup"]

#: As in a table of routes: what reads before what writes.
_METHODS = ("get", "head", "options", "put", "post", "patch", "delete")
#: A test compares the other tables with their sources.
_TABLE = [".. list-table::", "   :class: generated", "   :header-rows: 1"]


class Group(NamedTuple):
    """
    The operations of a path that differ in nothing but the method: ``GET`` with its ``HEAD``.

    :param methods: in capital letters.
    :param path: the template.
    :param operation: the first of them.
    """

    methods: tuple[str, ...]
    path: str
    operation: Mapping[str, Any]


@cache
def _document() -> Mapping[str, Any]:
    content = (resources.files("chatfiles") / "openapi.json").read_bytes()
    document: Mapping[str, Any] = json.loads(content)
    return document


def groups() -> Iterator[Group]:
    """Yield all operations, in the order of the document."""
    for path, item in _document()["paths"].items():
        given = [method for method in _METHODS if method in item]
        if "get" in given and item.get("head", {}).get("responses") == item["get"]["responses"]:
            given.remove("head")
            yield Group(("GET", "HEAD"), path, item["get"])
            given.remove("get")
        for method in given:
            yield Group((method.upper(),), path, item[method])


def routes_lines() -> list[str]:
    """:return: the table of routes, as reStructuredText."""
    rows = [("route", "scope", "response")]
    for group in groups():
        operation = group.operation
        statuses = [each for each in operation["responses"] if each[0] in "23"]
        codes = f"{', '.join(statuses)}: {_text(operation['summary'])} {_manual(operation)}"
        rows.append((_title(group), operation["x-scope"], codes))
    return [*_TABLE, "   :widths: 44 12 44", "", *_rows(rows)]


def operation_lines(group: Group) -> list[str]:
    """:return: the description of an operation, as reStructuredText."""
    operation = group.operation
    lines = [f".. rubric:: {_title(group)}", "", _text(operation["summary"])]
    if "description" in operation:
        lines += [_text(operation["description"])]
    lines += [f"Scope: {operation['x-scope']}. {_manual(operation)}", ""]
    for table in (_parameters(operation), _responses(operation)):
        lines += [*table, ""] if table else []
    return lines


def _title(group: Group) -> str:
    methods = ", ".join(f"``{method}``" for method in group.methods)
    fixed = " **(S)**" if group.operation.get("x-fixed") else ""
    return f"{methods} ``{group.path}``{fixed}"


def _manual(operation: Mapping[str, Any]) -> str:
    page, _, heading = operation["x-manual"].partition(", ")
    return f":doc:`{page}`" + (f", {heading}" if heading else "")


def _parameters(operation: Mapping[str, Any]) -> list[str]:
    rows = [("parameter", "in", "description")]
    for each in operation.get("parameters", ()):
        given = _resolved(each)
        required = "required. " if given.get("required") else ""
        described = " ".join(filter(None, (required + given.get("description", ""), _form(given))))
        rows.append((f"``{given['name']}``", given["in"], _text(described) or "see the page"))
    body = operation.get("requestBody")
    if body is not None:
        types = ", ".join(f"``{each}``" for each in body["content"])
        rows.append(("the body", "body", f"{types}{'; required' if body.get('required') else ''}"))
        rows += _members(body)
    return [*_TABLE, "   :widths: 24 12 64", "", *_rows(rows)] if len(rows) > 1 else []


def _members(body: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each member of a JSON body."""
    schema = _resolved(body["content"].get("application/json", {}).get("schema", {}))
    for name, each in schema.get("properties", {}).items():
        required = "required. " if name in schema.get("required", ()) else ""
        described = _text(
            " ".join((required + each.get("description", ""), _form({"schema": each})))
        )
        yield f"``{name}``", "JSON", described.strip() or "see the page"


def _form(parameter: Mapping[str, Any]) -> str:
    """:return: the values that a parameter or member can have, in Markdown."""
    schema = _resolved(parameter.get("schema", {}))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"] if value)
    parts = []
    if "minimum" in schema and "maximum" in schema:
        parts.append(f"{schema['minimum']} to {schema['maximum']}")
    if "format" in schema:
        parts.append(f"`{schema['format']}`")
    if "default" in schema:
        parts.append(f"default `{schema['default']}`")
    return ", ".join(parts)


def _responses(operation: Mapping[str, Any]) -> list[str]:
    rows = [("status", "response")]
    for status, response in operation["responses"].items():
        if status == "default":
            continue
        codes = ", ".join(f"``{code}``" for code in response.get("x-codes", ()))
        rows.append((status, " ".join(filter(None, (_text(response["description"]), codes)))))
    return [*_TABLE, "   :widths: 12 88", "", *_rows(rows)]


def _resolved(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """:return: what a reference refers to."""
    while "$ref" in value:
        found: Any = _document()
        for segment in value["$ref"].removeprefix("#/").split("/"):
            found = found[segment]
        value = found
    return value


def _text(markdown: str) -> str:
    """:return: the same in reStructuredText, on one line."""
    return re.sub(r"`([^`]+)`", r"``\1``", " ".join(markdown.split())).replace("*", r"\*")


def _rows(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in rows:
        yield from (f"   {'* -' if not n else '  -'} {cell}" for n, cell in enumerate(row))


class _Rendered(SphinxDirective):
    def parsed(self, lines: list[str]) -> list[nodes.Node]:
        """:return: what *lines* render to."""
        self.env.note_dependency(str(resources.files("chatfiles") / "openapi.json"))
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, "openapi"), 0, holder)
        return holder.children


class RoutesDirective(_Rendered):
    """``.. openapi-routes::``."""

    def run(self) -> list[nodes.Node]:
        """:return: the table of routes."""
        return self.parsed(routes_lines())


class OperationsDirective(_Rendered):
    """``.. openapi-operations:: TAG``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """:return: the operations with the tag."""
        wanted = [each for each in groups() if self.arguments[0] in each.operation["tags"]]
        if not wanted:
            raise self.error(f"no operation has the tag {self.arguments[0]}")
        return self.parsed([line for each in wanted for line in operation_lines(each)])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("openapi-routes", RoutesDirective)
    app.add_directive("openapi-operations", OperationsDirective)
    return {"parallel_read_safe": True}
