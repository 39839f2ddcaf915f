"""
Reads ``chatfiles/openapi.yaml``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import yaml

import chatfiles
from chatfiles.platform.channel.relay_request import RELAY_PATH
from chatfiles.rules.error_codes import ERROR_CODES

__all__ = ["JSON", "YAML", "Document", "Seen", "document"]

_PACKAGE = os.path.dirname(os.path.abspath(chatfiles.__file__))
#: The document, and its form that the platform serves.
YAML, JSON = (os.path.join(_PACKAGE, f"openapi.{form}") for form in ("yaml", "json"))
_METHODS = ("get", "head", "put", "post", "patch", "delete", "options")


class Seen(NamedTuple):
    """
    A response.

    :param method: of its request.
    :param path: of its request, or the template of a route.
    :param status: such as 200.
    :param code: of its error; empty if it has none, or none that can be read.
    """

    method: str
    path: str
    status: int
    code: str = ""


class Document:
    """
    The document.

    :param content: the parsed YAML.
    :ivar operations: by method, in capital letters, and path.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self.operations: dict[tuple[str, str], Mapping[str, Any]] = {
            (method.upper(), path): item[method]
            for path, item in content["paths"].items()
            for method in _METHODS
            if method in item
        }
        # Literal segments have precedence.
        paths = sorted(content["paths"], key=lambda path: path.count("{"))
        self._paths = {
            path: re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))) for path in paths
        }

    @property
    def text(self) -> str:
        """The document as it is served: JSON without blanks, and a line end."""
        text = json.dumps(self.content, ensure_ascii=False, separators=(",", ":"))
        return text + "\n"

    def route(self, path: str) -> str | None:
        """:return: the template of the route of *path*; ``None`` if it has none."""
        path = unquote(path)
        if path.startswith("/ui"):
            return "/ui/"
        return next((name for name, form in self._paths.items() if form.fullmatch(path)), None)

    def responses(self) -> Iterator[Seen]:
        """Yield each response that is documented, with each of its codes."""
        for (method, path), operation in self.operations.items():
            for status, response in operation["responses"].items():
                if status != "default":
                    for code in response.get("x-codes", [""]):
                        yield Seen(method, path, int(status), code)

    def allows(self, seen: Seen) -> bool:
        """
        :return: whether a response is documented.  An error without a code of chatfiles is one of a
            workspace of a third party, which is relayed.
        """
        route = self.route(seen.path)
        if route is None:  # metrics and other nodes have listeners of their own
            others = "/metrics", RELAY_PATH
            return seen.code == "no_route" or seen.path.startswith(others)
        operation = self.operations.get((seen.method, route))
        if operation is None:
            return seen.code in self._codes_of(route)
        if seen.status >= 400 and seen.code not in ERROR_CODES:
            return True
        responses = operation["responses"]
        response = responses.get(str(seen.status))
        if seen.status < 400:
            relayed = operation.get("x-relays", False) and 200 <= seen.status < 300
            return relayed or response is not None
        listed = [*(response or {}).get("x-codes", ()), *responses["default"]["x-codes"]]
        return seen.code in listed

    def unlisted(self, value: object, schema: Mapping[str, Any]) -> list[str]:
        """:return: the members of objects in *value*, of JSON, that *schema* does not name."""
        if "$ref" in schema:
            schema = self.content["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if isinstance(value, list):
            items = schema.get("items", {})
            return [name for each in value for name in self.unlisted(each, items)]
        known = schema.get("properties")
        if not isinstance(value, dict) or known is None:
            return []
        found = [name for name in value if name not in known]
        for name in value.keys() & known.keys():
            found += self.unlisted(value[name], known[name])
        return found

    def _codes_of(self, route: str) -> set[str]:
        """:return: all codes of a path: a link is checked before the method."""
        return {
            code
            for (_, path), operation in self.operations.items()
            if path == route
            for response in operation["responses"].values()
            for code in response.get("x-codes", ())
        }


@cache
def document() -> Document:
    """:return: the document of this checkout."""
    with open(YAML, encoding="utf-8") as file:
        return Document(yaml.safe_load(file))
