"""The manual's reference of routes is rendered from the OpenAPI document."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.docs import extension, read
from tests.openapi.document import document

openapi = extension("openapi")


class RenderedTests(SynchronousTestCase):
    """What the directives of ``docs/_ext/openapi.py`` make of the document."""

    def test_routes(self) -> None:
        """The table has each method and path once, with its scope."""
        rows = "\n".join(openapi.routes_lines()).split("\n   * - ")[2:]
        listed: dict[tuple[str, str], str] = {}
        for row in rows:
            title, scope, _ = row.split("\n     - ")
            *methods, path = re.findall(r"``([^`]+)``", title)
            self.assertFalse({(method, path) for method in methods} & listed.keys(), title)
            listed |= {(method, path): scope for method in methods}
        operations = document().operations.items()
        self.assertEqual(listed, {key: each["x-scope"] for key, each in operations})

    def test_operations(self) -> None:
        """Each parameter, status and code of an operation is shown."""
        for group in openapi.groups():
            text = "\n".join(openapi.operation_lines(group))
            operation = group.operation
            shown = set(re.findall(r"``([^`]+)``", text))
            for each in operation.get("parameters", ()):
                name = each["$ref"].rpartition("/")[2]
                parameter = document().content["components"]["parameters"][name]
                self.assertIn(parameter["name"], shown, group)
            for status, response in operation["responses"].items():
                if status != "default":
                    self.assertIn(f"   * - {status}\n", text, group)
                    self.assertEqual(set(response.get("x-codes", ())) - shown, set(), group)

    def test_page(self) -> None:
        """The page has the operations of each tag."""
        tags = [tag["name"] for tag in document().content["tags"]]
        shown = re.findall(
            r"^\.\. openapi-operations:: (\w+)$",
            read("docs", "reference/openapi.rst"),
            re.MULTILINE,
        )
        self.assertEqual(sorted(shown), sorted(tags))

    def test_pages(self) -> None:
        """The pages and headings that operations name exist."""
        for key, operation in document().operations.items():
            page, _, heading = operation["x-manual"].partition(", ")
            lines = read("docs", f"reference/{page}.rst").splitlines()
            self.assertIn(heading.strip('"') or lines[0], lines, key)
